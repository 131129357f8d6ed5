"""Made-up inputs of commands whose work is shared: features with clusters, and responses to images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alignedcut_cli.store.features import FeatureWriter, shard_ranges
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import Project

__all__ = ["write_nodes", "write_responses"]

GROUPS, LATENTS = 40, 16


def write_nodes(project: Project, name: str, images: int, slots: int, tokens: int, width: int) -> None:
    """A feature set as extract writes it: an image's tokens lie in four of 40 clusters."""
    ranges = shard_ranges(images, slots * tokens * width * 2)
    external = {"weights": "e" * 64, "manifest": "f" * 64}
    writer = FeatureWriter(
        project.create().path("features", name), Recipe("features", name, 1, {"tokens": "all"}, (), external), ranges
    )
    writer.open()
    for number, (start, stop) in enumerate(ranges):
        tensors = {f"tokens.{slot:02d}": _tokens(range(start, stop), slot, tokens, width) for slot in range(slots)}
        writer.write(number, tensors, dict.fromkeys(tensors, ("B P D", "tokens")), numerics={}, axes={})
    side = round((tokens - 1) ** 0.5)
    of_slot = {"model": "made-up", "tap": "attn", "width": width, "grid": [side, side], "class_token": True}
    axes = {
        "B": {"size": images, "images": [{"path": f"{one:04d}.png", "sha256": f"{one:064x}"} for one in range(images)]},
        "S": {"size": slots, "slots": [{**of_slot, "layer": slot} for slot in range(slots)]},
    }
    writer.commit(numerics={}, axes=axes)


def _tokens(images: range, slot: int, tokens: int, width: int) -> np.ndarray:
    """(b, P, D) float16."""
    centres = np.random.default_rng(0).standard_normal((GROUPS, LATENTS)).astype(np.float32) * 1.5
    mixing = np.random.default_rng([1, slot]).standard_normal((LATENTS, width)).astype(np.float32) / LATENTS**0.5
    draws = np.random.default_rng([2, slot, images.start])
    kinds = np.stack([np.random.default_rng([3, image]).integers(0, GROUPS, 4) for image in images])  # (b, 4)
    latents = centres[np.take_along_axis(kinds, draws.integers(0, 4, (len(images), tokens)), 1)]
    latents = latents + draws.standard_normal(latents.shape, np.float32) * 0.7
    return (latents @ mixing + 0.2 * draws.standard_normal((*latents.shape[:2], width), np.float32)).astype(np.float16)


def write_responses(path: Path, images: Sequence[str], channels: int = 100) -> None:
    """A csv of responses to images, by their file names."""
    draws = np.random.default_rng(5).standard_normal((len(images), channels))
    header = ",".join(["image", *(f"v{number}" for number in range(channels))])
    lines = (",".join([name, *(f"{value:.5f}" for value in row)]) for name, row in zip(images, draws, strict=True))
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
