"""A synthetic study for probes: one embedding, labels and responses that depend on its axes, and queries along them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from alignedcut_cli.store.project import Project
from tests.helpers.maps import make_maps

__all__ = ["IMAGES", "QUERIES", "WIDTH", "embeddings", "make_probed", "names", "write_queries"]

IMAGES, WIDTH = 80, 24
QUERIES = ("striped", "furry", "round", "square", "shiny")


def embeddings() -> np.ndarray:
    """Images lie along the axes of their attributes: striped (0), furry (1) ..., and others."""
    return np.random.default_rng(0).standard_normal((IMAGES, WIDTH)).astype("f4")


def names() -> list[str]:
    return [f"{'ab'[number // 2 % 2]}/{number:03d}.png" for number in range(IMAGES)]


def write_queries(path: Path, texts: tuple[str, ...] = QUERIES) -> Path:
    """Query k points along axis k."""
    save_file({"vectors": np.eye(WIDTH, dtype="f4")[: len(texts)]}, path, {"queries": json.dumps(list(texts))})
    return path


def make_probed(folder: Path) -> Path:
    """A project with one embedding; labels that depend on axis 1; responses of two regions that depend on axes 1 and 2."""
    make_maps(Project(folder / "study"), "clip", {"early": embeddings()[:, :3], "image": embeddings()}, names())
    rows, random = embeddings(), np.random.default_rng(1)
    labels = np.where(rows[:, 1] > 0, "cat", "fish")
    lines = [f"{name},{label}" for name, label in zip(names(), labels, strict=True)]
    (folder / "labels.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    weights = np.zeros((WIDTH, 30))
    weights[1, :12], weights[2, 12:24], weights[7:, 24:] = 2.0, 2.0, 0.6
    responses = rows @ weights + random.standard_normal((IMAGES, 30))
    regions = {
        f"rois/{name}": (np.arange(30) // 12) == place for place, name in enumerate(("furred", "rounded", "rest"))
    }
    np.savez(folder / "brain.npz", responses=responses.astype("f4"), images=np.array(names()), **regions)
    write_queries(folder / "queries.safetensors")
    return folder / "study"
