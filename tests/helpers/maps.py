"""Sets of maps made without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alignedcut_cli.store.features import FeatureWriter
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.maps import map_meanings, map_tensors
from alignedcut_cli.store.project import Project


def make_maps(
    project: Project,
    name: str,
    maps: Mapping[str, np.ndarray],
    images: Sequence[str],
    *,
    model: str = "made-up",
    tap: str = "maps",
    dimensions: int = 1 << 30,
    **params: Any,
) -> Header:
    """A finished set of maps, each (n, D) and stored whole, or projected where D > `dimensions`; `images` are paths."""
    recipe = Recipe("features", name, 1, {"tap": tap, **params}, (), {"manifest": "m" * 64})
    writer = FeatureWriter(project.path("features", name), recipe, [(k, k + 1) for k in range(len(maps))], "maps")
    writer.open()
    slots = []
    for number, (called, rows) in enumerate(maps.items()):
        wide = rows.astype("f8")
        projected = dimensions if rows.shape[1] > dimensions else 0
        drawn = np.random.default_rng(number).standard_normal((rows.shape[1], projected))
        matrix = wide @ drawn / projected**0.5 if projected else rows
        tensors = map_tensors(number, wide @ wide.T, wide.sum(1), matrix.astype("f4"))
        writer.write(number, tensors, map_meanings(number, called), numerics={}, axes={"B": {"size": len(images)}})
        units = rows.shape[1]
        slot = {"model": model, "layer": number, "tap": tap, "name": called, "kind": "Linear", "shape": [units]}
        slots.append({**slot, "units": units, "projected": projected, "duplicates": []})
    entries = [{"path": path} for path in images]
    axes = {"B": {"size": len(entries), "images": entries}, "S": {"size": len(slots), "slots": slots}}
    header = writer.commit(numerics={}, axes=axes)
    Journal(project.create()).note("done", "features", name, ["extract", "--name", name], recipe=header.recipe)
    return header
