"""K-way partitions of points that do not depend on a random start: split along principal axes, then k-means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alignedcut_cli.core.numerics import NumericsError

__all__ = ["SAMPLE", "nearest_centre", "partition_centres"]

SAMPLE = 20_000
_ROUNDS = 20
_CHUNK = 1 << 22


def partition_centres(places: np.ndarray, counts: Sequence[int], seed: int) -> list[np.ndarray]:
    """The centres (k, C) float64 of a partition of points (M, C) into each of `counts` cells, by k-means.

    Initialised by k - 1 splits, each of the cell with the largest sum of squares, at its mean along its first principal
    axis. `seed` only draws the 20,000 points that are used where there are more. Raises NumericsError where fewer points
    are distinct than a count.
    """
    rows = places.astype(np.float64)
    if len(rows) > SAMPLE:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), SAMPLE, replace=False))]
    cells = np.zeros(len(rows), np.int64)
    starts = {1: rows.mean(0, keepdims=True)}
    for count in range(2, max(counts) + 1):
        _part_widest(rows, cells, count - 1)
        starts[count] = _means(rows, cells, count)
    return [_lloyd(rows, starts[count]) for count in counts]


def _part_widest(rows: np.ndarray, cells: np.ndarray, count: int) -> None:
    """Split the widest of `count` cells: its upper half becomes cell `count`, in place."""
    apart = rows - _means(rows, cells, count)[cells]
    squares = np.bincount(cells, (apart**2).sum(1), count)
    widest = int(squares.argmax())
    mine = np.flatnonzero(cells == widest)
    spread = apart[mine].T @ apart[mine]
    along = apart[mine] @ np.linalg.eigh(spread)[1][:, -1]
    upper = mine[along > 0]
    if squares[widest] == 0 or not len(upper):
        raise NumericsError(f"no more than {count} places differ")
    cells[upper] = count


def _means(rows: np.ndarray, cells: np.ndarray, count: int) -> np.ndarray:
    sums, sizes = _sums(rows, cells, count)
    return sums / np.maximum(sizes, 1)[:, None]


def _sums(rows: np.ndarray, cells: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums (k, C) and sizes (k,) of the cells."""
    onehot = np.zeros((len(rows), count))
    onehot[np.arange(len(rows)), cells] = 1
    return onehot.T @ rows, onehot.sum(0)


def _lloyd(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """k-means from these centres until no cell changes, at most 20 rounds; an empty cell keeps its centre."""
    cells = np.full(len(rows), -1)
    for _ in range(_ROUNDS):
        now = nearest_centre(rows, centres)
        if (now == cells).all():
            break
        cells = now
        sums, sizes = _sums(rows, cells, len(centres))
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
    return centres


def nearest_centre(places: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The nearest centre (k, C) of each point (M, C), the first on ties: (M,) int64."""
    found = np.empty(len(places), np.int64)
    step = max(1, _CHUNK // len(centres))
    for start in range(0, len(places), step):
        part = places[start : start + step].astype(np.float64)
        found[start : start + step] = ((centres**2).sum(1) / 2 - part @ centres.T).argmin(1)
    return found
