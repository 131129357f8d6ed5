"""`align --folds K`: cross-validation, every image predicted by an alignment fitted without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.align.loss import align_pooled
from alignedcut_cli.core.align.units import Units
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.draws import dealt_folds
from alignedcut_cli.frame.pairs import FIT, HELDOUT, TEST, heldout_count

if TYPE_CHECKING:
    from alignedcut_cli.commands.align.plan import Plan
    from alignedcut_cli.commands.align.run import Fitted

__all__ = ["Crossed", "crossed_of", "fold_arrays", "fold_plans"]


@dataclass(frozen=True)
class Crossed:
    """Cross-validated predictions of all B images.

    Of each fold: its test images (b,), aligned (b, E), and beta (E, N) and eps (N,) in the units of the fit to all.
    """

    rows: list[np.ndarray]
    aligned: list[Tensor]
    read_outs: list[tuple[Tensor, Tensor]]

    def predict(self, columns: slice) -> Tensor:
        """Some columns of the predictions: (B, n) float32."""
        beta, _ = self.read_outs[0]
        found = torch.empty(sum(map(len, self.rows)), beta[:, columns].shape[1])
        for rows, aligned, (beta, eps) in zip(self.rows, self.aligned, self.read_outs, strict=True):
            found[torch.from_numpy(rows)] = torch.addmm(eps[columns], aligned, beta[:, columns])
        return found


def fold_plans(plan: Plan) -> list[Plan]:
    """The plan without each of its folds, which is what is tested; none without --folds."""
    seed, count, parts = plan.settings.seed, len(plan.split), plan.recipe.params.get("folds") or 0
    dealt = dealt_folds(count, parts, stream(seed, "align folds")) if parts else np.empty(0)
    found = []
    for fold in range(parts):
        split = np.full(count, FIT, np.int8)
        split[dealt == fold] = TEST
        rest = np.random.default_rng(stream(seed, "heldout", fold)).permutation(np.flatnonzero(dealt != fold))
        split[rest[: heldout_count(len(rest))]] = HELDOUT
        name, params = f"{plan.recipe.name}.fold-{fold}", {**plan.recipe.params, "fold": fold}
        found.append(replace(plan, split=split, recipe=replace(plan.recipe, name=name, params=params)))
    return found


def fold_arrays(plan: Plan, fitted: Fitted) -> dict[str, np.ndarray]:
    """What a fold's fit is to be kept of: its images aligned, and its read-out with its units."""
    rows = torch.from_numpy(np.flatnonzero(plan.split == TEST))
    aligned = align_pooled([block[rows] for block in fitted.pooled], fitted.alignment.transforms)
    kept = {"aligned": aligned, "beta": fitted.alignment.beta, "eps": fitted.alignment.eps}
    kept |= {"mean": fitted.units.mean, "scale": fitted.units.scale}
    return {name: tensor.numpy() for name, tensor in kept.items()}


def crossed_of(plans: Sequence[Plan], parts: Sequence[Mapping[str, np.ndarray]], units: Units) -> Crossed:
    """The folds together, from what is kept of each; read-outs are converted to `units`."""
    found = Crossed([], [], [])
    for plan, part in zip(plans, parts, strict=True):
        kept = {name: torch.from_numpy(np.array(array)) for name, array in part.items()}
        found.rows.append(np.flatnonzero(plan.split == TEST))
        found.aligned.append(kept["aligned"])
        found.read_outs.append(_in_units(kept, units))
    return found


def _in_units(kept: Mapping[str, Tensor], of: Units) -> tuple[Tensor, Tensor]:
    """beta and eps of one fit, converted to responses standardised by the units of another."""
    ratio = kept["scale"] / of.scale
    moved = (kept["mean"] - of.mean) / of.scale
    return (kept["beta"] * ratio).float(), (kept["eps"] * ratio + moved).float()
