"""A block of images held while all later ones pass by: the rows of one map, their products and their projections."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from alignedcut_cli.core.maps.projection import SLICE, Projection
from alignedcut_cli.core.numerics import torch_threads

__all__ = ["Block", "Workers", "mirror", "padded"]

_LINE = 16
"""Floats of a cache line: rows begin on one, as products of rows that do not are rounded by where they lie."""
_MOST = 4
Found = TypeVar("Found")


class Workers:
    """Threads that share the slices of a map, each of which computes on one core: use it in a `with` block.

    Small products gain more from slices side by side than from cores within each.
    """

    def __init__(self, device: torch.device) -> None:
        self._count = min(_MOST, torch.get_num_threads()) if device.type == "cpu" else 1

    def __enter__(self) -> Workers:
        self._pool = ThreadPoolExecutor(self._count, initializer=torch.set_num_threads, initargs=(1,))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def ordered(self, count: int, work: Callable[[int], Found]) -> Iterator[Found]:
        """`work(number)` for each number below `count`, in order; few of them wait to be taken."""
        if min(self._count, count) == 1:
            yield from map(work, range(count))
            return
        waiting: deque[Future[Found]] = deque()
        for number in range(count):
            waiting.append(self._pool.submit(work, number))
            if len(waiting) > 2 * self._count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Block:
    """Rows of one map for the images `first` to `stop`, and what is found of them.

    rows       (stop - first, D and padding) float32, F
    gram       (stop - first, n) float64: products with all images that are not before those of the block's batch
    sums       (stop - first,) float64
    projected  (stop - first, d) float32, F P^T; None without a projection

    A product is of a batch with a batch and of one slice of units, in float32, added up in float64. So it does not matter
    which batches are held together. Work: 2 D for each pair of images and 2 d sqrt(D) for each of the block.
    """

    def __init__(
        self,
        units: int,
        first: int,
        stop: int,
        *,
        images: int,
        batch: int,
        projection: Projection | None,
        device: torch.device,
    ) -> None:
        self.units, self.first, self.stop, self._batch = units, first, stop, batch
        self._held = torch.zeros(stop - first, padded(units), device=device)
        self._projection = projection
        self.gram = torch.zeros(stop - first, images, dtype=torch.float64)
        self.sums = torch.zeros(stop - first, dtype=torch.float64)
        self.projected = None if projection is None else torch.zeros(stop - first, projection.dimensions)

    @property
    def rows(self) -> Tensor:
        return self._held[:, : self.units]

    def add(self, start: int, rows: Tensor, workers: Workers) -> None:
        """Take the rows (b, D) of the batch that begins with the image `start`. Batches come in ascending order."""
        with torch_threads(1):
            self._add(start, rows, workers)

    def _add(self, start: int, rows: Tensor, workers: Workers) -> None:
        stop = start + len(rows)
        own = slice(start - self.first, stop - self.first)
        is_held = stop <= self.stop
        projection = self._projection if is_held else None
        if is_held:
            self.rows[own] = rows
        upto = min(start + self._batch, self.stop) - self.first
        whole = upto // self._batch * self._batch

        def of_slice(number: int) -> tuple[Tensor, Tensor | None]:
            place = slice(number * SLICE, min((number + 1) * SLICE, self.units))
            piece = _aligned(rows[:, place])  # (b, slice)
            held = self._held[:whole, place].unflatten(0, (-1, self._batch)) if whole else None
            products = [] if held is None else [torch.matmul(held, piece.T).flatten(0, 1)]  # (whole, b)
            if whole < upto:  # the last batch of all, which is smaller, with itself
                products.append(self._held[whole:upto, place] @ piece.T)
            return torch.cat(products).cpu(), None if projection is None else projection.multiply(number, piece).cpu()

        found = torch.zeros(0 if projection is None else projection.dimensions, len(rows))  # (d, b)
        for product, share in workers.ordered(-(-self.units // SLICE), of_slice):
            self.gram[:upto, start:stop] += product
            if share is not None:
                found += share
        if is_held:
            self.sums[own] = _sum_rows(rows)
        if self.projected is not None and projection is not None:
            self.projected[own] = found.T * projection.scale


def padded(units: int) -> int:
    """The floats that a held row of D units takes."""
    return -(-units // _LINE) * _LINE


def _sum_rows(rows: Tensor) -> Tensor:
    found = torch.zeros(len(rows), dtype=torch.float64)
    for piece in rows.split(SLICE, 1):
        found += piece.cpu().double().sum(1)
    return found


def _aligned(piece: Tensor) -> Tensor:
    """A copy of a slice of rows, each of which begins on a cache line."""
    made = torch.zeros(len(piece), padded(piece.shape[1]), device=piece.device)[:, : piece.shape[1]]
    return made.copy_(piece)


def mirror(gram: Tensor) -> Tensor:
    """The symmetric matrix that has the upper triangle of `gram` (n, n), in place."""
    for row in range(1, len(gram)):
        gram[row, :row] = gram[:row, row]
    return gram
