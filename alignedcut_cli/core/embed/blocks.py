"""P of t-SNE in blocks of rows that are near together and share neighbours, so that each point is fetched once a block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignedcut_cli.core.embed.kernels import LANES
from alignedcut_cli.core.embed.on_host import Affinities
from alignedcut_cli.core.numerics import compiled

__all__ = ["Blocks", "blocks_of", "neighbours_together"]

HEIGHTS = (1, 2, 4, 8)
FETCH, PAIR = 1.0, 0.35
"""What fetching a point costs, and a pair of points: decide how many rows a block has (measured on cuts of photographs)."""


@dataclass(frozen=True)
class Blocks:
    """P (m, m): block b has rows h b to h (b + 1) - 1, of height h, and the columns `columns[starts[b]:starts[b + 1]]`.

    columns (n,) int32, starts (blocks + 1,) int64, values (h n,) float32: those of block b start at h starts[b], row by row,
    with zeros where P has none. Each block's columns are padded by column 0 to a multiple of LANES.
    """

    values: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    height: int


def neighbours_together(joint: Affinities) -> tuple[Affinities, np.ndarray]:
    """P (m, m) in CSR format with its rows and columns in the order of reverse Cuthill-McKee, and that order (m,)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    total = len(joint.bounds) - 1
    matrix = csr_matrix((joint.values, joint.columns, joint.bounds), shape=(total, total))
    order = reverse_cuthill_mckee(matrix, symmetric_mode=True)
    moved = matrix[order][:, order].tocsr()
    moved.sort_indices()
    return Affinities(moved.data, moved.indices.astype(np.int32), moved.indptr.astype(np.int64)), order


def blocks_of(joint: Affinities) -> Blocks:
    """The blocks of P in CSR format, of the height for which a pass over them costs least.

    Where neighbours share most of theirs, eight rows need a third of the fetches; where they share few, blocks would be
    mostly zeros, and are single rows.
    """
    counts = {height: _counted(joint, height) for height in HEIGHTS}
    height = min(HEIGHTS, key=lambda one: counts[one].sum() * (FETCH + PAIR * one))
    starts = np.cumsum(counts[height])
    columns, values = np.zeros(starts[-1], np.int32), np.zeros(height * starts[-1], np.float32)
    _fill(joint.values, joint.columns, joint.bounds, _nowhere(joint), height, starts, columns, values)
    return Blocks(values, columns, starts, height)


def _counted(joint: Affinities, height: int) -> np.ndarray:
    """0, then how many columns each block of a height has."""
    starts = np.zeros(-(-(len(joint.bounds) - 1) // height) + 1, np.int64)
    none = np.empty(0, np.int32), np.empty(0, np.float32)
    _fill(joint.values, joint.columns, joint.bounds, _nowhere(joint), height, starts, *none)
    return starts


def _nowhere(joint: Affinities) -> np.ndarray:
    return np.full(len(joint.bounds) - 1, -1, np.int64)


@compiled
def _fill(
    values: np.ndarray,
    columns: np.ndarray,
    bounds: np.ndarray,
    place: np.ndarray,
    height: int,
    starts: np.ndarray,
    found: np.ndarray,
    dense: np.ndarray,
) -> None:
    """How many columns each block has, into starts[1:]; with `found` (n,), for starts summed up, the blocks themselves.

    P in CSR format; place (m,) int64, all -1; `dense` (h n,) float32, zeros.
    """
    total = len(bounds) - 1
    before = np.int64(0)
    for block in range(len(starts) - 1):
        first, last = block * height, min(total, block * height + height)
        count = 0
        for entry in range(bounds[first], bounds[last]):
            j = columns[entry]
            if place[j] < before:
                place[j] = before + count
                count += 1
                if len(found):
                    found[place[j]] = j
        count = -(-count // LANES) * LANES
        if len(found):
            for i in range(first, last):
                row = height * before + (i - first) * count - before
                for entry in range(bounds[i], bounds[i + 1]):
                    dense[row + place[columns[entry]]] = values[entry]
        else:
            starts[block + 1] = count
        before += count
