"""K-way partitions of points that do not depend on a random start: split along principal axes, then k-means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alignedcut_cli.core.groups.sums import add_rows
from alignedcut_cli.core.numerics import NumericsError, compiled

__all__ = ["SAMPLE", "nearest_centre", "partition_centres"]

SAMPLE = 20_000
_ROUNDS = 20


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
    sums = np.zeros((count, rows.shape[1]))
    add_rows(rows, cells, sums)
    return sums, np.bincount(cells, minlength=count)


def _lloyd(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """k-means from these centres until no cell changes, at most 20 rounds; an empty cell keeps its centre."""
    cells = np.full(len(rows), -1)
    for _ in range(_ROUNDS):
        now, sums, sizes = _assigned(rows, centres)
        if (now == cells).all():
            break
        cells = now
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
    return centres


def nearest_centre(places: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The nearest centre (k, C) of each point (M, C), the first on ties: (M,) int64."""
    return _assigned(places, centres)[0]


def _assigned(places: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`nearest_centre` of each point, and the sums (k, C) and sizes (k,) of the cells."""
    found, sizes = np.empty(len(places), np.int64), np.zeros(len(centres), np.int64)
    sums = np.zeros((len(centres), places.shape[1]))
    _assign(*(np.ascontiguousarray(one, np.float64) for one in (places, centres)), found, sums, sizes)
    return found, sums, sizes


@compiled
def _assign(places: np.ndarray, centres: np.ndarray, found: np.ndarray, sums: np.ndarray, sizes: np.ndarray) -> None:
    """found[i] = argmin_k |c_k|^2 / 2 - c_k y_i of places (M, C) and centres (k, C) float64; found (M,) int64.

    The places of each cell are added to its row of `sums` (k, C) float64, in their order, and counted in `sizes` (k,) int64.
    """
    width = places.shape[1]
    halves = np.zeros(len(centres))
    for k in range(len(centres)):
        for j in range(width):
            halves[k] += centres[k, j] * centres[k, j] / 2
    for i in range(len(places)):
        least, nearest = 0.0, 0
        for k in range(len(centres)):
            along = 0.0
            for j in range(width):
                along += places[i, j] * centres[k, j]
            if k == 0 or halves[k] - along < least:
                least, nearest = halves[k] - along, k
        found[i] = nearest
        sizes[nearest] += 1
        for j in range(width):
            sums[nearest, j] += places[i, j]
