"""Spectral t-SNE and its colours: from eigenvectors to two or three dimensions, and to RGB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alignedcut_cli.core.embed.affinities import nearest_among
from alignedcut_cli.core.embed.threads import Threads
from alignedcut_cli.core.embed.tsne import ITERATIONS, Keep, State, tsne

if TYPE_CHECKING:
    import torch

__all__ = [
    "ITERATIONS",
    "Embedding",
    "colour_limits",
    "nearest_rows",
    "place_onto",
    "rgb_cube",
    "spectral_tsne",
    "tsne",
]


@dataclass(frozen=True)
class Embedding:
    """coordinates (M, dims) float32, ids (m,) of the nodes that t-SNE placed, its KL divergence and perplexity."""

    coordinates: np.ndarray
    sampled: np.ndarray
    divergence: float
    perplexity: float


def spectral_tsne(
    eigenvectors: np.ndarray,
    dims: int = 3,
    *,
    nodes: int = 10_000,
    perplexity: float = 30.0,
    seed: int = 0,
    device: torch.device | None = None,
    tick: Callable[[int], None] | None = None,
    keep: Keep | None = None,
    state: State | None = None,
) -> Embedding:
    """All M rows of `eigenvectors` (M, C) in `dims` dimensions (paper, Sec. 3 and C.5).

    t-SNE embeds m = `nodes` uniformly sampled rows; every other row takes the coordinates of its nearest sampled row
    (K = 1). Distances are Euclidean between rows scaled by sqrt(M), so that they do not depend on M. `tick` counts
    iterations; `keep` and `state` are those of `tsne`.
    """
    total = len(eigenvectors)
    rows = eigenvectors.astype(np.float32) * np.float32(np.sqrt(total))
    generator = np.random.default_rng(seed)
    sampled = np.sort(generator.permutation(total)[: min(nodes, total)])
    placed, divergence, used = tsne(
        rows[sampled], dims, perplexity=perplexity, seed=seed, device=device, tick=tick, keep=keep, state=state
    )
    coordinates = np.empty((total, dims), np.float32)
    coordinates[sampled] = placed
    others = np.setdiff1d(np.arange(total), sampled, assume_unique=True)
    coordinates[others] = placed[nearest_rows(rows[others], rows[sampled])]
    return Embedding(coordinates, sampled.astype(np.int64), divergence, used)


def place_onto(eigenvectors: np.ndarray, base: np.ndarray, sampled: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Out-of-sample extension: coordinates (M, dims) of new rows (M, C), those of the nearest sampled row of `base` (N, C).

    `sampled` (m,) are the rows of the base that t-SNE embedded, `coordinates` (N, dims) those of all its rows; both sets of
    rows are in the same eigenvectors (K = 1; paper, Sec. C.5).
    """
    scale = np.float32(np.sqrt(len(base)))
    marks = base[sampled].astype(np.float32) * scale
    return coordinates[sampled][nearest_rows(eigenvectors.astype(np.float32) * scale, marks)]


def nearest_rows(rows: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The nearest landmark (m, C) of each row (M, C), by Euclidean distance in float32, brute force: (M,) int32."""
    with Threads() as threads:
        return nearest_among(rows, landmarks, 1, threads)[0][:, 0]


def colour_limits(coordinates: np.ndarray, margin: float = 0.01) -> np.ndarray:
    """The range of the colours (2, dims): the `margin` and 1 - `margin` quantiles of each axis of (M, dims)."""
    return np.quantile(coordinates, [margin, 1 - margin], axis=0)


def rgb_cube(coordinates: np.ndarray, limits: np.ndarray | None = None) -> np.ndarray:
    """Colours (M, 3) uint8 from coordinates (M, 3): each axis is one channel; from 2 dimensions, a square of four colours.

    The `limits` (2, dims) of each axis, by default `colour_limits` of these coordinates, map to 0 and 255.
    """
    low, high = colour_limits(coordinates) if limits is None else limits
    unit = ((coordinates - low) / np.where(high > low, high - low, 1)).clip(0, 1)  # (M, dims)
    if coordinates.shape[1] == 2:
        corners = np.array([[0.1, 0.3, 0.9], [0.1, 0.8, 0.3], [0.9, 0.2, 0.6], [1.0, 0.8, 0.1]])
        x, y = unit[:, :1], unit[:, 1:]
        weights = np.concatenate([(1 - x) * (1 - y), (1 - x) * y, x * (1 - y), x * y], 1)  # (M, 4)
        unit = weights @ corners
    return (unit * 255).round().astype(np.uint8)
