"""Similarity of one patch to every node of a slot, and how well it separates figure from ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.commands.concepts.data import Labels, Tiles
from alignedcut_cli.commands.concepts.plan import Pixel
from alignedcut_cli.core.groups.similarity import best_iou, cosines, ranking
from alignedcut_cli.nodes.slots import Slot

__all__ = ["SCORES", "pixel_of"]

SCORES = ("iou", "threshold", "everything", "hit.class", "hit.other", "false", "auc")


def pixel_of(
    slot: Slot,
    pixel: Pixel,
    grid: Sequence[int],
    labels: Labels | None,
    background: int,
    tiles: Tiles,
    matrix: Tensor | None,
) -> tuple[np.ndarray, list[float]]:
    """Cosine of one patch with every node of a slot (nodes,) float32, and SCORES of how well it finds its own side.

    Without labels there are no scores. Its side is the foreground, or the background for a patch of it. iou: of
    {cosine >= threshold} with the nodes of that side, at the best threshold; everything: the IoU of taking all nodes.
    hit.class: the share of the nodes of the patch's own class that the threshold takes, hit.other: of the other classes of
    its side (NaN for none), false: of the other side. auc: how often a node of its side is more similar than one of the
    other (area under the ROC curve, NaN if a side is empty).
    """
    node = pixel.node(slot, grid)
    reference = next(rows[node - start] for start, rows in tiles(slot, matrix) if start <= node < start + len(rows))
    found = torch.cat([cosines(rows, reference).cpu() for _, rows in tiles(slot, matrix)])
    if labels is None:
        return found.numpy(), []
    known = torch.from_numpy(labels.known)
    classes, values = torch.from_numpy(labels.classes)[known], found[known]
    own = int(labels.classes[node])
    side = (classes == background) == (own == background)
    best = best_iou(values, side)
    taken = values >= best.threshold
    shares = [_share(taken, classes == own), _share(taken, side & (classes != own)), _share(taken, ~side)]
    return found.numpy(), [best.iou, best.threshold, best.everything, *shares, ranking(values, side)]


def _share(taken: Tensor, among: Tensor) -> float:
    return float(taken[among].double().mean()) if among.any() else float("nan")
