"""The scores of every slot against a ground truth, at image resolution: oracle (C.4) or k-way without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.groups.iou import counts_of_matched
from alignedcut_cli.core.groups.kway import DISCRETISERS, match_clusters
from alignedcut_cli.core.groups.oracle import oracle_thresholds
from alignedcut_cli.core.groups.slot_scores import (
    KwayReading,
    OracleReading,
    SlotGrid,
    grid_weights,
    kway_counts,
    oracle_counts,
    slot_centres,
)
from alignedcut_cli.datasets.classes import Classes

if TYPE_CHECKING:
    from alignedcut_cli.commands.segment.plan import Plan

__all__ = ["clusters_of", "fit_centres", "masks_of", "score_kway", "score_oracle"]


def masks_of(plan: Plan) -> Iterator[tuple[int, int, np.ndarray]]:
    """(index among the scored images, index of the image, mask of ids) of every image that has a mask."""
    for place, (number, key) in enumerate(zip(plan.scored, plan.keys, strict=True)):
        yield place, number, plan.masks.read(key, plan.images[number])


def fit_centres(plan: Plan, slots: Sequence[SlotGrid], advance: Any) -> list[list[tuple[Tensor, Tensor]]]:
    """For each target and slot its class centres (k, C) and their total node weights (k,), from the masks (C.4)."""
    params, scored = plan.recipe.params, plan.scored
    grids = dict.fromkeys(slot.grid for slot in slots)
    weights: dict[Any, list[Tensor]] = {(t, grid): [] for t in range(len(plan.targets)) for grid in grids}
    for _, _, mask in masks_of(plan):
        for t, target in enumerate(plan.targets):
            labels = target.labels(mask)
            for grid in grids:
                weights[t, grid].append(grid_weights(labels, grid, len(target.ids), params["to_grid"]))
        advance(1)
    whole = {key: torch.cat(found) for key, found in weights.items()}
    return [[slot_centres(slot, scored, whole[t, slot.grid]) for slot in slots] for t in range(len(plan.targets))]


def score_oracle(plan: Plan, slots: Sequence[SlotGrid], advance: Any) -> list[dict[str, Any]]:
    """For each target: centres (S, k, C), members (S, k), and counts (S, b, T, 3, k) at every threshold."""
    thresholds = oracle_thresholds(plan.recipe.params["thresholds"])
    centres = fit_centres(plan, slots, advance)
    found = [np.zeros((len(slots), len(plan.scored), len(thresholds), 3, len(t.ids)), np.int32) for t in plan.targets]
    for place, number, mask in masks_of(plan):
        for t, target in enumerate(plan.targets):
            labels = target.labels(mask)
            for s, slot in enumerate(slots):
                reading = OracleReading(slot, centres[t][s][0], background=target.background)
                found[t][s, place] = oracle_counts(
                    reading, number, labels, len(target.ids), thresholds, plan.recipe.params["to_pixels"]
                )
        advance(1)
    return [
        {
            "centres": np.stack([one.nan_to_num(0).numpy() for one, _ in centres[t]]).astype(np.float32),
            "members": np.stack([weight.numpy() for _, weight in centres[t]]).astype(np.float32),
            "counts": found[t],
        }
        for t in range(len(plan.targets))
    ]


def clusters_of(plan: Plan, target: Classes, tensors: Mapping[str, np.ndarray], cut: int) -> np.ndarray:
    """The cluster of every node of a cut (M,) int64, each graph discretised separately."""
    from alignedcut_cli.core.numerics import stream

    params = plan.recipe.params
    discretise, count = DISCRETISERS[params["discretise"]], plan.clusters(target)
    found = []
    for number, (start, stop) in enumerate(tensors["graphs"]):
        rows = tensors["eigenvectors"][start:stop]
        if params["discretise"] == "columns":
            rows = rows * tensors["eigenvalues"][number, : rows.shape[1]]
        found.append(discretise(rows, count, stream(params["seed"], "segment", target.title, cut, number)))
    return np.concatenate(found)


def score_kway(
    plan: Plan, slots: Sequence[SlotGrid], clusters: Sequence[Sequence[np.ndarray]], advance: Any
) -> list[dict[str, Any]]:
    """For each target: the contingency (S, q, k), the class of each cluster (S, q), and counts (S, b, 1, 3, k).

    `clusters` holds, for each target and cut, the cluster of every node.
    """
    tables = [
        np.zeros((len(slots), len(plan.scored), plan.clusters(target), len(target.ids)), np.int64)
        for target in plan.targets
    ]
    for place, number, mask in masks_of(plan):
        for t, target in enumerate(plan.targets):
            labels, none = target.labels(mask), np.full(plan.clusters(target), -1)
            for s, slot in enumerate(slots):
                reading = KwayReading(slot, clusters[t][plan.cut_of[s]], none)
                tables[t][s, place] = kway_counts(
                    reading, number, labels, len(target.ids), plan.recipe.params["to_pixels"]
                )
        advance(1)
    found = []
    for table in tables:
        matched = np.stack([match_clusters(one.sum(0)) for one in table])
        counts = np.stack([counts_of_matched(one, match) for one, match in zip(table, matched, strict=True)])
        found.append({"contingency": table.sum(1), "matched": matched, "counts": counts[:, :, None].astype(np.int32)})
    return found
