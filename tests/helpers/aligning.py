"""Synthetic feature sets and responses to the same images, for the tests of `align`: no model, no photographs."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alignedcut_cli.store.features import FeatureSet, FeatureWriter
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.project import Project
from tests.conftest import Run

IMAGES, LATENTS, VOXELS, SHARD = 40, 5, 6, 16


@dataclass(frozen=True)
class Made:
    """How a feature set is made: widths by layer, which tokens are kept, grid, class token; `seed` is its weights."""

    widths: Mapping[int, int]
    tokens: str = "all"
    grid: tuple[int, int] = (2, 3)
    class_token: bool = False
    seed: int = 0
    model: str = "made"

    def values(self, images: Sequence[Mapping[str, Any]], layer: int) -> np.ndarray:
        """All tokens (B, P, D) float32 of one layer: a random linear map of the image's latents and of each position."""
        draws = np.random.default_rng([self.seed, layer])
        count = self.grid[0] * self.grid[1] + self.class_token
        loading = draws.standard_normal((LATENTS, self.widths[layer]))
        level = draws.standard_normal(self.widths[layer])
        shown = np.stack([latents(image["path"]) for image in images])  # (B, L)
        places = draws.standard_normal((len(images), count, LATENTS))
        noise = 0.1 * draws.standard_normal((len(images), count, self.widths[layer]))
        return ((shown[:, None] + places) @ loading + level + noise).astype(np.float32)


FIRST = Made({0: 8, 1: 12}, seed=1, model="first")
SECOND = Made({2: 10}, "sample:4", (2, 2), class_token=True, seed=2, model="second")
POOLED = Made({0: 8}, "pooled", seed=3, model="third")


def latents(name: str) -> np.ndarray:
    """The latents of an image, (LATENTS,) float64: the same in all feature sets and responses."""
    seed = int.from_bytes(hashlib.sha256(Path(name).stem.encode()).digest()[:4], "little")
    return np.random.default_rng(seed).standard_normal(LATENTS)


def image_names(count: int = IMAGES) -> list[str]:
    return [f"image-{number:02d}.png" for number in range(count)]


def image_entries(names: Sequence[str], contents: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Images of a feature set, 12 x 8 pixels; the content of each is the text of its name unless `contents` are given."""
    texts = [text.encode() for text in contents or names]
    return [
        {"path": name, "sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text), "width": 12, "height": 8}
        for name, text in zip(names, texts, strict=True)
    ]


def responses_to(names: Sequence[str], voxels: int = VOXELS) -> np.ndarray:
    """Responses (rows, voxels) float32: a linear map of the images' latents, and noise."""
    draws = np.random.default_rng(7)
    shown = np.stack([latents(name) for name in names])
    clean = shown @ draws.standard_normal((LATENTS, voxels))
    return (clean + 0.3 * draws.standard_normal(clean.shape)).astype(np.float32)


def write_made(
    project: Project,
    name: str,
    made: Made,
    images: Sequence[Mapping[str, Any]] | None = None,
    *,
    order: Sequence[int] | None = None,
    values: Mapping[int, np.ndarray] | None = None,
) -> Header:
    """A finished feature set of `images` in shards of 16; `order` permutes the same images and values."""
    images = image_entries(image_names()) if images is None else images
    values = values or {layer: made.values(images, layer) for layer in made.widths}
    if order is not None:
        images, values = [images[place] for place in order], {k: v[list(order)] for k, v in values.items()}
    external = {
        "manifest": hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest(),
        "weights": f"{made.seed:064x}",
    }
    recipe = Recipe("features", name, 1, {"tokens": made.tokens}, (), external)
    ranges = [(start, min(start + SHARD, len(images))) for start in range(0, len(images), SHARD)]
    writer = FeatureWriter(project.path("features", name), recipe, ranges)
    writer.open()
    for number in writer.missing():
        tensors: dict[str, np.ndarray] = {}
        for layer, whole in values.items():
            part = whole[slice(*writer.ranges[number])]
            tensors[f"pooled.{layer:02d}"] = part.astype(np.float64).mean(1).astype(np.float32)
            if made.tokens == "all":
                tensors[f"tokens.{layer:02d}"] = part
            elif made.tokens != "pooled":
                kept = int(made.tokens.removeprefix("sample:"))
                tensors[f"sampled.{layer:02d}"] = part[:, :kept]
                tensors[f"drawn.{layer:02d}"] = np.tile(np.arange(kept, dtype=np.int32), (len(part), 1))
        axes = {"pooled": "B D", "tokens": "B P D", "sampled": "B K D", "drawn": "B K"}
        writer.write(number, tensors, {key: (axes[key[:-3]], "made up") for key in tensors}, numerics={}, axes={})
    about = {"model": made.model, "tap": "attn", "grid": list(made.grid), "class_token": made.class_token}
    slots = [{**about, "layer": layer, "width": width} for layer, width in made.widths.items()]
    sizes = {"B": {"size": len(images), "images": list(images)}, "S": {"size": len(slots), "slots": slots}}
    header = writer.commit(numerics={}, axes=sizes)
    Journal(project.create()).note("done", "features", name, ["extract", "made-up"], recipe=header.recipe)
    return header


def write_csv(path: Path, names: Sequence[str], values: np.ndarray) -> Path:
    """Responses (rows, voxels) as a table with one row per image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", *(f"channel {number}" for number in range(values.shape[1]))])
        table.writerows([name, *(repr(float(value)) for value in row)] for name, row in zip(names, values, strict=True))
    return path


def make_world(folder: Path) -> Path:
    """study/ with features/first, second and pooled of the same 40 images, and responses.csv to them."""
    project = Project(folder / "study").create()
    write_made(project, "first", FIRST)
    write_made(project, "second", SECOND)
    write_made(project, "pooled", POOLED)
    write_csv(folder / "responses.csv", image_names(), responses_to(image_names()))
    return folder


def whole(project: Path, name: str, tensor: str) -> np.ndarray:
    """One tensor of a feature set, all shards, float64."""
    return np.concatenate(FeatureSet(project / "features" / name).blocks(tensor)).astype(np.float64)


def refused(run: Run, status: int, code: str) -> dict[str, Any]:
    """The error of a command with --json."""
    assert (run.status, run.out) == (status, ""), run.err
    error = json.loads(run.err.splitlines()[-1])
    assert (error["schema"], error["code"], error["exit"]) == ("alignedcut.error/1", code, status), error
    return error
