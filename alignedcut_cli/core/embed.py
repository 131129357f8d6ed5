"""Spectral t-SNE and its colours: eigenvectors to two or three dimensions, and those to RGB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from alignedcut_cli.core.numerics import NumericsError

__all__ = ["Embedding", "nearest_rows", "rgb_cube", "spectral_tsne", "tsne"]

ITERATIONS = (250, 500)
_START_SPREAD = 1e-4


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
    nodes: int = 3000,
    perplexity: float = 30.0,
    seed: int = 0,
    tick: Callable[[int], None] | None = None,
) -> Embedding:
    """All M rows of `eigenvectors` (M, C) in `dims` dimensions (paper, Sec. 3 and C.5).

    t-SNE places m = `nodes` uniformly drawn rows; every other row takes the place of its one nearest drawn row (K = 1).
    Distances are Euclidean between rows scaled by sqrt(M), so that they do not depend on M. `tick` counts iterations.
    """
    total = len(eigenvectors)
    rows = eigenvectors.astype(np.float32) * np.float32(np.sqrt(total))
    generator = np.random.default_rng(seed)
    sampled = np.sort(generator.permutation(total)[: min(nodes, total)])
    placed, divergence, used = tsne(rows[sampled], dims, perplexity=perplexity, seed=seed, tick=tick)
    coordinates = placed[nearest_rows(rows, rows[sampled])]
    coordinates[sampled] = placed
    return Embedding(coordinates, sampled.astype(np.int64), divergence, used)


def tsne(
    rows: np.ndarray, dims: int, *, perplexity: float, seed: int, tick: Callable[[int], None] | None = None
) -> tuple[np.ndarray, float, float]:
    """openTSNE's Barnes-Hut t-SNE of rows (m, C), duplicates allowed: places (m, dims), KL divergence, perplexity used.

    The perplexity is at most (m - 1) / 3. Raises NumericsError for fewer than dims + 2 rows.
    """
    from openTSNE import TSNE

    if len(rows) < dims + 2:
        raise NumericsError(f"t-SNE in {dims} dimensions needs at least {dims + 2} nodes, there are {len(rows)}")
    used = min(perplexity, (len(rows) - 1) / 3)
    step = 10

    def report(_iteration: int, _error: float, _embedding: np.ndarray) -> None:
        if tick:
            tick(step)

    options: dict[str, Any] = dict(  # noqa: C408  # Any: openTSNE declares numbers and arrays too narrowly
        n_components=dims,
        perplexity=used,
        early_exaggeration_iter=ITERATIONS[0],
        n_iter=ITERATIONS[1],
        initialization=_start(rows, dims, seed),
        negative_gradient_method="bh",
        neighbors="exact",
        n_jobs=-1,
        callbacks=report,
        callbacks_every_iters=step,
        random_state=seed % (1 << 32),
    )
    found = TSNE(**options).fit(rows)
    return np.asarray(found, np.float32), float(found.kl_divergence), used


def _start(rows: np.ndarray, dims: int, seed: int) -> np.ndarray:
    """Principal components at a tiny spread, with a jitter under which equal rows part: (m, dims) float64."""
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred.T @ centred)
    axes = axes[:dims] * np.where(axes[:dims].sum(1, keepdims=True) < 0, -1, 1)
    scores = centred @ axes.T  # (m, min(dims, C))
    scores = np.pad(scores, ((0, 0), (0, dims - scores.shape[1])))
    spread = scores[:, 0].std()
    jitter = np.random.default_rng(seed).normal(size=scores.shape) * _START_SPREAD * 0.01
    return (scores / spread * _START_SPREAD if spread > 0 else 0 * scores) + jitter


def nearest_rows(rows: np.ndarray, landmarks: np.ndarray, tile: int = 4096) -> np.ndarray:
    """The nearest landmark (m, C) of each row (M, C), by Euclidean distance: (M,) int64. Holds tile x m distances."""
    norms = (landmarks.astype(np.float64) ** 2).sum(1).astype(np.float32)  # (m,)
    nearest = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), tile):
        block = rows[start : start + tile]
        nearest[start : start + tile] = (norms - 2 * (block @ landmarks.T)).argmin(1)
    return nearest


def rgb_cube(coordinates: np.ndarray, margin: float = 0.01) -> np.ndarray:
    """Colours (M, 3) uint8 from places (M, 3): each axis is one channel; from 2 dimensions, a square of four colours.

    The `margin` and 1 - `margin` quantiles of each axis go to 0 and 255.
    """
    low, high = np.quantile(coordinates, [margin, 1 - margin], axis=0)  # each (dims,)
    unit = ((coordinates - low) / np.where(high > low, high - low, 1)).clip(0, 1)  # (M, dims)
    if coordinates.shape[1] == 2:
        corners = np.array([[0.1, 0.3, 0.9], [0.1, 0.8, 0.3], [0.9, 0.2, 0.6], [1.0, 0.8, 0.1]])
        x, y = unit[:, :1], unit[:, 1:]
        weights = np.concatenate([(1 - x) * (1 - y), (1 - x) * y, x * (1 - y), x * y], 1)  # (M, 4)
        unit = weights @ corners
    return (unit * 255).round().astype(np.uint8)
