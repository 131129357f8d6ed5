"""The pixels that a COCO segmentation covers: polygons, and RLE, as numbers or compressed text."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

__all__ = ["covered"]

_FARTHEST = 1e6
_LONGEST = 1 << 22


def covered(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The pixels (H, W) bool of a segmentation: the union of its polygons, or its run lengths. Raises ValueError."""
    if isinstance(segmentation, dict):
        return _runs(segmentation.get("counts"), segmentation.get("size"), height, width)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("its segmentation is neither polygons nor run lengths")
    union = np.zeros((height, width), bool)
    for points in segmentation:
        _fill(union, points)
    return union


def _fill(union: np.ndarray, points: Any) -> None:
    """Set the pixels of `union` (H, W) whose centres lie inside a polygon [x, y, x, y, ...], by the even-odd rule.

    A pixel is inside if an odd number of edges cross its row left of its centre. (ImageDraw would round the corners.)
    """
    numbers = isinstance(points, list) and all(isinstance(one, int | float) and abs(one) <= _FARTHEST for one in points)
    if not numbers or len(points) < 6 or len(points) % 2:
        raise ValueError("its polygon is no list of at least 3 points in pixels")
    x, y = np.array(points, np.float64).reshape(-1, 2).T  # (n,), (n,)
    height, width = union.shape
    to_x, to_y = np.roll(x, -1), np.roll(y, -1)
    first = np.ceil(np.minimum(y, to_y) - 0.5).clip(0, height).astype(np.int64)
    count = np.ceil(np.maximum(y, to_y) - 0.5).clip(0, height).astype(np.int64) - first
    if count.sum() > _LONGEST:
        raise ValueError(f"its polygon of {len(x)} points is too long")
    if not count.any():
        return
    edge = np.repeat(np.arange(len(x)), count)  # (crossings,)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count - first, count)
    slope = (to_x - x) / np.where(count, to_y - y, 1)
    cut = x[edge] + (row + 0.5 - y[edge]) * slope[edge]
    column = np.ceil(cut - 0.5).clip(0, width).astype(np.int64)
    top, left = row.min(), column.min()
    rows, columns = row.max() + 1 - top, column.max() + 1 - left
    crossed = np.bincount((row - top) * columns + column - left, minlength=rows * columns).reshape(rows, columns)
    inside = np.cumsum(crossed, axis=1)[:, :-1] % 2 == 1
    union[top : top + rows, left : left + columns - 1] |= inside


def _runs(counts: Any, size: Any, height: int, width: int) -> np.ndarray:
    """The pixels (H, W) bool of run lengths, column by column, starting with pixels outside."""
    if size != [height, width]:
        raise ValueError(f"its run lengths are of size {reprlib.repr(size)}, its image [{height}, {width}]")
    if isinstance(counts, str):
        counts = _numbers(counts)
    total = height * width
    known = isinstance(counts, list) and all(type(one) is int and 0 <= one <= total for one in counts)
    if not known or sum(counts) != total:
        raise ValueError(f"its run lengths do not add up to {total} pixels")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _numbers(text: str) -> list[int]:
    """Run lengths from COCO's compressed text: 5 bits per character (code - 48), lowest first; bit 32 marks continuation.

    The last 5 bits carry the sign. From the fourth on, each number is the difference to the last but one.
    """
    found: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its run lengths are no text of COCO's")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run lengths are cut off")
    return found
