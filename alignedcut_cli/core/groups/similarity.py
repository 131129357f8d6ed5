"""How well the similarity to one node separates a set of nodes from the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Separation", "best_iou", "cosines", "ranking"]


@dataclass(frozen=True)
class Separation:
    """The best intersection over union that a threshold reaches, that threshold, and the IoU of taking everything."""

    iou: float
    threshold: float
    everything: float


def cosines(rows: Tensor, reference: Tensor) -> Tensor:
    """cos(row, reference) of rows (M, r) with one vector (r,), none of them zero: (M,) float32 on their device."""
    return torch.nn.functional.cosine_similarity(rows.float(), reference.float()[None], dim=1).clamp(-1, 1)


def best_iou(similarity: Tensor, inside: Tensor) -> Separation:
    """The threshold t under which {similarity >= t} overlaps the set `inside` (M,) bool most: IoU = both / either.

    Every value of `similarity` (M,) is tried as t; ties go to the highest. NaN if the set is empty.
    """
    if not inside.any():
        return Separation(float("nan"), float("nan"), float("nan"))
    order = similarity.argsort(descending=True, stable=True)
    sorted_values = similarity[order]
    hits = inside[order].double().cumsum(0)  # (M,)
    taken = torch.arange(1, len(order) + 1, dtype=torch.float64, device=hits.device)
    ious = hits / (taken + hits[-1] - hits)
    ends = torch.ones(len(order), dtype=torch.bool, device=hits.device)
    ends[:-1] = sorted_values[:-1] != sorted_values[1:]  # ties pass the threshold together
    best = int(ious.where(ends, -1.0).argmax())
    return Separation(float(ious[best]), float(sorted_values[best]), float(hits[-1] / len(order)))


def ranking(similarity: Tensor, inside: Tensor) -> float:
    """How often a node of the set `inside` (M,) bool has a higher `similarity` (M,) than one outside, ties counting half.

    The area under the ROC curve, sum_v in_v (out_{<v} + out_v / 2) / (in out) over values v, which does not depend on the
    proportions of the two. NaN if either is empty.
    """
    if not inside.any() or inside.all():
        return float("nan")
    values, place = similarity.unique(return_inverse=True)  # ascending
    within = torch.bincount(place[inside], minlength=len(values)).double()
    without = torch.bincount(place[~inside], minlength=len(values)).double()
    below = without.cumsum(0) - without / 2
    return float((within * below).sum() / (within.sum() * without.sum()))
