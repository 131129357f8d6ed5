"""A synthetic study for score and probe: maps of two models, and responses generated from two of their layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alignedcut_cli.store.project import Project
from tests.helpers.maps import make_maps

__all__ = ["IMAGES", "VOXELS", "make_study", "maps_of", "responses_of", "write_responses"]

IMAGES, VOXELS = 60, 24
UNITS = {"first": 30, "second": 20, "third": 40}


def maps_of(model: str) -> dict[str, np.ndarray]:
    """Three layers of a model, each (IMAGES, D), independent between the two models."""
    random = np.random.default_rng({"one": 0, "two": 1}[model])
    return {name: random.standard_normal((IMAGES, units)).astype("f4") for name, units in UNITS.items()}


def responses_of(noise: float = 1.0, seed: int = 5) -> np.ndarray:
    """(IMAGES, VOXELS): the first half from layer `second` of model one, the rest from `third` of model two."""
    random = np.random.default_rng(seed)
    found = []
    for model, layer in (("one", "second"), ("two", "third")):
        rows = maps_of(model)[layer][:, :8]
        found.append(rows @ random.standard_normal((8, VOXELS // 2)) / 8**0.5)
    signal = np.concatenate(found, 1)
    return (signal + noise * random.standard_normal(signal.shape)).astype("f4")


def names() -> list[str]:
    return [f"{number:03d}.png" for number in range(IMAGES)]


def make_study(folder: Path, models: Mapping[str, Mapping[str, np.ndarray]] | None = None) -> Path:
    """A project with the maps of both models."""
    chosen = {model: maps_of(model) for model in ("one", "two")} if models is None else models
    for model, maps in chosen.items():
        make_maps(Project(folder), model, maps, names(), model=model)
    return folder


def write_responses(path: Path, **arrays: np.ndarray) -> Path:
    """An npz of the responses with regions `early` (half of them, from model one) and `late`, or of the given arrays."""
    early = np.arange(VOXELS) < VOXELS // 2
    given = {"responses": responses_of(), "rois/early": early, "rois/late": ~early, **arrays}
    np.savez(path, images=np.array(names()), **given)
    return path
