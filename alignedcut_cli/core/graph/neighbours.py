"""Exact nearest neighbours of every place (patch), within its image and in other images, in tiles without N x N arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from alignedcut_cli.core.graph.nearest_search import Neighbours, find_nearest, keep_largest
from alignedcut_cli.core.numerics import Tick, compiled

__all__ = ["Neighbours", "largest_within", "nearest_across", "nearest_among", "nearest_within"]


def nearest_within(queries: Tensor, keys: Tensor, per_image: int, count: int, threshold: float) -> Neighbours:
    """The at most `count` places of the same image, not itself, with the largest cosine above `threshold`.

    queries, keys: unit rows (N, D), float32, image by image of P = `per_image` places each. Work: 2 N P D.
    """
    left, right = (one.reshape(-1, per_image, one.shape[1]) for one in (queries, keys))
    return largest_within(lambda image: left[image] @ right[image].T, len(left), per_image, count, threshold)


def largest_within(
    similarity: Callable[[int], Tensor], images: int, per_image: int, count: int, threshold: float
) -> Neighbours:
    """The at most `count` largest entries above `threshold`, off the diagonal, of each row of each image's matrix.

    `similarity` returns the matrix (P, P), float32, of an image.
    """
    total, kept = images * per_image, min(count, per_image - 1)
    found = Neighbours.none(total, kept)
    for image in range(images):
        rows = slice(image * per_image, (image + 1) * per_image)
        matrix = similarity(image).fill_diagonal_(-2).contiguous().numpy()
        _largest_of_rows(
            matrix, rows.start, np.float32(threshold), found.ids[rows], found.values[rows], found.counts[rows]
        )
    return found


def nearest_across(
    queries: Tensor,
    keys: Tensor,
    per_image: int,
    count: int,
    threshold: float,
    *,
    precision: str = "float32",
    tick: Tick | None = None,
) -> Neighbours:
    """The at most `count` places of other images with the largest cosine above `threshold`; of equals, the first.

    queries, keys: unit rows (N, D), float32, image by image of P = `per_image` places each. Work: at most 2 N^2 D, half
    of it where both are one tensor, and the less, the fewer channels bound the cosines (`cosine_bounds`). These bounds are
    formed in `precision`, with what it may be off; cosines are in float32, one by one. So neither precision nor tiles nor
    threads change what comes out. `tick` counts rows.
    """
    kept = min(count, len(keys) - per_image)
    return find_nearest(queries, keys, kept, threshold, precision=precision, per_image=per_image, tick=tick)


def nearest_among(queries: Tensor, keys: Tensor, count: int, threshold: float) -> Neighbours:
    """The at most `count` keys (M, D) with the largest cosine above `threshold` with each of n queries.

    queries (n, D), keys: unit rows, float32; ids are rows of `keys`. Work: at most 2 n M D, divided among threads.
    """
    kept = min(count, len(keys))
    return find_nearest(queries, keys, kept, threshold, precision="float32", per_image=None, tick=None)


@compiled
def _largest_of_rows(
    tile: np.ndarray, first: int, threshold: np.float32, ids: np.ndarray, values: np.ndarray, counts: np.ndarray
) -> None:
    """The largest entries above `threshold` of each row of `tile` (t, w), at most as many as `ids` (t, K) has columns.

    Columns have the ids from `first` on; ids ascend.
    """
    kept, width = ids.shape[1], tile.shape[1]
    columns = np.empty(width, np.int32)
    largest = np.empty(width, np.float32)
    for i in range(len(tile)):
        count = 0
        for j in range(width):
            if tile[i, j] > threshold:
                columns[count], largest[count] = first + j, tile[i, j]
                count += 1
        if kept == 0:
            count = 0
        elif count > kept:
            keep_largest(columns, largest, np.int64(count), kept)
            count = kept
        for place in range(count):
            ids[i, place], values[i, place] = columns[place], largest[place]
        counts[i] = count
