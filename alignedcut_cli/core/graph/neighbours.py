"""Exact nearest neighbours of every place (patch), within its image and in other images, in tiles without N x N arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.graph.parallel_tiles import share_tiles
from alignedcut_cli.core.graph.quantised_cosines import cosines_at
from alignedcut_cli.core.numerics import Tick, compiled

__all__ = ["Neighbours", "largest_within", "nearest_across", "nearest_among", "nearest_within"]

ROW_TILE, COLUMN_TILE = 384, 4096
"""Of the search across images: a tile of cosines and its codes fit in the caches."""
MORE_CANDIDATES = 2
"""K / 2 extra candidates for K neighbours are found in low precision, and all are ranked again in float32."""
_GROUP = 64


@dataclass(frozen=True)
class Neighbours:
    """Row i has the neighbours ids[i, :counts[i]] (N, K) int32 with the cosines `values` (N, K) float32, ids ascending."""

    ids: np.ndarray
    values: np.ndarray
    counts: np.ndarray

    def least(self, threshold: float) -> np.ndarray:
        """The cosine (N,) float32 that another place must exceed to become a neighbour of each."""
        found = np.full(len(self.counts), threshold, np.float32)
        full = self.counts == self.ids.shape[1]
        if self.ids.shape[1]:
            found[full] = self.values[full].min(1)
        return found


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
    found = Neighbours(
        np.zeros((total, kept), np.int32), np.zeros((total, kept), np.float32), np.zeros(total, np.int32)
    )
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
    """The at most `count` places of other images with the largest cosine above `threshold`.

    queries, keys: unit rows (N, D), float32, image by image of P = `per_image` places each. Work: 2 N^2 D, divided
    among threads. In a `precision` other than float32, half as many extra candidates are found, and ranked again in
    float32. Results do not depend on tiles or threads. `tick` counts rows.
    """
    return _nearest(queries, keys, min(count, len(keys) - per_image), threshold, precision, tick, per_image)


def nearest_among(queries: Tensor, keys: Tensor, count: int, threshold: float) -> Neighbours:
    """The at most `count` keys (M, D) with the largest cosine above `threshold` with each of n queries.

    queries (n, D), keys: unit rows, float32; ids are rows of `keys`. Work: 2 n M D, divided among threads.
    """
    return _nearest(queries, keys, min(count, len(keys)), threshold, "float32", None, None)


def _nearest(
    queries: Tensor,
    keys: Tensor,
    kept: int,
    threshold: float,
    precision: str,
    tick: Tick | None,
    per_image: int | None,
) -> Neighbours:
    """The `kept` nearest keys of each query; with `per_image` both are the same places, and the own image is excluded."""
    total = len(queries)
    found = Neighbours(
        np.zeros((total, kept), np.int32), np.zeros((total, kept), np.float32), np.zeros(total, np.int32)
    )
    if not kept:
        return found
    most = len(keys) - (per_image or 0)
    candidates = kept if precision == "float32" else min(kept + kept // MORE_CANDIDATES + 1, most)
    blocks = [(first, keys[first : first + COLUMN_TILE]) for first in range(0, len(keys), COLUMN_TILE)]
    columns = [(first, len(block), cosines_at(block, precision)) for first, block in blocks]
    # values rounded below the threshold may be above it
    floor = np.float32(threshold if precision == "float32" else threshold - 0.01)
    exact = (queries.numpy(), keys.numpy())

    def work(tiles: Iterator[tuple[int, int]]) -> None:
        for start, stop in tiles:
            units, rows = queries[start:stop], stop - start
            ids = np.empty((rows, 2 * candidates), np.int32)
            values = np.empty((rows, 2 * candidates), np.float32)
            counts, least = np.zeros(rows, np.int32), np.full(rows, floor, np.float32)
            for first, width, cosines in columns:
                tile = cosines(units)  # (rows, width)
                if per_image:
                    _hide_own_image(tile, start, first, per_image)
                _collect(tile.numpy()[:, :width], first, candidates, least, ids, values, counts)
            if precision != "float32":
                _rank_again(*exact, start, ids, values, counts)
            _finish(ids, values, counts, np.float32(threshold), kept, start, found.ids, found.values, found.counts)

    share_tiles(total, ROW_TILE, torch.device("cpu"), work, tick)
    return found


def _hide_own_image(tile: Tensor, start: int, first: int, per_image: int) -> None:
    """Set the cosines between places of one image to -2; the tile begins at row `start` and column `first`."""
    rows, width = tile.shape
    for image in range(start // per_image, (start + rows - 1) // per_image + 1):
        below, above = image * per_image, (image + 1) * per_image
        if above > first and below < first + width:
            tile[max(0, below - start) : above - start, max(0, below - first) : above - first] = -2


@compiled
def _keep_largest(ids: np.ndarray, values: np.ndarray, count: int, kept: int) -> np.float32:
    """Move the `kept` largest of `count` > kept values to the front, in their order, and return the smallest of them.

    Ties go to the earlier values.
    """
    least = np.partition(values[:count], count - kept)[count - kept]
    equal = kept
    for place in range(count):
        if values[place] > least:
            equal -= 1
    filled = 0
    for place in range(count):
        value = values[place]
        if value == least and equal > 0:
            equal -= 1
        elif value <= least:
            continue
        values[filled], ids[filled] = value, ids[place]
        filled += 1
    return least


@compiled
def _collect(
    tile: np.ndarray, first: int, kept: int, least: np.ndarray, ids: np.ndarray, values: np.ndarray, counts: np.ndarray
) -> None:
    """Add values above least[i] in row i of `tile` (t, w), whose columns begin at `first`, to the row's candidates.

    ids, values (t, 2 kept), counts, least (t,). A full row is reduced to its `kept` largest, and `least` rises to the
    smallest of these. Columns are scanned in groups, most of which hold none.
    """
    rows, width = tile.shape
    for i in range(rows):
        row, bound = tile[i], least[i]
        for start in range(0, width, _GROUP):
            stop = min(start + _GROUP, width)
            part = row[start:stop]
            hits = np.int32(0)
            for j in range(len(part)):
                hits += np.int32(1) if part[j] > bound else np.int32(0)
            if hits == 0:
                continue
            for j in range(len(part)):
                if part[j] > bound:
                    if counts[i] == 2 * kept:
                        bound = _keep_largest(ids[i], values[i], 2 * kept, kept)
                        counts[i] = kept
                        if part[j] <= bound:
                            continue
                    ids[i, counts[i]] = first + start + j
                    values[i, counts[i]] = part[j]
                    counts[i] += 1
        least[i] = bound


@compiled
def _rank_again(
    queries: np.ndarray, keys: np.ndarray, start: int, ids: np.ndarray, values: np.ndarray, counts: np.ndarray
) -> None:
    """Replace the values of the candidates of the rows from `start` on by float32 cosines: queries, keys (N, D)."""
    for i in range(len(ids)):
        query = queries[start + i]
        for place in range(counts[i]):
            key = keys[ids[i, place]]
            total = np.float32(0)
            for channel in range(len(query)):
                total += query[channel] * key[channel]
            values[i, place] = total


@compiled
def _finish(
    ids: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    threshold: np.float32,
    kept: int,
    start: int,
    to_ids: np.ndarray,
    to_values: np.ndarray,
    to_counts: np.ndarray,
) -> None:
    """Write the `kept` largest candidates above `threshold` of each row to the rows from `start` on, ids ascending."""
    for i in range(len(ids)):
        count = counts[i]
        if count > kept:
            _keep_largest(ids[i], values[i], count, kept)
            count = kept
        filled = 0
        for place in range(count):
            if values[i, place] > threshold:
                to_ids[start + i, filled] = ids[i, place]
                to_values[start + i, filled] = values[i, place]
                filled += 1
        to_counts[start + i] = filled


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
            _keep_largest(columns, largest, count, kept)
            count = kept
        for place in range(count):
            ids[i, place], values[i, place] = columns[place], largest[place]
        counts[i] = count
