"""`align --folds K`: cross-validation, every image predicted by an alignment fitted without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.commands.align.run import Fitted, fit
from alignedcut_cli.core.align.loss import align_pooled
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.draws import dealt_folds
from alignedcut_cli.frame.keep import Keeper
from alignedcut_cli.frame.pairs import FIT, HELDOUT, TEST, heldout_count
from alignedcut_cli.frame.run import Frame

if TYPE_CHECKING:
    from alignedcut_cli.commands.align.plan import Plan

__all__ = ["Crossed", "cross_validated"]


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


def cross_validated(frame: Frame, plan: Plan, fitted: Fitted, device: torch.device) -> Crossed:
    """The plan refitted for each of its folds; read-outs are converted to the units of `fitted`."""
    seed, count, parts = plan.settings.seed, len(plan.split), plan.recipe.params["folds"]
    dealt = dealt_folds(count, parts, stream(seed, "align folds"))
    found, keepers = Crossed([], [], []), []
    for fold in range(parts):
        frame.output.note(f"fold {fold + 1} of {parts}")
        rows = np.flatnonzero(dealt == fold)
        split = np.full(count, FIT, np.int8)
        split[rows] = TEST
        rest = np.random.default_rng(stream(seed, "heldout", fold)).permutation(np.flatnonzero(dealt != fold))
        split[rest[: heldout_count(len(rest))]] = HELDOUT
        name, params = f"{plan.recipe.name}.fold-{fold}", {**plan.recipe.params, "fold": fold}
        one = replace(plan, split=split, recipe=replace(plan.recipe, name=name, params=params))
        keeper = Keeper(
            frame,
            one.recipe,
            {"torch": torch.__version__, "device": device.type},
            lambda state, fold=fold: f"fold {fold + 1}'s start and {len(state['curve']) - 1} epochs",
        )
        mine = fit(frame, one, device, keeper)
        keepers.append(keeper)
        found.rows.append(rows)
        pooled = [block[torch.from_numpy(rows)] for block in mine.pooled]
        found.aligned.append(align_pooled(pooled, mine.alignment.transforms))
        found.read_outs.append(_in_units(mine, fitted))
    for keeper in keepers:  # only now: an interrupted run resumes at the fold it was in
        keeper.drop()
    return found


def _in_units(mine: Fitted, of: Fitted) -> tuple[Tensor, Tensor]:
    """beta and eps of one fit, converted to responses standardised by the units of another."""
    ratio = mine.units.scale / of.units.scale
    moved = (mine.units.mean - of.units.mean) / of.units.scale
    return (mine.alignment.beta * ratio).float(), (mine.alignment.eps * ratio + moved).float()
