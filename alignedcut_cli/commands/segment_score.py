"""The scores of every slot against a ground truth, at image resolution: oracle (C.4) or k-way without labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.kway import DISCRETISERS, match_clusters
from alignedcut_cli.core.oracle import class_centres, class_similarities, oracle_thresholds
from alignedcut_cli.core.overlap import contingency, counts_of_matched, mean_iou, threshold_counts
from alignedcut_cli.core.stretch import area_shares, stretch_bands
from alignedcut_cli.datasets.classes import Classes
from alignedcut_cli.datasets.masks import grid_labels

if TYPE_CHECKING:
    from alignedcut_cli.commands.segment_plan import Plan

__all__ = [
    "KwayReading",
    "OracleReading",
    "Reading",
    "SlotGrid",
    "grid_weights",
    "kway_counts",
    "oracle_counts",
    "slot_grids",
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
    """The patches of each slot in their places, from a cut's node table (M, 4) and eigenvectors (M, C)."""
    found = []
    for number, slot in enumerate(slots):
        mine = np.flatnonzero((nodes[:, 1] == number) & (nodes[:, 2] >= 0))
        rows = np.full((images, *slot["grid"]), -1, np.int64)
        rows[nodes[mine, 0], nodes[mine, 2], nodes[mine, 3]] = mine
        found.append(SlotGrid(eigenvectors[rows], rows))
    return found


def grid_weights(labels: np.ndarray, grid: tuple[int, int], classes: int, how: str) -> Tensor:
    """How much of each cell of the grid is of each class, from labels (H, W), -1 void: (rows * cols, k) float32.

    `majority`: 1 for the cell's commonest class (none where that is void). `area`: the share of its area.
    """
    if how == "area":
        return area_shares(torch.from_numpy(labels), grid, classes)
    cells = torch.from_numpy(grid_labels(labels, grid)).reshape(-1)
    return torch.nn.functional.one_hot(cells + 1, classes + 1)[:, 1:].float()


class Reading(Protocol):
    """How one slot is read: maps of any image over channels, and what a pixel becomes from its best channel."""

    def maps(self, image: int) -> Tensor:
        """(k, rows, cols) float32; a pixel takes the channel that is largest there."""
        ...

    def classes_of(self, best: Tensor, chosen: Tensor) -> Tensor:
        """The class of pixels whose largest channel is `chosen` with the value `best`; -1 for none."""
        ...


@dataclass(frozen=True)
class OracleReading:
    """A slot read by the similarity to class centres (k, C); below `threshold` a pixel is background (None: of no class)."""

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
    """A slot read by the cluster of each node (M of the cut,); `matched` gives each cluster its class, or -1."""

    slot: SlotGrid
    clusters: np.ndarray
    matched: np.ndarray

    def maps(self, image: int) -> Tensor:
        cells = torch.from_numpy(self.clusters[self.slot.rows[image]].astype(np.int64))
        return torch.nn.functional.one_hot(cells, len(self.matched)).permute(2, 0, 1).float()

    def classes_of(self, best: Tensor, chosen: Tensor) -> Tensor:
        return torch.from_numpy(self.matched)[chosen]


def masks_of(plan: Plan) -> Iterator[tuple[int, int, np.ndarray]]:
    """(place among the scored, number of the image, mask of ids) of every image that has a mask."""
    for place, (number, key) in enumerate(zip(plan.scored, plan.keys, strict=True)):
        yield place, number, plan.masks.read(key, plan.images[number])


def fit_centres(plan: Plan, slots: Sequence[SlotGrid], advance: Any) -> list[list[tuple[Tensor, Tensor]]]:
    """For each target and slot its class centres (k, C) and the weight of nodes behind each (k,), from the masks (C.4)."""
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
    return [[_centres(slot, scored, whole[t, slot.grid]) for slot in slots] for t in range(len(plan.targets))]


def _centres(slot: SlotGrid, scored: Sequence[int], weights: Tensor) -> tuple[Tensor, Tensor]:
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


def clusters_of(plan: Plan, target: Classes, eigenvectors: np.ndarray, graphs: np.ndarray, cut: int) -> np.ndarray:
    """The cluster of every node of a cut (M,) int64, each graph discretised alone."""
    from alignedcut_cli.core.numerics import stream

    params = plan.recipe.params
    discretise, count = DISCRETISERS[params["discretise"]], plan.clusters(target)
    found = [
        discretise(eigenvectors[start:stop], count, stream(params["seed"], "segment", target.title, cut, number))
        for number, (start, stop) in enumerate(graphs)
    ]
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


def slot_miou(slot: SlotGrid, labels: Sequence[np.ndarray], target: Classes) -> float:
    """The oracle mIoU of one slot with the defaults of `segment`: labels (H, W), -1 void, of each image are at hand."""
    weights = [grid_weights(one, slot.grid, len(target.ids), TO_GRID) for one in labels]
    centres, _ = _centres(slot, range(len(labels)), torch.cat(weights))
    reading, thresholds = OracleReading(slot, centres, background=target.background), oracle_thresholds(THRESHOLDS)
    counts = [
        oracle_counts(reading, number, one, len(target.ids), thresholds, TO_PIXELS) for number, one in enumerate(labels)
    ]
    return float(mean_iou(torch.stack(counts).sum(0).numpy()).max())
