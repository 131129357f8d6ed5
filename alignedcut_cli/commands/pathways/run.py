"""Running a plan of pathways: the clusters of every slot, and their information about classes, positions and instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.core.groups.information import (
    adjusted_information,
    grid_positions,
    image_tables,
    information_of_images,
    shuffled_maps,
)
from alignedcut_cli.core.groups.kway import kmeans_clusters
from alignedcut_cli.core.groups.slot_scores import slot_grids
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.nulls import tail_p
from alignedcut_cli.store.artifact import load_tensors

if TYPE_CHECKING:
    from alignedcut_cli.commands.pathways.plan import Plan
    from alignedcut_cli.frame.run import Frame

__all__ = ["MEANINGS", "SCOPES", "STATISTICS", "axes_of", "run"]

SCOPES = ("dataset", "within")
STATISTICS = ("value", "low", "high", "null mean", "null 95%", "p")
MEANINGS = {
    "information": ("S X Y Z", "adjusted mutual information of clusters and labels, see axes X, Y, Z; NaN: none"),
    "clusters": ("n", "cluster of each node within its graph"),
    "nodes": ("n T", "image, slot, row, col of each node of all cuts; row = col = -1 for the class token"),
}
Grid = tuple[int, int]


def run(frame: Frame, plan: Plan) -> dict[str, np.ndarray]:
    """All tensors of the artifact."""
    truths = _truths(frame, plan)
    found, clusters, tables, before = [], [], [], 0
    with frame.output.progress("measuring", len(plan.slots), "slots") as advance:
        for number, header in enumerate(plan.cuts):
            _, tensors = load_tensors(frame.project.path("cut", header.name))
            mine = _clusters(plan, tensors, number)
            about = header.axes["S"]["slots"]
            for slot, grids in enumerate(slot_grids(tensors["nodes"], mine[:, None], about, len(plan.images))):
                maps = grids.eigenvectors[list(plan.scored)][..., 0]  # (b, rows, cols)
                seed = stream(plan.recipe.params["seed"], "pathways", number, slot)
                found.append(_measures(plan, maps, truths[grids.grid], header.params.get("scope") == "image", seed))
                advance(1)
            clusters.append(mine)
            nodes = tensors["nodes"].copy()
            nodes[:, 1] += before
            before += len(about)
            tables.append(nodes)
    return {
        "information": np.stack(found).astype(np.float32),
        "clusters": np.concatenate(clusters).astype(np.int32),
        "nodes": np.concatenate(tables),
    }


def _clusters(plan: Plan, tensors: Mapping[str, np.ndarray], cut: int) -> np.ndarray:
    """The cluster of every node of a cut (M,) int64, each graph clustered separately, without its first eigenvector."""
    params = plan.recipe.params
    kept = tensors["eigenvectors"][:, 1 : 1 + params["eigenvectors"]]
    return np.concatenate(
        [
            kmeans_clusters(kept[start:stop], params["clusters"], stream(params["seed"], "clusters", cut, number))
            for number, (start, stop) in enumerate(tensors["graphs"])
        ]
    )


def _truths(frame: Frame, plan: Plan) -> dict[Grid, dict[str, tuple[np.ndarray, int]]]:
    """For each grid of a slot, the labels (b, P), -1 for none, and their number, by measure."""
    grids: list[Grid] = list(dict.fromkeys((slot["grid"][0], slot["grid"][1]) for slot in plan.slots))
    classes: dict[Grid, list[np.ndarray]] = {grid: [] for grid in grids}
    instances: dict[Grid, list[np.ndarray]] = {grid: [] for grid in grids}
    with frame.output.progress("reading masks", len(plan.scored), "masks") as advance:
        for number, key in zip(plan.scored, plan.keys, strict=True):
            image = plan.images[number]
            labels = plan.classes.labels(plan.masks.read(key, image))
            numbers = plan.instances(key, image) if plan.instances else None
            for grid in grids:
                classes[grid].append(grid_labels(labels, grid).reshape(-1))
                if numbers is not None:
                    instances[grid].append(_numbered(grid_labels(numbers, grid).reshape(-1)))
            advance(1)
    parts = plan.recipe.params["grid"]
    found: dict[Grid, dict[str, tuple[np.ndarray, int]]] = {}
    for grid in grids:
        places = np.tile(grid_positions(grid, parts).reshape(-1), (len(plan.scored), 1))
        found[grid] = {
            "class": (np.stack(classes[grid]), len(plan.classes.ids)),
            "position": (places, parts**2),
        }
        if plan.instances:
            stacked = np.stack(instances[grid])
            found[grid]["instance"] = (stacked, max(1, int(stacked.max()) + 1))
    return found


def _numbered(numbers: np.ndarray) -> np.ndarray:
    """The instance ids of one image renumbered 0, 1, ...; 0, which is no instance, becomes -1."""
    there = np.unique(numbers[numbers != 0])
    return np.where(numbers != 0, np.searchsorted(there, numbers), -1)


def _measures(
    plan: Plan, maps: np.ndarray, truth: Mapping[str, tuple[np.ndarray, int]], by_image: bool, seed: int
) -> np.ndarray:
    """(X, Y, Z): for each measure and scope the value, its interval, the null, and p. `by_image`: clusters are separate for
    each image, as instances are, so that there is no value over the data set."""
    params = plan.recipe.params
    found = np.full((len(plan.measures), len(SCOPES), len(STATISTICS)), np.nan)
    nulls = {name: ([], []) for name in plan.measures}
    count, flat = params["clusters"], maps.reshape(len(maps), -1).astype(np.int64)
    random = np.random.default_rng(stream(seed, "null"))
    for _ in range(params["permutations"]):
        dealt = shuffled_maps(maps, random).reshape(flat.shape).astype(np.int64)
        for name in plan.measures:
            tables = image_tables(dealt, *_labels(truth[name], count))
            nulls[name][0].append(adjusted_information(tables.sum(0, keepdims=True))[0])
            each = adjusted_information(tables)
            nulls[name][1].append(each[~np.isnan(each)].mean() if (~np.isnan(each)).any() else np.nan)
    for x, name in enumerate(plan.measures):
        told = information_of_images(
            image_tables(flat, *_labels(truth[name], count)), params["bootstrap"], stream(seed, "bootstrap", name)
        )
        for y, scope in enumerate(SCOPES):
            value = told[scope]
            if not isinstance(value, float) or (scope == "dataset" and (by_image or name == "instance")):
                continue
            found[x, y, 0] = value
            if told[f"{scope}.interval"]:
                found[x, y, 1:3] = told[f"{scope}.interval"]
            null = np.array(nulls[name][y])
            if len(null):
                found[x, y, 3:] = (
                    null.mean(),
                    np.quantile(null, 0.95),
                    tail_p(value, null),
                )
    return found


def _labels(truth: tuple[np.ndarray, int], count: int) -> tuple[np.ndarray, int, int]:
    labels, classes = truth
    return labels, count, classes


def axes_of(plan: Plan, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The axes of the artifact."""
    slots: Sequence[Any] = [{**slot, "cut": cut} for slot, cut in zip(plan.slots, plan.cut_of, strict=True)]
    return {
        "n": {"size": len(tensors["nodes"])},
        "T": {"size": 4, "labels": ["image", "slot", "row", "col"]},
        "B": {"size": len(plan.images), "images": list(plan.images)},
        "b": {"size": len(plan.scored), "scored": list(plan.scored)},
        "S": {"size": len(slots), "slots": slots},
        "X": {"size": len(plan.measures), "labels": list(plan.measures)},
        "Y": {"size": len(SCOPES), "labels": list(SCOPES)},
        "Z": {"size": len(STATISTICS), "labels": list(STATISTICS)},
    }
