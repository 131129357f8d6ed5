"""P of t-SNE in blocks of rows that are near together and share neighbours, so that each point is fetched once a block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignedcut_cli.core.embed.on_host import Affinities
from alignedcut_cli.core.numerics import compiled

__all__ = ["LANES", "ROWS", "Blocks", "blocks_of"]

ROWS = 8
"""Rows of a block."""
LANES = 32
"""Compiled loops take so many numbers at a time, and what is left one by one: lists are padded to multiples of it."""


@dataclass(frozen=True)
class Blocks:
    """P (m, m): block b has rows 8 b to 8 b + 7 and, at `starts[b]` to `starts[b + 1]` of `columns`, those of their columns.

    columns (n,) int32, starts (blocks + 1,) int64, values (8 n,) float32: those of block b start at 8 starts[b], row by row,
    with zeros where P has none. Each block's columns are padded by column 0 to a multiple of LANES.
    """

    values: np.ndarray
    columns: np.ndarray
    starts: np.ndarray


def blocks_of(joint: Affinities) -> Blocks:
    """The blocks of P in CSR format: 1.4 to 2.3 times its entries where rows near together follow each other."""
    total = len(joint.bounds) - 1
    starts = np.zeros(-(-total // ROWS) + 1, np.int64)
    place = np.full(total, -1, np.int32)
    nowhere, nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    _fill(joint.values, joint.columns, joint.bounds, place, starts, nowhere, nothing)
    starts = np.cumsum(starts)
    columns, values = np.zeros(starts[-1], np.int32), np.zeros(ROWS * starts[-1], np.float32)
    place[:] = -1
    _fill(joint.values, joint.columns, joint.bounds, place, starts, columns, values)
    return Blocks(values, columns, starts)


@compiled
def _fill(
    values: np.ndarray,
    columns: np.ndarray,
    bounds: np.ndarray,
    place: np.ndarray,
    starts: np.ndarray,
    found: np.ndarray,
    dense: np.ndarray,
) -> None:
    """How many columns each block has, into starts[1:]; with `found` (n,), for starts summed up, the blocks themselves.

    P in CSR format; place (m,) int32, all -1; `dense` (8 n,) float32, zeros.
    """
    total = len(bounds) - 1
    before = np.int64(0)
    for block in range(len(starts) - 1):
        first, last = block * ROWS, min(total, block * ROWS + ROWS)
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
                row = ROWS * before + (i - first) * count - before
                for entry in range(bounds[i], bounds[i + 1]):
                    dense[row + place[columns[entry]]] = values[entry]
        else:
            starts[block + 1] = count
        before += count
