"""Sparse random projection (Li, Hastie and Church 2006) of maps with any number of units, a slice of units at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.maps.workers import Workers
from alignedcut_cli.core.numerics import stream

__all__ = ["DISTORTION", "SLICE", "Projection", "project", "project_slice", "projected_dimensions", "slices"]

SLICE = 1 << 14
"""Units in a slice: those of 16 images (1 MiB) fit in a core's cache."""
DISTORTION = 0.1


def slices(units: int) -> list[slice]:
    """The slices of a map of D units."""
    return [slice(start, min(start + SLICE, units)) for start in range(0, units, SLICE)]


def projected_dimensions(images: int, distortion: float = DISTORTION) -> int:
    """d = floor(4 ln n / (e^2 / 2 - e^3 / 3)), at least 1.

    In d dimensions squared distances among n images are distorted by at most a factor 1 -+ e (Johnson-Lindenstrauss, the
    bound of Dasgupta and Gupta 2003).
    """
    return max(1, int(4 * math.log(images) / (distortion**2 / 2 - distortion**3 / 3)))


class Projection:
    """The random matrix P (d, D) of D units onto d dimensions, drawn slice by slice whenever it is needed.

    Entries are +- sqrt(1 / (s d)) with probability s / 2 each, else 0, with density s = 1 / sqrt(D). P depends only on
    seed, D and d.
    """

    def __init__(self, units: int, dimensions: int, seed: int, device: torch.device) -> None:
        self.units, self.dimensions, self._seed, self._device = units, dimensions, seed, device
        self._density = 1 / math.sqrt(units)

    @staticmethod
    def slice_bytes(units: int, dimensions: int) -> int:
        """The bytes that a slice of P takes while it is drawn, to a few per cent."""
        return int(42 * dimensions * min(units, SLICE) / math.sqrt(units)) + 12 * (dimensions + 1)

    @property
    def scale(self) -> float:
        """sqrt(1 / (s d)), the magnitude of the entries, by which products with the slices are yet to be multiplied."""
        return math.sqrt(1 / (self._density * self.dimensions))

    def slice(self, number: int) -> Tensor:
        """Slice `number` of P / scale, (d, units of the slice), in CSR format.

        Non-zero entries are the successes of a Bernoulli process, row by row: geometric steps apart.
        """
        width = min(SLICE, self.units - number * SLICE)
        places = self.dimensions * width
        draws = np.random.default_rng(stream(self._seed, "projection", self.units, self.dimensions, number))
        expected = places * self._density
        count = int(expected + 8 * math.sqrt(expected) + 16)
        found = np.cumsum(draws.geometric(self._density, count)) - 1
        while found[-1] < places:
            found = np.append(found, np.cumsum(draws.geometric(self._density, count)) + found[-1])
        found = found[found < places]
        signs = (2 * draws.integers(0, 2, len(found)) - 1).astype(np.float32)
        starts = np.searchsorted(found, width * np.arange(self.dimensions + 1)).astype(np.int32)
        rows, units = torch.from_numpy(starts), torch.from_numpy((found % width).astype(np.int32))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            shape = (self.dimensions, width)
            made = torch.sparse_csr_tensor(rows, units, torch.from_numpy(signs), shape, check_invariants=False)
            return made.to(self._device)


def project(
    read: Callable[[int], Tensor], images: int, projection: Projection, *, batch: int, workers: Workers
) -> Tensor:
    """X = F P^T of rows F (n, D), of which `read(number)` returns a slice of units: (n, d) float32.

    Work: 2 d sqrt(D) per image, and d sqrt(D) random draws. Memory: two X, and two more per worker.
    """
    found = torch.zeros(projection.dimensions, images)
    for share in workers.ordered(
        len(slices(projection.units)), lambda number: project_slice(read(number), projection.slice(number), batch)
    ):
        found += share
    return (found * projection.scale).T


def project_slice(rows: Tensor, matrix: Tensor, batch: int) -> Tensor:
    """One slice's term of P F^T / scale, of F (n, units of the slice) batch by batch and P `matrix`: (d, n) float32."""
    return torch.cat([(matrix @ piece.T.contiguous()).cpu() for piece in rows.split(batch)], 1)
