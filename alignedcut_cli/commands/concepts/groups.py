"""Mean activation of the groups of nodes that the masks define in a slot: foreground, background, and each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.commands.concepts.data import Labels, Readout, Tiles, Truth
from alignedcut_cli.core.groups.activations import Clusters, cell_sums, clustered_difference, clustered_mean
from alignedcut_cli.nodes.slots import Slot

__all__ = ["Groups", "groups_of"]


@dataclass(frozen=True)
class Groups:
    """One slot: mean activation (G, R) of foreground, background and each class, its error, sizes (G,), and the contrast.

    `contrast` and `contrast_se` (R,) are foreground - background; `by_voxel` (N,) the same for each voxel, if the positions
    of voxels are known.
    """

    mean: Tensor
    se: Tensor
    nodes: list[int]
    images: list[int]
    contrast: Tensor
    contrast_se: Tensor
    by_voxel: Tensor | None


def groups_of(
    slot: Slot, weights: Tensor, readout: Readout, truth: Truth, classes: Sequence[int], tiles: Tiles, images: int
) -> Groups:
    """The groups of one slot: its tokens are read once, as v W (beta averaged over the voxels of each ROI)."""
    labels = truth.labels(slot)
    pairs = np.stack([np.repeat(np.arange(images), slot.tokens), labels.classes], 1)[labels.known]
    found, inverse = np.unique(pairs, axis=0, return_inverse=True)  # the (image, class) pairs that occur
    cells = torch.full((slot.nodes,), -1, dtype=torch.int64)
    cells[torch.from_numpy(labels.known)] = torch.from_numpy(inverse.reshape(-1))
    transform = (weights.double() @ readout.by_roi).float()  # (D, R)
    sums = cell_sums(tiles(slot, transform), cells, len(found))
    counts = torch.bincount(cells[cells >= 0], minlength=len(found))
    of_class = found[:, 1]
    chosen = [of_class != truth.background, of_class == truth.background, *(of_class == one for one in classes)]
    clusters = [_clusters(sums, counts, found[:, 0], mask, images) for mask in chosen]
    means = [clustered_mean(one) for one in clusters]
    contrast = clustered_difference(clusters[0], clusters[1])
    return Groups(
        torch.stack([mean for mean, _ in means]),
        torch.stack([error for _, error in means]),
        [one.nodes for one in clusters],
        [one.images for one in clusters],
        *contrast,
        None if readout.vertices is None else _by_voxel(slot, weights, readout, labels, truth.background, tiles),
    )


def _by_voxel(slot: Slot, weights: Tensor, readout: Readout, labels: Labels, ground: int, tiles: Tiles) -> Tensor:
    """Mean activation of the foreground - that of the background, (N,) float32: (difference of mean v W) beta."""
    sides = torch.full((slot.nodes,), -1, dtype=torch.int64)
    sides[torch.from_numpy(labels.known)] = torch.from_numpy((labels.classes[labels.known] == ground).astype(np.int64))
    means = cell_sums(tiles(slot, weights), sides, 2) / torch.bincount(sides[sides >= 0], minlength=2)[:, None]
    return (means[0] - means[1]).float() @ readout.beta


def _clusters(sums: Tensor, counts: Tensor, image: np.ndarray, mask: np.ndarray, images: int) -> Clusters:
    """The cells of one group, summed image by image."""
    mine, place = torch.from_numpy(mask), torch.from_numpy(image[mask].astype(np.int64))
    summed = torch.zeros(images, sums.shape[1], dtype=torch.float64).index_add_(0, place, sums[mine])
    return Clusters(summed, torch.zeros(images, dtype=torch.int64).index_add_(0, place, counts[mine]))
