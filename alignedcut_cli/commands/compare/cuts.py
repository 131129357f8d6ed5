"""Two cuts or colorings of the same nodes, slot by slot: principal angles, or Procrustes, and their intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from alignedcut_cli.core.encode.similarity import procrustes_draws
from alignedcut_cli.core.graph.subspaces import cosines_of_moments, moments_by_image, projector_error
from alignedcut_cli.core.resample.draws import bootstrap_weights, sums_of_drawn
from alignedcut_cli.core.resample.intervals import recentred
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import load_tensors

if TYPE_CHECKING:
    from alignedcut_cli.commands.compare.plan import Plan

__all__ = ["compare_colours", "compare_cuts"]


def compare_cuts(frame: Frame, plan: Plan) -> dict[str, np.ndarray]:
    """Principal cosines of each slot (S, C), its projector error and interval, and the same over all slots together."""
    count, images = plan.recipe.params["eigenvectors"], len(plan.images)
    weights = _weights(plan)
    moments = np.zeros((len(plan.places), images, 2 * count, 2 * count))
    for number, (left, right, place) in enumerate(_rows(frame, plan, "cut", "eigenvectors", count)):
        moments[number] = moments_by_image(left, right, place, images).numpy()
    cosines, ends = [], []
    whole = moments.sum(0) * (1.0 if plan.one_graph else np.nan)
    for each in (whole, *moments):
        if np.isnan(each).any():
            cosines.append(np.full(count, np.nan))
            ends.append((np.nan, np.nan, np.nan))
            continue
        found = torch.cat([cosines_of_moments(torch.from_numpy(part), count) for part in sums_of_drawn(weights, each)])
        cosines.append(found[0].numpy())
        ends.append(_ends(projector_error(found).numpy()))
    return {"cosines": np.stack(cosines).astype(np.float32), "error": np.array(ends, np.float64)}


def compare_colours(frame: Frame, plan: Plan) -> dict[str, np.ndarray]:
    """Procrustes similarity of the t-SNE spaces and its interval: over all slots, then for each."""
    weights = torch.from_numpy(_weights(plan))
    sides = list(_rows(frame, plan, "color", "coordinates", 3))
    joined = [torch.cat([side[part] for side in sides]) for part in range(3)]
    found = [procrustes_draws(left, right, place, weights) for left, right, place in (joined, *sides)]
    return {"procrustes": np.array([_ends(draws.numpy()) for draws in found])}


def _weights(plan: Plan) -> np.ndarray:
    """Weights of images: all ones, then bootstrap draws; (1 + T, B)."""
    images, params = len(plan.images), plan.recipe.params
    return np.concatenate([np.ones((1, images)), bootstrap_weights(images, params["bootstrap"], params["seed"])])


def _ends(draws: np.ndarray) -> tuple[float, float, float]:
    """The value, which is the first draw, and its interval, NaN without further draws."""
    return (float(draws[0]), *recentred(draws[1:], float(draws[0])))


def _rows(
    frame: Frame, plan: Plan, kind: str, tensor: str, columns: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(rows of A, rows of B, image of each) of every shared slot, in the same order of nodes."""
    sides = [load_tensors(frame.project.path(kind, name))[1] for name in plan.sides]
    for numbers in plan.places:
        mine = [_sorted(side["nodes"], number) for side, number in zip(sides, numbers, strict=True)]
        left, right = (
            torch.from_numpy(np.ascontiguousarray(side[tensor][own][:, :columns]))
            for side, own in zip(sides, mine, strict=True)
        )
        yield left, right, torch.from_numpy(sides[0]["nodes"][mine[0], 0].astype(np.int64))


def _sorted(nodes: np.ndarray, slot: int) -> np.ndarray:
    """The rows of a slot's nodes in order of image, row and column."""
    mine = np.flatnonzero(nodes[:, 1] == slot)
    return mine[np.lexsort((nodes[mine, 3], nodes[mine, 2], nodes[mine, 0]))]
