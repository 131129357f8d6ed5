"""The search of each row's nearest among all rows: a tile of bounds at a time, the cosine only where its bound is large.

Where queries and keys are the same rows, a tile serves its rows and its columns, and each pair is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.graph.cosine_bounds import cosine_bounds, like_beside_like
from alignedcut_cli.core.graph.parallel_tiles import share_items, share_tiles
from alignedcut_cli.core.graph.quantised_cosines import cosines_at, error_at
from alignedcut_cli.core.numerics import Tick, compiled

__all__ = ["COLUMN_TILE", "ROW_TILE", "Neighbours", "find_nearest", "keep_largest"]

ROW_TILE, COLUMN_TILE = 256, 2048
"""A tile of bounds stays near the caches."""
_GROUP = 64
_LAST = np.int32(2**31 - 1)
_ROUNDING = 1e-5
"""More than two sums of the products of unit rows may differ by, whatever the order of their channels."""


@dataclass(frozen=True)
class Neighbours:
    """Row i has the neighbours ids[i, :counts[i]] (N, K) int32 with the cosines `values` (N, K) float32, ids ascending."""

    ids: np.ndarray
    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def none(cls, rows: int, most: int) -> Neighbours:
        """Room for at most `most` neighbours of each of some rows."""
        return cls(np.zeros((rows, most), np.int32), np.zeros((rows, most), np.float32), np.zeros(rows, np.int32))

    def least(self, threshold: float) -> np.ndarray:
        """The cosine (N,) float32 that one more place must exceed to be among the neighbours of each."""
        found = np.full(len(self.counts), threshold, np.float32)
        full = self.counts == self.ids.shape[1]
        if self.ids.shape[1]:
            found[full] = self.values[full].min(1)
        return found


def find_nearest(
    queries: Tensor,
    keys: Tensor,
    kept: int,
    threshold: float,
    *,
    precision: str,
    per_image: int | None,
    tick: Tick | None,
) -> Neighbours:
    """The `kept` keys (M, D) with the largest cosine above `threshold` of each query (n, D); of equals the first ones.

    With `per_image` both are the same places, and those of one image are none. A cosine is a float32 sum over channels in
    one fixed order: equal rows have equal ones.
    """
    found = Neighbours.none(len(queries), kept)
    if kept:
        search = _Search(queries, keys, kept, threshold, precision, per_image)
        search.run(tick)
        search.finish(np.float32(threshold), found)
    return found


class _Search:
    """The rows and the bounds in blocks of columns, like beside like, and what is nearest so far.

    least   (n,), what a cosine may not be below to be among a row's nearest
    best    (n, up to 2 kept), by the numbers that keys had as they were given
    """

    def __init__(
        self, queries: Tensor, keys: Tensor, kept: int, threshold: float, precision: str, per_image: int | None
    ) -> None:
        self.kept, self.is_symmetric = kept, keys is queries and per_image is not None
        bounds, (mine, theirs) = (
            cosine_bounds(queries, keys, kept, per_image),
            like_beside_like(queries, keys, COLUMN_TILE),
        )
        self.slack = bounds.slack
        self.bounds = bounds.queries[mine]
        self.rows = queries[mine].numpy()
        self.others = self.rows if self.is_symmetric else keys[theirs].numpy()
        self.names, self.other_names = (one.int().numpy() for one in (mine, theirs))
        size = per_image or 1
        self.images = self.names // size if per_image else np.full(len(queries), -1, np.int32)
        self.other_images = self.other_names // size
        self.least = np.full(len(queries), threshold, np.float32)
        self.best = Neighbours.none(len(queries), 2 * kept)
        self.blocks = [
            (cosines_at(one, precision), error_at(one, precision)) for one in bounds.keys[theirs].split(COLUMN_TILE)
        ]

    def run(self, tick: Tick | None) -> None:
        """Compare blocks of rows with blocks of columns, the most alike first, so that few others exceed what is nearest."""
        cpu, total = torch.device("cpu"), len(self.rows)
        likeness = _centres(self.rows) @ _centres(self.others).T
        share_tiles(total, COLUMN_TILE, cpu, partial(self._begin, likeness.argmax(1)))
        pairs = [divmod(int(place), likeness.shape[1]) for place in np.argsort(-likeness, axis=None, kind="stable")]
        pairs = [(a, b) for a, b in pairs if a <= b or not self.is_symmetric]  # each pair serves the rows of both
        counted = iter(range(1, len(pairs) + 1))

        def count(_: int) -> None:
            done = next(counted)
            if tick:
                tick(total * done // len(pairs) - total * (done - 1) // len(pairs))

        needs = [set(pair) if self.is_symmetric else {pair[0]} for pair in pairs]
        share_items(needs, lambda number: self._compare(*pairs[number]), count)

    def finish(self, threshold: np.float32, found: Neighbours) -> None:
        """Write what was found for the rows as they were given."""
        best = self.best
        _finish(
            best.ids, best.values, best.counts, threshold, self.kept, self.names, found.ids, found.values, found.counts
        )

    def _begin(self, nearest: np.ndarray, tiles: Iterator[tuple[int, int]]) -> None:
        """Let `least` be the `kept`-th largest cosine of each row with the block most like its own, if that has as many."""
        for begin, end in tiles:
            first = int(nearest[begin // COLUMN_TILE]) * COLUMN_TILE
            own = slice(first, first + COLUMN_TILE)
            columns = torch.from_numpy(self.others[own]).T
            for start in range(begin, end if self.kept < columns.shape[1] else begin, ROW_TILE):
                rows = slice(start, min(start + ROW_TILE, end))
                cosines = torch.from_numpy(self.rows[rows]) @ columns
                cosines.numpy()[self.images[rows, None] == self.other_images[own]] = -2
                found = cosines.topk(self.kept, 1, sorted=False).values.amin(1).sub_(_ROUNDING).numpy()
                np.maximum(self.least[rows], found, out=self.least[rows])

    def _compare(self, block: int, other: int) -> None:
        cosines, error = self.blocks[other]
        begin = block * COLUMN_TILE
        end = min(begin + COLUMN_TILE, len(self.rows))
        for start in range(begin, end, ROW_TILE):
            units = self.bounds[start : min(start + ROW_TILE, end)]
            self._collect(cosines(units), start, other, np.float32(self.slack + error(units)))

    def _collect(self, tile: Tensor, start: int, block: int, slack: np.float32) -> None:
        _collect(
            tile.numpy(), start, block * COLUMN_TILE, slack, self.rows, self.others, self.images, self.other_images,
            self.other_names, self.kept, self.is_symmetric, self.least, self.best.ids, self.best.values,
            self.best.counts,
        )  # fmt: skip


def _centres(rows: np.ndarray) -> np.ndarray:
    """The means of blocks of rows, of unit length: (blocks, D)."""
    means = np.stack([rows[start : start + COLUMN_TILE].mean(0) for start in range(0, len(rows), COLUMN_TILE)])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)


@compiled
def _select(values: np.ndarray, count: int, place: int) -> float:
    """The number at `place` of the first `count` of `values`, were they sorted; they are moved (Hoare's quickselect).

    In numba, np.partition takes five seconds to compile.
    """
    low, high = 0, count - 1
    while low < high:
        pivot, left, right = values[(low + high) // 2], low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if place <= right:
            high = right
        elif place >= left:
            low = left
        else:
            break
    return values[place]


@compiled
def keep_largest(ids: np.ndarray, values: np.ndarray, count: int, kept: int) -> np.float32:
    """Move the `kept` largest of `count` > kept values to the front; the smallest of them is returned.

    Of equal values those with the smallest ids stay.
    """
    least = _select(values[:count].copy(), count, count - kept)
    equal, above = 0, 0
    for place in range(count):
        above += values[place] > least
        equal += values[place] == least
    last = _LAST
    if above + equal > kept:
        same = np.empty(equal, np.int32)
        filled = 0
        for place in range(count):
            if values[place] == least:
                same[filled] = ids[place]
                filled += 1
        last = _select(same, np.int64(equal), kept - above - 1)
    filled = 0
    for place in range(count):
        if values[place] > least or (values[place] == least and ids[place] <= last):
            values[filled], ids[filled] = values[place], ids[place]
            filled += 1
    return least


@compiled
def _offer(
    row: int,
    other: int,
    value: np.float32,
    kept: int,
    least: np.ndarray,
    ids: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Add `other`, not below least[row], to the nearest of `row`; where its room is full, the `kept` nearest stay."""
    count = counts[row]
    ids[row, count], values[row, count] = other, value
    count += 1
    if count == 2 * kept:
        least[row] = max(least[row], keep_largest(ids[row], values[row], np.int64(count), kept))
        count = kept
    counts[row] = count


@compiled
def _collect(
    tile: np.ndarray,
    start: int,
    first: int,
    slack: np.float32,
    queries: np.ndarray,
    keys: np.ndarray,
    images: np.ndarray,
    their_images: np.ndarray,
    names: np.ndarray,
    kept: int,
    is_symmetric: bool,
    least: np.ndarray,
    ids: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Offer each other the rows from `start` on and the columns from `first` on whose bound in `tile` (t, w) is enough.

    Columns are looked through in groups, most of which hold nothing. `least` (n,), ids and values (n, 2 kept) are changed.
    """
    rows, width = tile.shape
    channels = queries.shape[1]
    places = np.empty(_GROUP, np.int64)
    for i in range(rows):
        row = start + i
        for begin in range(0, width, _GROUP):
            stop, bound = min(begin + _GROUP, width), least[row] - slack
            hits, found = np.int32(0), 0
            if is_symmetric:
                for j in range(begin, stop):
                    hits += np.int32(1) if tile[i, j] >= min(bound, least[first + j] - slack) else np.int32(0)
                if hits == 0:
                    continue
                for j in range(begin, stop):
                    places[found] = first + j
                    found += 1 if tile[i, j] >= min(bound, least[first + j] - slack) else 0
            else:
                for j in range(begin, stop):
                    hits += np.int32(1) if tile[i, j] >= bound else np.int32(0)
                if hits == 0:
                    continue
                for j in range(begin, stop):
                    places[found] = first + j
                    found += 1 if tile[i, j] >= bound else 0
            for number in range(found):
                column = places[number]
                if (is_symmetric and column <= row) or images[row] == their_images[column]:
                    continue
                value = np.float32(0)
                for channel in range(channels):
                    value += queries[row, channel] * keys[column, channel]
                if value >= least[row]:
                    _offer(row, names[column], value, kept, least, ids, values, counts)
                if is_symmetric and value >= least[column]:
                    _offer(column, names[row], value, kept, least, ids, values, counts)


@compiled
def _finish(
    ids: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    threshold: np.float32,
    kept: int,
    names: np.ndarray,
    to_ids: np.ndarray,
    to_values: np.ndarray,
    to_counts: np.ndarray,
) -> None:
    """Write the `kept` largest candidates above `threshold` of row i to row names[i] of `to_ids`, ids ascending."""
    for i in range(len(ids)):
        count, row = counts[i], names[i]
        if count > kept:
            keep_largest(ids[i], values[i], np.int64(count), kept)
            count = kept
        order = np.argsort(ids[i, :count])
        filled = 0
        for place in order:
            if values[i, place] > threshold:
                to_ids[row, filled], to_values[row, filled] = ids[i, place], values[i, place]
                filled += 1
        to_counts[row] = filled
