"""A synthetic cut with known truth: in one model foreground and background diverge at one layer, in the other nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from alignedcut_cli.nodes.slots import node_table
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import Project
from tests.helpers.stores import IMAGES, NUMERICS, make_features

LAYERS, PARTING, WIDTH = 4, 2, 6
VOID = 255


@dataclass(frozen=True)
class Model:
    """A model of the cut; `parts` says whether its foreground and background diverge into layer PARTING."""

    name: str
    grid: tuple[int, int]
    class_token: bool
    parts: bool
    layers: Sequence[int] = tuple(range(LAYERS))


PARTED = Model("parted", (6, 6), True, True)
BLIND = Model("blind", (6, 6), False, False)
COARSE = Model("coarse", (3, 3), False, False)
"""The second model has as many patches as the first; the third has a coarser grid."""


def objects(seed: int = 0) -> np.ndarray:
    """Masks (IMAGES, 12, 12) uint8: a smooth object of class 3 or 5 on class 0, and a corner of void."""
    draws = np.random.default_rng(seed)
    field = gaussian_filter(draws.standard_normal((IMAGES, 6, 6)), (0, 1.0, 1.0), mode="wrap")
    inside = field > np.quantile(field, 0.6, axis=(1, 2), keepdims=True)
    masks = np.where(inside, draws.choice([3, 5], IMAGES)[:, None, None], 0).astype(np.uint8)
    masks[:, 0, 0] = VOID
    return masks.repeat(2, 1).repeat(2, 2)


def write_masks(folder: Path, masks: np.ndarray | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(objects() if masks is None else masks):
        Image.fromarray(mask).save(folder / f"{number}.png")
    return folder


def smooth(grid: tuple[int, int], *key: int) -> np.ndarray:
    """(IMAGES, rows, cols) random fields, smooth over an image, of about unit variance."""
    field = np.random.default_rng(key).standard_normal((IMAGES, *grid))
    field = gaussian_filter(field, (0, 0.8, 0.8), mode="wrap")
    return field / field.std()


def eigenvectors(model: Model, layer: int, inside: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """(IMAGES, P, WIDTH): three groups of patches by a random field, some of which change group at each layer by another.

    In PARTED, from PARTING on, there are two groups: outside and inside the objects.
    """
    key = sum(map(ord, model.name))
    groups = np.digitize(smooth(model.grid, key), [-0.4, 0.4])
    for step in range(1, layer + 1):
        groups = (groups + (smooth(model.grid, key, step) > 0.5)) % 3
    if model.parts and layer >= PARTING:
        groups = 3 + inside[:, :: 6 // model.grid[0], :: 6 // model.grid[1]].astype(int)
    groups = groups.reshape(IMAGES, -1)
    if model.class_token:
        groups = np.hstack([np.full((IMAGES, 1), 5), groups])
    return np.eye(WIDTH)[groups] + 0.08 * draws.standard_normal((*groups.shape, WIDTH))


def make_study(
    root: Path, models: Sequence[Model] = (PARTED, BLIND), *, name: str = "joint", **params: Any
) -> tuple[Project, Header]:
    """A project with cut/joint of the models, over images 0.png to 19.png of 12 x 12 pixels."""
    project = Project(root).create()
    if "f" not in project.names("features"):
        make_features(project)
    given, parent = project.input("features.0", "features", "f")
    draws, inside = np.random.default_rng(1), np.isin(objects()[:, ::2, ::2], (3, 5))
    slots: list[dict[str, Any]] = [
        {"model": model.name, "layer": layer, "tap": "attn", "width": 8, "grid": list(model.grid),
         "class_token": model.class_token}
        for model in models for layer in model.layers
    ]  # fmt: skip
    blocks = [eigenvectors(model, layer, inside, draws) for model in models for layer in model.layers]
    tensors = {
        "eigenvectors": np.concatenate([block.reshape(-1, WIDTH) for block in blocks]).astype(np.float32),
        "nodes": np.concatenate([node_table(slot, number, IMAGES) for number, slot in enumerate(slots)]),
    }
    tensors["graphs"] = np.array([[0, len(tensors["nodes"])]], np.int64)
    images = [{"path": f"{n}.png", "sha256": f"{n:064d}", "bytes": 1, "width": 12, "height": 12} for n in range(IMAGES)]
    axes: Mapping[str, Any] = {
        "M": {"size": len(tensors["nodes"])}, "C": {"size": WIDTH}, "G": {"size": 1}, "T": {"size": 4},
        "B": {"size": IMAGES, "images": images}, "S": {"size": len(slots), "slots": slots},
    }  # fmt: skip
    meanings = {"eigenvectors": ("M C", "made up"), "nodes": ("M T", "nodes"), "graphs": ("G R", "graphs")}
    recipe = Recipe("cut", name, 1, {"per_slot": False, **params}, (given,))
    path = project.path("cut", name)
    return project, write_artifact(path, recipe, tensors, meanings, axes=axes, numerics=NUMERICS, parents=(parent,))
