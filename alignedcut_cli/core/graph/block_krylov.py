"""The top eigenvectors of a symmetric operator given only by its products (matrix-free)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.numerics import NumericsError

__all__ = ["DEPTH", "Eigenpairs", "top_eigenpairs"]

DEPTH = 10
_LOST = 1e-5
_MOSTLY_ROUNDING = 0.5


@dataclass(frozen=True)
class Eigenpairs:
    """values (C,) descending, vectors (M, C) orthonormal, residuals (C,) = |N x - lambda x|, and products made."""

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int


def top_eigenpairs(
    apply: Callable[[Tensor], Tensor],
    start: Tensor,
    count: int,
    *,
    depth: int = DEPTH,
    tolerance: float = 2e-6,
    rounds: int = 10,
) -> Eigenpairs:
    """The `count` largest eigenpairs of the symmetric operator `apply`: (M, b) -> (M, b), from `start` (M, b >= count).

    The columns of `start` need not be normalised. Raises NumericsError if they span fewer than `count` dimensions.
    Block Krylov with full orthogonalisation and Rayleigh-Ritz: Q = orth[X, N X, ..., N^(depth-1) X], eigenpairs of
    Q^T N Q, checked after every product. Restarted from the Ritz vectors until every residual is at most `tolerance`,
    or until a round no longer halves the largest one (the limit of float32): see `residuals`.
    Memory: 2 M b (depth + 1) numbers.
    """
    width = start.shape[1]
    basis = _orthonormal(torch.nn.functional.normalize(start, dim=0), None)
    if basis.shape[1] < count:
        raise NumericsError(f"{count} eigenvectors were asked of a start of {basis.shape[1]} dimensions")
    images = apply(basis)
    products, best = 1, float("inf")
    found = _ritz(basis, images, width)
    for _ in range(rounds):
        for _ in range(depth - 1):
            if found.worst(count) <= tolerance:
                break
            block = _orthonormal(images[:, -width:], basis)
            if not block.shape[1]:
                break
            basis, images = torch.cat([basis, block], 1), torch.cat([images, apply(block)], 1)
            products += 1
            found = _ritz(basis, images, width)
        worst = found.worst(count)
        if worst <= tolerance or worst > 0.5 * best:
            break
        best = worst
        basis, images = found.vectors, found.images
    return Eigenpairs(found.values[:count], found.vectors[:, :count], found.residuals[:count], products)


@dataclass(frozen=True)
class _Ritz:
    """Ritz values (b,), their vectors and the vectors' images (M, b), residuals (b,)."""

    values: Tensor
    vectors: Tensor
    images: Tensor
    residuals: Tensor

    def worst(self, count: int) -> float:
        return float(self.residuals[:count].max()) if len(self.residuals) >= count else float("inf")


def _orthonormal(block: Tensor, basis: Tensor | None) -> Tensor:
    """An orthonormal basis (M, <= b) of the part of `block` orthogonal to `basis`; directions lost to rounding are dropped.

    A column whose norm the second pass more than halves was rounding error.
    """
    scale = block.norm(dim=0).max().clamp_min(torch.finfo(block.dtype).tiny)
    for lost in (_LOST * scale, _MOSTLY_ROUNDING):
        if basis is not None:
            block = block - basis @ (basis.T @ block)
        left, sizes, _ = torch.linalg.svd(block, full_matrices=False)
        block = left[:, sizes > lost]
    return block


def _ritz(basis: Tensor, images: Tensor, keep: int) -> _Ritz:
    """Rayleigh-Ritz, with the small problem in float64: the `keep` largest."""
    small = (basis.T @ images).double()
    values, coordinates = torch.linalg.eigh((small + small.T) / 2)
    order = values.argsort(descending=True)[:keep]
    chosen = coordinates[:, order].to(basis.dtype)
    kept = values[order].to(basis.dtype)
    vectors, mapped = basis @ chosen, images @ chosen
    return _Ritz(kept, vectors, mapped, (mapped - vectors * kept).norm(dim=0))
