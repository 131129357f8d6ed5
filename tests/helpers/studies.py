"""Studies made without a model: photographs, a joint cut that separates figure and ground, colours, segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alignedcut_cli.nodes.slots import node_table
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.canonical import file_digest
from alignedcut_cli.store.header import Header, Input, Recipe
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.project import Project

__all__ = ["figure_of", "make_study"]

MANIFEST = "a" * 64
NUMERICS = {"device": "cpu"}


def figure_of(grid: tuple[int, int]) -> np.ndarray:
    """Which patches of a grid are figure, the middle half of it: (rows, cols) bool."""
    rows, columns = np.indices(grid)
    return (abs(rows - (grid[0] - 1) / 2) < grid[0] / 4) & (abs(columns - (grid[1] - 1) / 2) < grid[1] / 4)


def make_study(
    folder: Path,
    names: Sequence[str],
    models: Mapping[str, int],
    grid: tuple[int, int] = (8, 8),
    *,
    columns: int = 6,
    noise: float = 0.4,
    title: str = "joint",
    classes: Sequence[str] = (),
) -> Project:
    """A project with cut/TITLE of one graph and its coloring, and segments where `classes` (ground, figure) are named."""
    project = Project(folder / "study").create()
    images = _photographs(folder / "photos", names)
    note = {"manifest": MANIFEST, "image_root": str(folder / "photos")}
    Journal(project).note("done", "features", "f", ["extract", "photos", "--name", "f"], **note)
    slots = [
        {"model": model, "tap": "attn", "layer": layer, "width": 4, "grid": list(grid), "class_token": True}
        for model, layers in models.items()
        for layer in range(layers)
    ]
    axes: dict[str, Any] = {
        "B": {"size": len(images), "images": images},
        "S": {"size": len(slots), "slots": slots},
        "C": {"size": columns},
        "G": {"size": 1},
        "T": {"size": 4},
    }
    nodes = np.concatenate([node_table(slot, number, len(images)) for number, slot in enumerate(slots)])
    inside = np.zeros(len(nodes), bool)
    patches = nodes[:, 2] >= 0
    inside[patches] = figure_of(grid)[nodes[patches, 2], nodes[patches, 3]]
    cut = _cut(project, title, axes, nodes, inside, noise)
    _color(project, title, axes, nodes, inside, cut)
    if classes:
        _segment(project, title, axes, nodes, inside, cut, classes)
    return project


def _photographs(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    images = []
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ground = np.full((60, 80, 3), (40 + 10 * (number % 10), 90, 140), np.uint8)
        ground[15:45, 20:60] = (220, 120, 30 + 20 * (number % 10))
        with path.open("wb") as stream:
            Image.fromarray(ground).save(stream, "JPEG", quality=90)
        about = {"path": name, "sha256": file_digest(path), "bytes": path.stat().st_size, "width": 80, "height": 60}
        images.append(about)
    return images


def _written(
    project: Project,
    recipe: Recipe,
    tensors: Mapping[str, np.ndarray],
    meanings: Mapping[str, str],
    axes: Mapping[str, Any],
    parents: tuple[Header, ...],
) -> Header:
    told = {name: (letters, "made up") for name, letters in meanings.items()}
    path = project.path(recipe.kind, recipe.name)
    header = write_artifact(path, recipe, tensors, told, axes=axes, numerics=NUMERICS, parents=parents)
    argv = [recipe.kind, "--name", recipe.name, "-p", str(project.root)]
    Journal(project).note("done", recipe.kind, recipe.name, argv, recipe=header.recipe)
    return header


def _cut(
    project: Project, name: str, axes: dict[str, Any], nodes: np.ndarray, inside: np.ndarray, noise: float
) -> Header:
    draws = np.random.default_rng(0)
    columns = axes["C"]["size"]
    rows = draws.standard_normal((len(nodes), columns), np.float32)
    rows *= np.float32(noise)
    rows[:, 0] += 1
    rows[:, 1] += np.where(inside, 1.5, -1.5)
    rows /= np.float32(np.sqrt(len(nodes)))
    extracted = Header(
        {
            "history": [
                {
                    "recipe": "f" * 64,
                    "kind": "features",
                    "name": "f",
                    "params": {},
                    "inputs": [],
                    "external": {"manifest": MANIFEST},
                }
            ]
        }
    )
    params = {"space": "raw", "per_slot": False, "solver": "exact", "gamma": 1.0, "seed": 0, "eigenvectors": columns}
    given = {letter: {**axes[letter], "size": axes[letter]["size"]} for letter in "BSCGT"} | {"M": {"size": len(nodes)}}
    return _written(
        project,
        Recipe("cut", name, 1, params),
        {"eigenvectors": rows, "nodes": nodes},
        {"eigenvectors": "M C", "nodes": "M T"},
        given,
        (extracted,),
    )


def _color(
    project: Project, name: str, axes: dict[str, Any], nodes: np.ndarray, inside: np.ndarray, cut: Header
) -> Header:
    draws = np.random.default_rng(1)
    places = draws.standard_normal((len(nodes), 3), np.float32) + np.where(inside, 3, -3)[:, None].astype(np.float32)
    rgb = np.clip(128 + 25 * places, 0, 255).astype(np.uint8)
    params = {"dims": 3, "eigenvectors": axes["C"]["size"], "perplexity": 30.0, "seed": 0, "nodes": 1000}
    given = Input("cut", "cut", cut.name, cut.content, cut.recipe)
    own = {letter: axes[letter] for letter in "BSGT"} | {"M": {"size": len(nodes)}, "m": {"size": 1000}}
    own |= {"Z": {"size": 3}, "d": {"size": 3}}
    return _written(
        project,
        Recipe("color", name, 1, params, (given,)),
        {"rgb": rgb, "coordinates": places},
        {"rgb": "M Z", "coordinates": "M d"},
        own,
        (cut,),
    )


def _segment(
    project: Project,
    name: str,
    axes: dict[str, Any],
    nodes: np.ndarray,
    inside: np.ndarray,
    cut: Header,
    classes: Sequence[str],
) -> Header:
    count = axes["S"]["size"]
    given = Input("cut.0", "cut", cut.name, cut.content, cut.recipe)
    images = axes["B"]["size"]
    own: dict[str, Any] = {
        "n": {"size": len(nodes)},
        "B": axes["B"],
        "T": {"size": 4},
        "J": {"size": 1, "labels": [0.5]},
    }
    own |= {"S": {"size": count, "slots": [{**slot, "cut": 0} for slot in axes["S"]["slots"]]}}
    own |= {"b": {"size": images}, "R": {"size": 2}, "targets": {"size": 1, "labels": ["classes"]}}
    own |= {"K.classes": {"size": len(classes), "labels": list(classes), "ids": [0, 1], "background": 0}}
    score = np.linspace(0.3, 0.8, count, dtype=np.float32)
    return _written(
        project,
        Recipe("segment", name, 1, {"method": "oracle", "eigenvectors": 4, "bootstrap": 10}, (given,)),
        {
            "classes.predicted": np.where(nodes[:, 2] < 0, -1, inside).astype(np.int32),
            "classes.miou": score[:, None],
            "classes.best": np.zeros(count, np.int32),
            "classes.accuracy": score,
            "classes.interval": np.stack([score - 0.1, score + 0.1], 1),
        },
        {
            "classes.predicted": "n",
            "classes.miou": "S J",
            "classes.best": "S",
            "classes.accuracy": "S",
            "classes.interval": "S R",
        },
        own,
        (cut,),
    )
