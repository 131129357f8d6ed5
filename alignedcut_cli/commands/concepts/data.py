"""Rows of one slot in tiles, and the labels of its nodes from the masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.commands.concepts.plan import Plan
from alignedcut_cli.core.groups.activations import roi_readout
from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.slots import Slot, node_table
from alignedcut_cli.store.artifact import map_tensors

__all__ = ["Labels", "Readout", "Tiles", "Truth", "patches", "readout_of", "tiles"]

ALL = "all"
LONGEST_TILE = 1 << 15
Tiles = Callable[[Slot, Tensor | None], Iterator[tuple[int, Tensor]]]
"""The rows V T of a slot, tile by tile."""


def tiles(
    slot: Slot, transform: Tensor | None, space: str, device: torch.device, budget: int
) -> Iterator[tuple[int, Tensor]]:
    """(first row, rows V T (t, r) float32 on the device) of all nodes of a slot, within `budget` bytes each."""
    rows = GraphRows([slot], [transform], space, device)
    width = slot.about["width"] + (transform.shape[1] if transform is not None else 0)
    step = max(64, min(LONGEST_TILE, budget // (32 * width)))
    for start in range(0, len(rows), step):
        yield start, rows.read(start, min(start + step, len(rows)))


def patches(slot: Slot, images: int) -> np.ndarray:
    """Which nodes of a slot are patches, not class tokens: (nodes,) bool."""
    return node_table(slot.about, 0, images)[:, 2] >= 0


@dataclass(frozen=True)
class Labels:
    """Labels of the nodes of a slot: class ids (nodes,) int64, and which nodes have one (not class tokens, not void)."""

    classes: np.ndarray
    known: np.ndarray


class Truth:
    """The masks on any grid: each cell has its most frequent class id, which may be void. Each grid is labelled once."""

    def __init__(self, plan: Plan) -> None:
        self._masks = plan.masks
        self._ignore = int(plan.recipe.params["ignore"])
        self.background = int(plan.recipe.params["background"])
        self._grids: dict[tuple[int, int], np.ndarray] = {}

    def labels(self, slot: Slot) -> Labels:
        grid: tuple[int, int] = tuple(slot.about["grid"])
        if grid not in self._grids:
            self._grids[grid] = np.stack([grid_labels(mask, grid) for mask in self._masks])
        classes = np.zeros((len(self._masks), slot.tokens), np.int64)
        classes[:, slot.about["class_token"] :] = self._grids[grid].reshape(len(self._masks), -1)
        known = classes != self._ignore
        known[:, : slot.about["class_token"]] = False
        return Labels(classes.reshape(-1), known.reshape(-1))

    def classes(self, slots: Sequence[Slot]) -> list[int]:
        """All class ids except the background's that occur in some cell of some slot, ascending."""
        found = [np.unique(labels.classes[labels.known]) for labels in map(self.labels, slots)]
        return sorted(set(np.concatenate(found).tolist()) - {self.background})


@dataclass(frozen=True)
class Readout:
    """beta (E, N) float32, its mean per ROI (E, R) float64, and the names of the ROIs that have voxels, then all voxels.

    `membership` (R, N) of 0 and 1; `vertices` (N,), the fsaverage vertex of each voxel, None if unknown.
    """

    beta: Tensor
    by_roi: Tensor
    rois: tuple[str, ...]
    membership: Tensor
    vertices: np.ndarray | None


def readout_of(plan: Plan) -> Readout:
    """The read-out of a plan's align artifact; areas without a voxel are left out."""
    tensors = map_tensors(plan.alignment.path)
    beta = torch.from_numpy(np.array(tensors["beta"]))
    membership = torch.from_numpy(np.array(tensors["rois"]))
    labels = plan.alignment.header.axes["R"]["labels"]
    there = [number for number in range(len(labels)) if bool(membership[number].any())]
    everything = torch.ones(1, beta.shape[1], dtype=membership.dtype)
    kept = torch.cat([membership[there], everything])
    vertices = np.array(tensors["vertices"]) if plan.on_surface else None
    return Readout(beta, roi_readout(beta, kept), (*(labels[number] for number in there), ALL), kept, vertices)
