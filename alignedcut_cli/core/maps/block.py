"""A block of images held in memory while all later ones are read: the rows of one map, and their products."""

from __future__ import annotations

import torch
from torch import Tensor

from alignedcut_cli.core.maps.projection import Projection, project, slices
from alignedcut_cli.core.maps.workers import Workers
from alignedcut_cli.core.numerics import torch_threads

__all__ = ["Block", "aligned", "mirror", "padded", "tile_products"]

_LINE = 16
"""Floats in a cache line. Rows are aligned to it, as BLAS rounds products of unaligned rows by their address."""


class Block:
    """Rows of one map for the images `first` to `stop`, their Gram matrix and sums.

    rows  (stop - first, D and padding) float32, F
    gram  (stop - first, n) float64: products of each batch with its own and all later images
    sums  (stop - first,) float64

    Each product is of two batches over one slice of units, in float32, accumulated in float64, so the result does not
    depend on which batches are held together. Work: 2 D for each pair of images.
    """

    def __init__(self, units: int, first: int, stop: int, *, images: int, batch: int, device: torch.device) -> None:
        self.units, self.first, self.stop, self._batch = units, first, stop, batch
        self._held = torch.zeros(stop - first, padded(units), device=device)
        self.gram = torch.zeros(stop - first, images, dtype=torch.float64)
        self.sums = torch.zeros(stop - first, dtype=torch.float64)

    @property
    def rows(self) -> Tensor:
        return self._held[:, : self.units]

    def add(self, start: int, rows: Tensor, workers: Workers) -> None:
        """Take the rows (b, D) of the batch that begins with the image `start`. Batches come in ascending order."""
        with torch_threads(1):
            self._add(start, rows, workers)

    def _add(self, start: int, rows: Tensor, workers: Workers) -> None:
        stop = start + len(rows)
        is_held = stop <= self.stop
        own = slice(start - self.first, stop - self.first)
        if is_held:
            self.rows[own] = rows
        upto = min(start + self._batch, self.stop) - self.first
        places = slices(self.units)

        def of_slice(number: int) -> tuple[Tensor, Tensor | None]:
            place = places[number]
            piece = aligned(rows[:, place])  # (b, slice)
            sums = piece.double().sum(1).cpu() if is_held else None
            return tile_products(self._held[:upto, place], piece, self._batch).cpu(), sums

        for product, sums in workers.ordered(len(places), of_slice):
            self.gram[:upto, start:stop] += product
            if sums is not None:
                self.sums[own] += sums

    def project(self, projection: Projection, workers: Workers) -> Tensor:
        """The projection X of the held rows: (stop - first, d) float32."""
        places = slices(self.units)
        with torch_threads(1):
            return project(
                lambda number: self._held[:, places[number]],
                self.stop - self.first,
                projection,
                batch=self._batch,
                workers=workers,
            )


def tile_products(held: Tensor, piece: Tensor, batch: int) -> Tensor:
    """A B^T over one slice of units: `held` A (m, s), batch by batch, with the batch `piece` B (b, s): (m, b) float32.

    The last batch, which may be smaller, is multiplied alone, so that products have the same shapes however many are held.
    """
    whole = len(held) // batch * batch
    products = [torch.matmul(held[:whole].unflatten(0, (-1, batch)), piece.T).flatten(0, 1)] if whole else []
    if whole < len(held):
        products.append(held[whole:] @ piece.T)
    return torch.cat(products)


def padded(units: int) -> int:
    """The floats that a row of D units takes with its padding."""
    return -(-units // _LINE) * _LINE


def aligned(piece: Tensor) -> Tensor:
    """A copy of a slice of rows, each aligned to a cache line."""
    made = torch.zeros(len(piece), padded(piece.shape[1]), device=piece.device)[:, : piece.shape[1]]
    return made.copy_(piece)


def mirror(gram: Tensor) -> Tensor:
    """The symmetric matrix with the upper triangle of `gram` (n, n), in place."""
    for row in range(1, len(gram)):
        gram[row, :row] = gram[:row, row]
    return gram
