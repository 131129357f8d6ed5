"""Growing the tree, its bootstrap over images, and the differences between the sides of each split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.groups.activations import Clusters, cell_sums, clustered_difference, roi_readout
from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.core.groups.tree import Tree, nested_clusters, supported_tree
from alignedcut_cli.core.resample.draws import bootstrap_weights
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.spaces import open_transforms
from alignedcut_cli.store.artifact import load_tensors, map_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alignedcut_cli.commands.tree.plan import Plan

__all__ = ["run"]

TILE = 8192


def run(frame: Frame, plan: Plan) -> tuple[dict[str, np.ndarray], list[str]]:
    """The tensors of the artifact, and the names of the areas."""
    _, cut = load_tensors(frame.project.path("cut", plan.cut.name))
    params, images = plan.recipe.params, len(plan.cut.axes["B"]["images"])
    places = cut["nodes"][:, 0].astype(np.int64)
    draws = bootstrap_weights(images, params["bootstrap"], params["seed"])
    rows = cut["eigenvectors"][:, : params["eigenvectors"]]
    tree, support = supported_tree(rows, places, params["clusters"], draws, params["seed"])
    cells = torch.from_numpy(places * params["clusters"] + tree.leaf)
    sizes = _counts(cells, images, params["clusters"])
    tensors = {
        "nodes": cut["nodes"],
        "leaf": tree.leaf.astype(np.int16),
        "joins": tree.joins.astype(np.float64),
        "clusters": nested_clusters(tree.joins).astype(np.int16),
        "sizes": (tree.clades @ sizes.sum(0).numpy()).astype(np.int64),
        "support": np.nan_to_num(support, nan=-1.0),
    }
    areas: list[str] = []
    if plan.space is not None:
        sums, areas = _areas(plan, cells, images * params["clusters"])
        tensors["areas"] = _differences(tree, sums.unflatten(0, (images, -1)), sizes)
    if plan.classes is not None:
        labels = torch.from_numpy(_labels(plan, cut["nodes"]))
        known = labels >= 0
        each = [
            _counts(cells[known & (labels == number)], images, params["clusters"])
            for number in range(len(plan.classes.ids))
        ]
        tensors["classes"] = _differences(
            tree, torch.stack(each, 2).double(), _counts(cells[known], images, params["clusters"])
        )
    return tensors, areas


def _counts(cells: Tensor, images: int, leaves: int) -> Tensor:
    """Nodes of each image in each leaf: (B, L) int64."""
    return torch.bincount(cells, minlength=images * leaves).reshape(images, leaves)


def _differences(tree: Tree, sums: Tensor, counts: Tensor) -> np.ndarray:
    """The difference of means over the two sides of each split, and its error over images: (L - 1, R, 2)."""
    found = []
    for one, other, *_ in tree.joins:
        sides = []
        for clade in (int(one), int(other)):
            below = torch.from_numpy(np.flatnonzero(tree.clades[clade]))
            sides.append(Clusters(sums[:, below].sum(1), counts[:, below].sum(1)))
        found.append(torch.stack(clustered_difference(*sides), 1))
    return torch.nan_to_num(torch.stack(found), nan=0.0).numpy()


def _areas(plan: Plan, cells: Tensor, count: int) -> tuple[Tensor, list[str]]:
    """Sums over each cell of the predicted response of each area, in voxels' standard deviations, and the areas' names."""
    assert plan.space is not None and plan.space.alignment is not None
    tensors = map_tensors(plan.space.alignment.path)
    beta = torch.from_numpy(np.array(tensors["beta"]))
    if "scale" in tensors:
        beta /= torch.from_numpy(np.array(tensors["scale"]))
    membership = torch.from_numpy(np.array(tensors["rois"])).bool()
    there = membership.any(1)
    names = [name for name, known in zip(plan.space.alignment.header.axes["R"]["labels"], there, strict=True) if known]
    readout = roi_readout(beta, membership[there])
    transform = open_transforms(plan.space)
    rows = GraphRows(plan.slots, [transform(slot) for slot in plan.slots], "aligned", torch.device("cpu"))

    def tiles() -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(rows), TILE):
            yield start, rows.read(start, min(start + TILE, len(rows))).double() @ readout

    return cell_sums(tiles(), cells, count), names


def _labels(plan: Plan, nodes: np.ndarray) -> np.ndarray:
    """The class of each node by the masks on its slot's grid: (M,) int64, -1 for class tokens, void and unmasked images."""
    assert plan.masks is not None and plan.truth is not None and plan.classes is not None
    found = np.full(len(nodes), -1, np.int64)
    slots = plan.cut.axes["S"]["slots"]
    for image, key in zip(plan.truth.scored, plan.truth.keys, strict=True):
        labels = plan.classes.labels(plan.masks.read(key, plan.cut.axes["B"]["images"][image]))
        for grid in {tuple(slot["grid"]) for slot in slots}:
            cells = grid_labels(labels, grid)
            own = np.array([tuple(slot["grid"]) == grid for slot in slots])
            mine = np.flatnonzero((nodes[:, 0] == image) & (nodes[:, 2] >= 0) & own[nodes[:, 1]])
            found[mine] = cells[nodes[mine, 2], nodes[mine, 3]]
    return found
