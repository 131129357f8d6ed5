"""Spectral t-SNE and its colours: from eigenvectors to two or three dimensions, and to RGB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alignedcut_cli.core.embed.on_host import nearest_marks
from alignedcut_cli.core.embed.threads import Threads
from alignedcut_cli.core.embed.tsne import ITERATIONS, Keep, State, tsne

if TYPE_CHECKING:
    import torch

__all__ = [
    "ITERATIONS",
    "Embedding",
    "Sample",
    "colour_limits",
    "embed_sample",
    "marks_of",
    "nearest_rows",
    "nearest_sampled",
    "rgb_cube",
    "spectral_tsne",
    "tsne",
]


_MOST_ORDERED = 1 << 27


@dataclass(frozen=True)
class Sample:
    """What t-SNE embedded: rows ids (m,) int64 ascending, their `places` (m, dims) float32, KL divergence, perplexity."""

    ids: np.ndarray
    places: np.ndarray
    divergence: float
    perplexity: float


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
) -> Embedding:
    """All M rows of `eigenvectors` (M, C) in `dims` dimensions (paper, Sec. 3 and C.5).

    t-SNE embeds m = `nodes` uniformly sampled rows (`embed_sample`); every other row takes the coordinates of its nearest
    sampled row (K = 1; `nearest_sampled`). `tick` counts iterations.
    """
    sample = embed_sample(eigenvectors, dims, nodes=nodes, perplexity=perplexity, seed=seed, device=device, tick=tick)
    nearest = nearest_sampled(eigenvectors, *marks_of(eigenvectors, sample.ids, (0, len(eigenvectors))), sample.ids)
    return Embedding(sample.places[nearest], sample.ids, sample.divergence, sample.perplexity)


def embed_sample(
    eigenvectors: np.ndarray,
    dims: int = 3,
    *,
    nodes: int = 10_000,
    perplexity: float = 30.0,
    seed: int = 0,
    device: torch.device | None = None,
    within: tuple[int, int] | None = None,
    tick: Callable[[int], None] | None = None,
    keep: Keep | None = None,
    state: State | None = None,
) -> Sample:
    """The t-SNE of m = `nodes` uniformly sampled rows of `eigenvectors` (M, C), of which no other is read.

    With `within`, of its rows from first to end alone, from which ids count. Distances are Euclidean between rows scaled by
    sqrt(M), so that they do not depend on M. `tick` counts iterations; `keep` and `state` are those of `tsne`.
    """
    first, stop = within or (0, len(eigenvectors))
    ids = _sample_rows(stop - first, nodes, seed)
    marks, _ = marks_of(eigenvectors, ids, (first, stop))
    placed, divergence, used = tsne(
        marks, dims, perplexity=perplexity, seed=seed, device=device, tick=tick, keep=keep, state=state
    )
    return Sample(ids, placed, divergence, used)


def _sample_rows(total: int, count: int, seed: int) -> np.ndarray:
    """A uniform sample of `count` of `total` rows, ascending, int64; above 2^27 rows without a permutation of them all."""
    generator = np.random.default_rng(seed)
    if total > _MOST_ORDERED:
        return np.sort(generator.choice(total, min(count, total), replace=False, shuffle=False))
    return np.sort(generator.permutation(total)[: min(count, total)]).astype(np.int64)


def marks_of(eigenvectors: np.ndarray, ids: np.ndarray, within: tuple[int, int]) -> tuple[np.ndarray, np.float32]:
    """The rows `ids` (m,) of those from first to end, `within`, of (M, C), scaled: (m, C) float32; and the scale.

    The scale is the root of the number of rows from first to end. No other row is read.
    """
    first, stop = within
    scale = np.float32(np.sqrt(stop - first))
    return eigenvectors[ids + first].astype(np.float32) * scale, scale


def nearest_sampled(
    eigenvectors: np.ndarray, marks: np.ndarray, scale: np.float32, ids: np.ndarray | None = None
) -> np.ndarray:
    """The index of the nearest sampled row (`marks_of`: (m, C) and their scale) of each row (n, C): (n,) int32.

    `ids` (m,) are the indices of the sampled rows among the rows given, each of which is its own nearest; those outside of
    0 to n - 1 are not among them (by default, none is). Each row's result depends on no other row.
    """
    found = np.full(len(eigenvectors), -1, np.int32)
    if ids is not None:
        own = np.flatnonzero((ids >= 0) & (ids < len(found)))
        found[ids[own]] = own
    others = np.flatnonzero(found < 0)
    found[others] = nearest_rows(eigenvectors[others].astype(np.float32) * scale, marks)
    return found


def nearest_rows(rows: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The nearest landmark (m, C) of each row (M, C), by Euclidean distance in float32, brute force: (M,) int32."""
    with Threads() as threads:
        return nearest_marks(rows, landmarks, threads)


def colour_limits(coordinates: np.ndarray, counts: np.ndarray | None = None, margin: float = 0.01) -> np.ndarray:
    """The range of the colours (2, dims): the `margin` and 1 - `margin` quantiles of each axis of (M, dims).

    With `counts` (M,) each row counts that often: bitwise the quantiles of the repeated rows.
    """
    if counts is None:
        return np.quantile(coordinates, [margin, 1 - margin], axis=0)
    last = int(counts.sum()) - 1
    index = last * np.array([margin, 1 - margin])
    below = np.floor(index)
    share = (index - below)[:, None]
    ranks = np.stack([below, np.minimum(below + 1, last)]).astype(np.int64)  # (2, 2)
    order = np.argsort(coordinates, axis=0, kind="stable")
    found = []
    for axis, places in enumerate(order.T):
        found.append(coordinates[places[np.searchsorted(np.cumsum(counts[places]), ranks, side="right")], axis])
    low, high = np.stack(found, 2)  # (2, dims) each
    apart = high - low
    return np.where(share >= 0.5, high - apart * (1 - share), low + apart * share)


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
