"""The ranges of rows in which the tensors of an artifact are hashed and, if large, stored.

A tensor of more than ROWS rows ("long") is split into ranges of ROWS rows. Part 0 of an artifact holds all other
tensors, part k + 1 rows k ROWS to (k + 1) ROWS of every long tensor that has them. The content id of an artifact is that
of its only part, or the digest of those of its parts, whether it is stored in one file or in one file per part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.store.canonical import digest, stored_digest, tensor_digest

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LIMIT", "content_id", "held_bytes", "is_sharded", "joined_id", "parts_of", "row_ranges", "stored_id"]

ROWS = 1 << 20
"""Rows per part: about 100 MB of a cut with 20 eigenvectors."""
LIMIT = 2 << 30
"""Bytes of long tensors above which an artifact is stored as a folder of its parts."""


def row_ranges(rows: int) -> list[tuple[int, int]]:
    """The ranges [start, stop) of a tensor of `rows` rows, in order; none if it is not long."""
    return [(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS)] if rows > ROWS else []


def is_sharded(shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> bool:
    """Whether an artifact with tensors of these (dtype, shape) is stored as a folder, by the size of its long tensors."""
    long = [(dtype, shape) for dtype, shape in shapes.values() if shape and row_ranges(shape[0])]
    return sum(math.prod(shape) * int(dtype[2:]) for dtype, shape in long) > LIMIT


def held_bytes(rows: int, row: int) -> int:
    """Memory in bytes for writing long tensors, `row` bytes a row, read as they are needed: all, or a part twice."""
    return rows * row if rows * row <= LIMIT else 2 * ROWS * row


def parts_of(tensors: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The parts of an artifact, as views of its tensors or read one after another; a single one if no tensor is long."""
    lengths = {name: len(array) if array.ndim and row_ranges(len(array)) else 0 for name, array in tensors.items()}
    yield {name: array for name, array in tensors.items() if not lengths[name]}
    for a, b in row_ranges(max(lengths.values(), default=0)):
        yield {name: tensors[name][a:b] for name, rows in lengths.items() if rows > a}


def content_id(tensors: Mapping[str, np.ndarray]) -> str:
    """The content id of an artifact's tensors."""
    return joined_id([tensor_digest(part) for part in parts_of(tensors)])


def joined_id(parts: Sequence[str]) -> str:
    """The content id of an artifact from those of its parts."""
    return parts[0] if len(parts) == 1 else digest(list(parts))


def stored_id(path: Path, places: Mapping[str, tuple[str, tuple[int, ...], int]]) -> str:
    """The `content_id` of the tensors in a file at {name: (dtype, shape, offset)}, read in chunks."""
    lengths = {name: shape[0] if shape and row_ranges(shape[0]) else 0 for name, (_, shape, _) in places.items()}
    first = {name: place for name, place in places.items() if not lengths[name]}
    parts = [first]
    for start, stop in row_ranges(max(lengths.values(), default=0)):
        reaching = {name: places[name] for name, rows in lengths.items() if rows > start}
        parts.append({name: _rows_of(place, start, stop) for name, place in reaching.items()})
    return joined_id([stored_digest(path, part) for part in parts])


def _rows_of(place: tuple[str, tuple[int, ...], int], start: int, stop: int) -> tuple[str, tuple[int, ...], int]:
    """Where rows of a tensor are stored."""
    dtype, (rows, *rest), offset = place
    return dtype, (min(stop, rows) - start, *rest), offset + start * math.prod(rest) * int(dtype[2:])
