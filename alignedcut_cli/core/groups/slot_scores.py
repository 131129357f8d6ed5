"""Classify the patches of one slot, and count the result against labels at image resolution (C.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.core.groups.iou import contingency, mean_iou, threshold_counts
from alignedcut_cli.core.groups.oracle import class_centres, class_similarities, oracle_thresholds
from alignedcut_cli.core.groups.resize import area_shares, stretch_bands

__all__ = [
    "KwayReading",
    "OracleReading",
    "Reading",
    "SlotGrid",
    "grid_weights",
    "kway_counts",
    "oracle_counts",
    "predict",
    "predict_nodes",
    "slot_centres",
    "slot_grids",
    "slot_miou",
]

THRESHOLDS, TO_GRID, TO_PIXELS = 10, "majority", "bilinear"


@dataclass(frozen=True)
class SlotGrid:
    """The patches of one slot: `eigenvectors` (B, rows, cols, C) float32, and their `rows` in the cut (B, rows, cols)."""

    eigenvectors: np.ndarray
    rows: np.ndarray

    @property
    def grid(self) -> tuple[int, int]:
        return self.rows.shape[1], self.rows.shape[2]


def slot_grids(nodes: np.ndarray, eigenvectors: np.ndarray, slots: Sequence[Any], images: int) -> list[SlotGrid]:
    """The patches of each slot on their grid, from a cut's node table (M, 4) and eigenvectors (M, C)."""
    found = []
    for number, slot in enumerate(slots):
        mine = np.flatnonzero((nodes[:, 1] == number) & (nodes[:, 2] >= 0))
        rows = np.full((images, *slot["grid"]), -1, np.int64)
        rows[nodes[mine, 0], nodes[mine, 2], nodes[mine, 3]] = mine
        found.append(SlotGrid(eigenvectors[rows], rows))
    return found


def grid_weights(labels: np.ndarray, grid: tuple[int, int], classes: int, how: str) -> Tensor:
    """How much each cell of the grid belongs to each class, from labels (H, W), -1 void: (rows * cols, k) float32.

    `majority`: 1 for the cell's most frequent class (none where that is void). `area`: the share of its area.
    """
    if how == "area":
        return area_shares(torch.from_numpy(labels), grid, classes)
    cells = torch.from_numpy(grid_labels(labels, grid)).reshape(-1)
    return torch.nn.functional.one_hot(cells + 1, classes + 1)[:, 1:].float()


class Reading(Protocol):
    """A classifier of one slot: score maps of any image, and the class of a pixel from its best channel."""

    def maps(self, image: int) -> Tensor:
        """(k, rows, cols) float32; a pixel takes the largest channel."""
        ...

    def classes_of(self, best: Tensor, chosen: Tensor) -> Tensor:
        """The class of pixels whose largest channel is `chosen`, with the value `best`; -1 for none."""
        ...


@dataclass(frozen=True)
class OracleReading:
    """Classification by similarity to class centres (k, C); below `threshold` a pixel is background (None: no class)."""

    slot: SlotGrid
    centres: Tensor
    threshold: float = 0.0
    background: int | None = None

    def maps(self, image: int) -> Tensor:
        vectors = torch.from_numpy(self.slot.eigenvectors[image][..., : self.centres.shape[1]])
        flat = class_similarities(vectors.reshape(-1, vectors.shape[-1]), self.centres)
        return flat.T.reshape(-1, *self.slot.grid)

    def classes_of(self, best: Tensor, chosen: Tensor) -> Tensor:
        outside = -1 if self.background is None else self.background
        return chosen.where(best.double() >= self.threshold, torch.tensor(outside))


@dataclass(frozen=True)
class KwayReading:
    """Classification by the cluster of each node of the cut (M,); `matched` is each cluster's class, or -1."""

    slot: SlotGrid
    clusters: np.ndarray
    matched: np.ndarray

    def maps(self, image: int) -> Tensor:
        cells = torch.from_numpy(self.clusters[self.slot.rows[image]].astype(np.int64))
        return torch.nn.functional.one_hot(cells, len(self.matched)).permute(2, 0, 1).float()

    def classes_of(self, best: Tensor, chosen: Tensor) -> Tensor:
        return torch.from_numpy(self.matched)[chosen]


def slot_centres(slot: SlotGrid, scored: Sequence[int], weights: Tensor) -> tuple[Tensor, Tensor]:
    """The class centres (k, C) of the `scored` images of one slot, and the total node weight of each (k,)."""
    vectors = torch.from_numpy(slot.eigenvectors[list(scored)])
    return class_centres(vectors.reshape(-1, vectors.shape[-1]), weights), weights.sum(0)


def oracle_counts(
    reading: OracleReading, image: int, labels: np.ndarray, classes: int, thresholds: Tensor, how: str
) -> Tensor:
    """Counts (T, 3, k) int64 of one image of one slot against its labels (H, W), at image resolution."""
    total = torch.zeros(len(thresholds), 3, classes, dtype=torch.int64)
    for band, maps in stretch_bands(reading.maps(image), labels.shape, how):  # type: ignore[arg-type]
        best, chosen = maps.max(0)
        truth = torch.from_numpy(labels[band]).reshape(-1)
        total += threshold_counts(best.reshape(-1), chosen.reshape(-1), truth, classes, thresholds, reading.background)
    return total


def kway_counts(reading: KwayReading, image: int, labels: np.ndarray, classes: int, how: str) -> Tensor:
    """Contingency (q, k) int64 of clusters and classes of one image of one slot, at image resolution."""
    clusters = len(reading.matched)
    total = torch.zeros(clusters, classes, dtype=torch.int64)
    for band, maps in stretch_bands(reading.maps(image), labels.shape, how):  # type: ignore[arg-type]
        truth = torch.from_numpy(labels[band]).reshape(-1)
        total += contingency(maps.argmax(0).reshape(-1), truth, clusters, classes)
    return total


def predict(reading: Reading, image: int, size: tuple[int, int], how: str) -> np.ndarray:
    """The class of every pixel of an image (H, W) int64; -1 for none."""
    found = []
    for _, maps in stretch_bands(reading.maps(image), size, how):
        best, chosen = maps.max(0)
        found.append(reading.classes_of(best, chosen))
    return torch.cat(found).numpy()


def predict_nodes(reading: Reading, images: int) -> np.ndarray:
    """The class of every patch (B, rows, cols) int64, without interpolation; -1 for none."""
    found = []
    for image in range(images):
        best, chosen = reading.maps(image).max(0)
        found.append(reading.classes_of(best, chosen).numpy())
    return np.stack(found)


def slot_miou(slot: SlotGrid, labels: Sequence[np.ndarray], classes: int, background: int | None) -> float:
    """The oracle mIoU of one slot with the defaults of `segment`: from labels (H, W), -1 void, of each image."""
    weights = [grid_weights(one, slot.grid, classes, TO_GRID) for one in labels]
    centres, _ = slot_centres(slot, range(len(labels)), torch.cat(weights))
    reading, thresholds = OracleReading(slot, centres, background=background), oracle_thresholds(THRESHOLDS)
    counts = [oracle_counts(reading, number, one, classes, thresholds, TO_PIXELS) for number, one in enumerate(labels)]
    return float(mean_iou(torch.stack(counts).sum(0).numpy()).max())
