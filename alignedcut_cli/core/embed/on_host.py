"""Affinities of t-SNE on the CPU, in compiled loops and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alignedcut_cli.core.embed.threads import Threads

__all__ = [
    "CLOSE",
    "MOST_STEPS",
    "REACH",
    "Affinities",
    "conditionals",
    "host_affinities",
    "joint",
    "nearest_among",
    "nearest_marks",
]

REACH = 3
"""Neighbours of each row, as a multiple of the perplexity."""
MOST_STEPS = 100
CLOSE = 1e-7
_LARGE = 1_000_000


@dataclass(frozen=True)
class Affinities:
    """P (m, m) in CSR format, symmetric, sum 1, no diagonal: values float32, columns int32 (nnz,), bounds (m + 1,) int64.

    Arrays of numpy, or tensors on one device.
    """

    values: Any
    columns: Any
    bounds: Any


def host_affinities(rows: np.ndarray, perplexity: float, threads: Threads) -> Affinities:
    """P = (p_j|i + p_i|j) / 2 m of rows (m, C) float32 (van der Maaten and Hinton 2008, Eq. 1), as arrays.

    p_j|i is 0 except for the 3 x perplexity nearest rows.
    """
    total = len(rows)
    indices, squares = nearest_among(rows, min(total - 1, int(REACH * perplexity)), threads)
    return joint(indices, conditionals(squares, perplexity, threads) / (2 * total))


def nearest_among(rows: np.ndarray, count: int, threads: Threads) -> tuple[np.ndarray, np.ndarray]:
    """The `count` nearest others of each of rows (m, C): indices int32, squared distances float32; (m, count), not sorted.

    Brute force, from differences, in a compiled loop.
    """
    from alignedcut_cli.core.embed.nearest import nearest_others

    columns = _columns(rows)
    indices, squares = np.empty((len(rows), count), np.int32), np.empty((len(rows), count), np.float32)
    work = lambda a, b: nearest_others(columns, a, b, indices, squares)  # noqa: E731
    threads.share(len(rows), work, large=len(rows) ** 2 > _LARGE)
    return indices, squares


def nearest_marks(rows: np.ndarray, marks: np.ndarray, threads: Threads) -> np.ndarray:
    """The nearest of marks (m, C) to each of rows (M, C), by distances from differences in float32: (M,) int32.

    Brute force, in a compiled loop. Each row's result depends on no other row.
    """
    from alignedcut_cli.core.embed.nearest import CHUNK, nearest_mark

    columns = _columns(marks, CHUNK)
    halves = np.full(columns.shape[1], np.finfo(np.float32).max, np.float32)
    halves[: len(marks)] = np.square(marks, dtype=np.float64).sum(1) / 2
    given, found = np.zeros((len(rows), len(columns)), np.float32), np.empty(len(rows), np.int32)
    given[:, : rows.shape[1]] = rows
    work = lambda a, b: nearest_mark(given, columns, halves, len(marks), a, b, found)  # noqa: E731
    threads.share(len(rows), work, large=len(rows) * len(marks) > _LARGE)
    return found


def _columns(rows: np.ndarray, multiple: int = 1) -> np.ndarray:
    """Rows (m, C) transposed, float32, with C padded by zeros to a multiple of 4, and m to one of `multiple`."""
    total, width = rows.shape
    found = np.zeros((-(-width // 4) * 4, -(-total // multiple) * multiple), np.float32)
    found[:width, :total] = rows.T
    return found


def conditionals(squares: np.ndarray, perplexity: float, threads: Threads) -> np.ndarray:
    """p_j|i = exp(-b_i d_ij^2) / sum_j exp(-b_i d_ij^2) of squares (m, k), with entropy log `perplexity` per row: float64.

    Where more neighbours than the perplexity are equally near, their p are equal.
    """
    from alignedcut_cli.core.embed import perplexity as loops

    shares = np.empty(squares.shape)
    entropy = float(np.log(perplexity))
    work = lambda a, b: loops.conditionals(squares, entropy, MOST_STEPS, CLOSE, a, b, shares)  # noqa: E731
    threads.share(len(squares), work, large=squares.size > _LARGE)
    return shares


def joint(indices: np.ndarray, shares: np.ndarray) -> Affinities:
    """S + S^T for S (m, m) with `shares` (m, k) at the columns `indices` (m, k) of its rows."""
    from scipy.sparse import csr_matrix

    total, count = indices.shape
    one = csr_matrix((shares.ravel(), indices.ravel(), np.arange(0, total * count + 1, count)), shape=(total, total))
    both = (one + one.T).tocsr()
    both.sort_indices()
    return Affinities(both.data.astype(np.float32), both.indices.astype(np.int32), both.indptr.astype(np.int64))
