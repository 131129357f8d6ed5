"""Rows without responses (missing trials), each of which would otherwise make every column unusable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alignedcut_cli.brain.recording import Recording, Split
from alignedcut_cli.brain.words import few

__all__ = ["without_lost_rows"]


def without_lost_rows(found: Recording) -> tuple[Recording, tuple[str, ...], list[str]]:
    """The recording without rows that are entirely or mostly missing, the names of their images, and notes.

    Missing means NaN or infinite. Rows without any value are left out; so are, of the others, those that lack more than
    half of a hemisphere's columns (a table is one hemisphere), not counting columns that more than half of these rows lack.
    The order of rows and columns does not matter. A recording that would have no training row left is returned unchanged.
    """
    everywhere = np.ones(found.training.columns, bool)
    counts = [_count_missing(split, everywhere) for split in found.splits]
    if not any(by_row.any() for by_row, _ in counts):
        return found, (), []
    widths = [array.shape[1] for array in found.training.arrays]
    empty = [(by_row == widths).all(1) for by_row, _ in counts]
    nothing = sum(int(rows.sum()) for rows in empty)
    others = sum(len(rows) for rows in empty) - nothing
    by_column = sum(by_column for _, by_column in counts) - nothing
    counted = np.less_equal(2 * by_column, others)  # (columns,)
    held = [int(side.sum()) for side in np.split(counted, np.cumsum(widths)[:-1])]
    lost = [
        rows | (2 * _count_missing(split, counted)[0] > held).any(1)
        for split, rows in zip(found.splits, empty, strict=True)
    ]
    if not any(rows.any() for rows in lost) or lost[0].all():
        return found, (), []
    kept = [_only(split, ~rows) for split, rows in zip(found.splits, lost, strict=True)]
    names = tuple(name for split, rows in zip(found.splits, lost, strict=True) for name in _only(split, rows).images)
    note = f"{len(names)} of {others + nothing} rows left out, which lack more than half of their numbers: {few(names)}"
    return replace(found, training=kept[0], test=kept[1] if kept[1:] else None), names, [note]


def _count_missing(split: Split, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The missing values of each row in counted columns, (rows, hemispheres), and of each column, (columns,)."""
    ends = np.cumsum([array.shape[1] for array in split.arrays])[:-1]
    by_row, by_column = [np.zeros((0, len(split.arrays)), np.int64)], np.zeros(split.columns, np.int64)
    for block in split.blocks():
        missing = ~np.isfinite(block) & counted  # (rows, columns)
        by_column += missing.sum(0)
        by_row.append(np.stack([side.sum(1) for side in np.split(missing, ends, axis=1)], axis=1))
    return np.concatenate(by_row), by_column


def _only(split: Split, chosen: np.ndarray) -> Split:
    """The split's chosen rows, bool (rows,)."""
    places = np.flatnonzero(chosen)
    images = tuple(split.images[place] for place in places)
    return Split(split.arrays, split.rows[places], images, tuple(split.files[place] for place in places))
