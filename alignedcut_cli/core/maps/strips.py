"""Summaries of a map whose rows are stored, read strip by strip: all images, one slice of units at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.maps.block import tile_products
from alignedcut_cli.core.maps.projection import SLICE, Projection, project_slice, slices
from alignedcut_cli.core.maps.units import standardise_units
from alignedcut_cli.core.maps.workers import Workers
from alignedcut_cli.core.numerics import torch_threads

__all__ = ["Kept", "kept_of_strips", "strip_bytes"]


@dataclass(frozen=True)
class Kept:
    """Of a map: G = F F^T (n, n) float64, only its upper triangle; sums over units (n,) float64; X (n, d) float32, or F."""

    gram: Tensor
    sums: Tensor
    matrix: Tensor


def kept_of_strips(
    read: Callable[[int], Tensor],
    units: int,
    images: int,
    *,
    batch: int,
    projection: Projection | None,
    standardise: bool,
    workers: Workers,
) -> Kept:
    """The same results as `Block`, bit for bit: `read(number)` is F (n, units of a slice), rows aligned to cache lines.

    Without a projection X is F itself. With `standardise`, F is first standardised over the images, in place.
    Each strip is read once.
    """
    places = slices(units)
    gram, sums = (torch.zeros(shape, dtype=torch.float64) for shape in ((images, images), (images,)))
    matrix = torch.zeros((units, images) if projection is None else (projection.dimensions, images))

    def of_slice(number: int) -> tuple[Tensor, Tensor, Tensor]:
        strip = standardise_units(read(number), batch) if standardise else read(number)
        pieces, products = strip.split(batch), torch.zeros(images, images)
        for start, piece in zip(range(0, images, batch), pieces, strict=True):
            upto = start + len(piece)
            products[:upto, start:upto] = tile_products(strip[:upto], piece, batch).cpu()
        found = torch.cat([piece.double().sum(1).cpu() for piece in pieces])
        share = strip.T.cpu() if projection is None else project_slice(strip, projection.slice(number), batch)
        return products, found, share

    with torch_threads(1):
        for number, (products, own, share) in enumerate(workers.ordered(len(places), of_slice)):
            gram += products
            sums += own
            if projection is None:
                matrix[places[number]] = share
            else:
                matrix += share
    return Kept(gram, sums, (matrix if projection is None else matrix * projection.scale).T)


def strip_bytes(units: int, dimensions: int, images: int, batch: int, workers: int) -> int:
    """The bytes that `kept_of_strips` takes beside its result, with d `dimensions` (0: no projection)."""
    width = min(units, SLICE)
    found = 4 * images**2 + 8 * images + 4 * images * (dimensions or width)
    sparse = Projection.slice_bytes(units, dimensions) if dimensions else 0
    return workers * (4 * images * width + 40 * batch * width + sparse) + (workers + 2) * found
