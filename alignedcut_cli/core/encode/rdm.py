"""Representational dissimilarity matrices (RDMs) of images, from Gram matrices alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.numerics import NumericsError

__all__ = ["DISTANCES", "Gram", "average_rdm", "centre_both", "pairs_of", "rdm", "square"]

DISTANCES = ("pearson", "cosine", "euclidean")
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Gram:
    """What RDMs need of features F (n, D): F F^T (n, n) and F 1 (n,), float64, and D."""

    products: Tensor
    sums: Tensor
    units: int

    @classmethod
    def of(cls, parts: Iterable[Tensor]) -> Gram:
        """From slices (n, D_i) of units, accumulated in float64. Raises NumericsError without a slice."""
        products = sums = None
        units = 0
        for part in parts:
            rows = part.double()
            more, total = rows @ rows.T, rows.sum(1)
            products = more if products is None else products.add_(more)
            sums = total if sums is None else sums + total
            units += part.shape[1]
        if products is None or sums is None:
            raise NumericsError("no units were given")
        return cls(products, sums, units)

    def take(self, images: Tensor) -> Gram:
        """The same for a subset of images, by their indices (m,) int64."""
        return Gram(self.products[images][:, images], self.sums[images], self.units)

    def centred(self) -> Tensor:
        """J F F^T J with J = I - 1 1^T / n, the Gram matrix of features centred over images: (n, n) float64."""
        return centre_both(self.products)


def centre_both(matrix: Tensor) -> Tensor:
    """J A J with J = I - 1 1^T / n of (..., n, n)."""
    rows = matrix.mean(-1, keepdim=True)
    columns = matrix.mean(-2, keepdim=True)
    return matrix - rows - columns + rows.mean(-2, keepdim=True)


def rdm(gram: Gram, distance: str = "pearson") -> Tensor:
    """The distances between images, (n, n) float64, symmetric, 0 on the diagonal.

    pearson: 1 - corr(F_i, F_j) over units; cosine: 1 - cos(F_i, F_j); euclidean: |F_i - F_j|. NaN where an image's
    features are constant (pearson) or zero (cosine). `distance` is one of DISTANCES.
    """
    products = gram.products
    if distance == "pearson":
        products = products - torch.outer(gram.sums, gram.sums) / gram.units
    squares = products.diagonal()
    if distance == "euclidean":
        found = (squares[:, None] + squares[None, :] - 2 * products).clamp_min(0).sqrt()
    elif distance in DISTANCES:
        lengths = squares.clamp_min(0).sqrt()
        lengths = lengths.where(squares > _ROUNDING * gram.products.diagonal(), torch.nan)
        found = 1 - (products / lengths[:, None] / lengths[None, :]).clamp(-1, 1)
    else:
        raise ValueError(f"no distance is called {distance}")
    found = (found + found.T) / 2
    return found.fill_diagonal_(0)


def pairs_of(matrix: Tensor) -> Tensor:
    """The strict upper triangle of (..., n, n), row by row: (..., n (n - 1) / 2)."""
    rows, columns = torch.triu_indices(*matrix.shape[-2:], offset=1, device=matrix.device)
    return matrix[..., rows, columns]


def square(pairs: Tensor, images: int) -> Tensor:
    """The symmetric matrix (..., n, n) with zero diagonal whose strict upper triangle is `pairs` (..., n (n - 1) / 2)."""
    found = pairs.new_zeros(*pairs.shape[:-1], images, images)
    rows, columns = torch.triu_indices(images, images, offset=1, device=pairs.device)
    found[..., rows, columns] = pairs
    found[..., columns, rows] = pairs
    return found


def average_rdm(rdms: Tensor) -> Tensor:
    """The mean of RDMs 1 - r (s, n, n) by Fisher's z: 1 - tanh(mean_s arctanh(1 - D_s - 1e-5)), (n, n), 0 on the diagonal.

    The small constant keeps r = 1 finite, as the DeepJuice tutorial has it.
    """
    return (1 - torch.tanh(torch.arctanh(1 - rdms - 1e-5).mean(0))).fill_diagonal_(0)
