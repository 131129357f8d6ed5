"""Ridge regression of many targets with exact leave-one-out predictions in closed form, a penalty for each target.

With centred features X (n, d), X X^T = U diag(l) U^T and s = a / (l + a) for a penalty a, the residual of image i under
the fit to all others is exactly

    y_i - y_-i = (C y)_i / C_ii,    C = U diag(s) U^T over all n - 1 directions of centred images,

with the intercept, which is not penalised, refitted each time. Only an n x n (dual) or d x d (primal) matrix, whichever
is smaller, is decomposed, in float64; products with targets are in the features' dtype. So are those among images,
slice by slice of features, unless X X^T is too close to singular for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.numerics import NumericsError

__all__ = [
    "ALPHAS",
    "PENALTIES",
    "Basis",
    "Penalised",
    "Predicted",
    "Standard",
    "coefficients",
    "encode",
    "kernels_of_products",
    "ridge_basis",
    "ridge_basis_of_kernel",
]

ALPHAS = tuple(10.0**power for power in range(-1, 6))
"""The penalties of the DeepJuice tutorial: 0.1 to 100,000."""
PENALTIES = ("target", "shared")
BATCH = 1024
"""Targets per batch."""
_LOST = 1e-10
_FLAT = 1e-4
"""Smallest over largest eigenvalue of X X^T: above, its rounding in float32, about 1e-7 of the largest, hardly matters."""
_SLICE, _ROWS = 512, 128
"""Of products in float32: features added up in it, and rows of a block."""


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each feature over the training images: (d,) both; 1 where it is constant."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, rows: Tensor, ddof: int = 0) -> Standard:
        """Those of `rows` (n, d)."""
        mean = rows.mean(0)
        scale = rows.std(0, correction=ddof)
        tiny = torch.finfo(rows.dtype).eps * rows.abs().amax(0)
        return cls(mean, scale.where(scale > tiny, 1.0))

    def __call__(self, rows: Tensor) -> Tensor:
        """`rows` (m, d) standardised."""
        return (rows - self.mean).div_(self.scale)


@dataclass(frozen=True)
class Basis:
    """Left singular vectors of the centred features, `left` U (n, k), and `values` l (k,) float64 descending.

    `seen` (m, k) is X_new X^T U of held-out images. `whole`: U spans all n - 1 directions (dual); else the part of the
    targets outside U is not predicted (primal).
    """

    left: Tensor
    values: Tensor
    seen: Tensor
    whole: bool

    def penalised(self, alpha: float) -> Penalised:
        """The terms of leave-one-out residuals under one penalty."""
        left = self.left.double()
        shrink = alpha / (self.values + alpha)  # s
        if self.whole:
            diagonal, sign = left.square() @ shrink, shrink
        else:
            diagonal, sign = 1 - 1 / len(left) - left.square() @ (1 - shrink), shrink - 1
        return Penalised(alpha, (left * sign / diagonal[:, None]).to(self.left), diagonal.to(self.left))


@dataclass(frozen=True)
class Penalised:
    """C_ii as `diagonal` (n,), and C / C_ii as `left` (n, k) @ U^T, to which I / C_ii is added unless U is whole."""

    alpha: float
    left: Tensor
    diagonal: Tensor


@dataclass(frozen=True)
class Predicted:
    """Targets `columns` of the responses: leave-one-out predictions (n, b) and those of held-out images (m, b);
    the penalty chosen and Pearson's r of the leave-one-out predictions, (b,) float64 both."""

    columns: slice
    loo: Tensor
    heldout: Tensor
    alpha: Tensor
    loo_r: Tensor


def ridge_basis(rows: Tensor, heldout: Tensor) -> Basis:
    """The basis of standardised features (n, d) for fits, and of `heldout` (m, d), standardised likewise, for predictions.

    Dual if n <= d, else primal: d n^2 + about 9 n^3 operations, or n d^2 + 9 d^3. Memory: three n^2 (or d^2)
    float64 and a centred copy of X. Raises NumericsError if there are fewer than 3 images.
    """
    images, width = rows.shape
    if images < 3:
        raise NumericsError(f"{images} images are too few to leave one out")
    mean = rows.mean(0)
    centred, new = rows - mean, heldout - mean
    if images <= width:
        return _dual_basis(centred, new)
    values, vectors = torch.linalg.eigh(_gram(centred.T))
    kept = values > _LOST * values[-1].clamp_min(torch.finfo(torch.float64).tiny)
    values, right = values[kept].flip(0), vectors[:, kept].flip(1)
    left = (centred @ right.to(centred)) / values.sqrt().to(centred)
    return Basis(left, values, (new @ right.to(new)) * values.sqrt().to(new), whole=False)


def _dual_basis(centred: Tensor, new: Tensor) -> Basis:
    """That of centred features (n, d) and `new` (m, d): by products in float32 where the least eigenvalue bears it."""
    if centred.dtype != torch.float64:
        basis = ridge_basis_of_kernel(_quick_gram(centred), new @ centred.T)
        if float(basis.values[-1]) > _FLAT * float(basis.values[0]):
            return basis
    basis = ridge_basis_of_kernel(_gram(centred), _wide_products(new, centred))
    return replace(basis, left=basis.left.to(centred), seen=basis.seen.to(centred))


def ridge_basis_of_kernel(kernel: Tensor, heldout: Tensor) -> Basis:
    """The basis from kernels alone: `kernel` X X^T (n, n) float64 of centred X, and `heldout` X_new X^T (m, n)."""
    images = len(kernel)
    above = 2 * float(kernel.diagonal().sum()) + 1.0
    values, vectors = torch.linalg.eigh(kernel + above / images)  # the constant direction comes last
    left, values = vectors[:, :-1].flip(1), values[:-1].clamp_min(0).flip(0)
    left = left.to(heldout)
    return Basis(left, values, heldout @ left, whole=True)


def kernels_of_products(products: Tensor, fitted: Tensor, heldout: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """X X^T (n, n) and X_new X^T (m, n), float64, of the images `fitted` (n,) and `heldout` (m,), from F F^T of all.

    X is F centred over the fitted images and scaled to the total `variance` over these. Features without variance give 0.
    """
    own = products[fitted][:, fitted]
    mean, grand = own.mean(0), own.mean()
    kernel = own - mean - mean[:, None] + grand
    new = products[heldout][:, fitted]
    new = new - new.mean(1, keepdim=True) - mean + grand
    found = float(kernel.trace()) / len(kernel)
    scale = variance / found if found > _LOST * float(own.diagonal().mean()) else 0.0
    return scale * kernel, scale * new


def _gram(rows: Tensor, width: int = 4096) -> Tensor:
    """X X^T (n, n) of (n, d), accumulated in float64 over slices of columns."""
    parts = rows.split(width, 1)
    found = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for part in parts:
        wide = part.double()
        found += _square(wide)
    return found


def _quick_gram(rows: Tensor) -> Tensor:
    """X X^T (n, n) float64 of (n, d): products of slices in the dtype of X, of each pair of rows once."""
    found = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for part in rows.split(_SLICE, 1):
        for first in range(0, len(rows), _ROWS):
            found[first:, first : first + _ROWS] += part[first:] @ part[first : first + _ROWS].T
    return found.tril() + found.tril(-1).T


def _wide_products(left: Tensor, right: Tensor, width: int = 4096) -> Tensor:
    """A B^T (m, n) of (m, d) and (n, d), float64."""
    found = torch.zeros(len(left), len(right), dtype=torch.float64, device=left.device)
    for one, other in zip(left.split(width, 1), right.split(width, 1), strict=True):
        found += one.double() @ other.double().T
    return found


def _square(rows: Tensor) -> Tensor:
    """A A^T of float64 (n, d), by numpy, which uses the symmetry (half the work)."""
    if rows.device.type != "cpu":
        return rows @ rows.T
    array = np.ascontiguousarray(rows.numpy())
    return torch.from_numpy(array @ array.T)


def encode(
    basis: Basis, responses: Tensor, alphas: Sequence[float] = ALPHAS, penalty: str = "target", batch: int = BATCH
) -> Iterator[Predicted]:
    """Predictions of `responses` (n, N) from each fit, some targets at a time, in the dtype of the basis.

    The penalty of a target is the one with the largest Pearson r between its leave-one-out predictions and its
    responses, the smallest on ties; with `penalty` shared, that with the largest mean r over targets, for all. Work: n k N
    for each penalty, and three times more. Memory: some arrays (n, `batch`), never (d, N).
    """
    tries = [basis.penalised(alpha) for alpha in alphas]
    starts = range(0, responses.shape[1], batch)
    if penalty == "shared":
        total = sum(_loo_scores(basis, _Targets.of(basis, responses, start, batch), tries).sum(1) for start in starts)
        assert isinstance(total, Tensor)
        tries = [tries[int(_first_largest(total[:, None]))]]
    penalties = torch.tensor([one.alpha for one in tries], dtype=torch.float64, device=responses.device)
    diagonals = torch.stack([one.diagonal for one in tries], 1)  # (n, A)
    for start in starts:
        targets = _Targets.of(basis, responses, start, batch)
        scores = _loo_scores(basis, targets, tries)  # (A, b)
        choice = _first_largest(scores)
        chosen = penalties[choice]
        yield Predicted(
            targets.columns,
            targets.mean + targets.centred - _residual(basis, targets, chosen, diagonals[:, choice]),
            targets.mean + basis.seen @ (targets.coordinates / (basis.values[:, None] + chosen).to(basis.seen)),
            chosen,
            scores.gather(0, choice[None])[0],
        )


@dataclass(frozen=True)
class _Targets:
    """Some columns of the responses: their mean (b,), centred values Y (n, b), and Z = U^T Y (k, b)."""

    columns: slice
    mean: Tensor
    centred: Tensor
    coordinates: Tensor

    @classmethod
    def of(cls, basis: Basis, responses: Tensor, start: int, batch: int) -> _Targets:
        columns = slice(start, min(start + batch, responses.shape[1]))
        own = responses[:, columns].to(basis.left)
        mean = own.mean(0)
        centred = own - mean
        return cls(columns, mean, centred, basis.left.T @ centred)


def _loo_scores(basis: Basis, targets: _Targets, tries: Sequence[Penalised]) -> Tensor:
    """Pearson's r of leave-one-out predictions P = Y - R under each penalty: (A, b) float64; 0 where nothing varies.

    From sums over images of Y^2, Y R, R^2 and R alone.
    """
    own = targets.centred
    size = own.square().sum(0).double()
    found = []
    for one in tries:
        if basis.whole:
            residual = one.left @ targets.coordinates
        else:
            residual = torch.addmm(own / one.diagonal[:, None], one.left, targets.coordinates)
        shared = size - (own * residual).sum(0).double()
        total = residual.sum(0).double()
        spread = 2 * shared - size + residual.square_().sum(0).double() - total.square() / len(own)
        length = (size * spread.clamp_min(0)).sqrt()
        found.append((shared / length).where(length > 0, 0.0))
    return torch.stack(found)


def _residual(basis: Basis, targets: _Targets, alphas: Tensor, diagonals: Tensor) -> Tensor:
    """Leave-one-out residuals (n, b), each target under its own penalty (b,), given C_ii (n, b) for it."""
    shrink = alphas / (basis.values[:, None] + alphas)  # (k, b)
    if basis.whole:
        return basis.left @ (targets.coordinates * shrink.to(basis.left)) / diagonals
    return (targets.centred - basis.left @ (targets.coordinates * (1 - shrink).to(basis.left))) / diagonals


def _first_largest(scores: Tensor) -> Tensor:
    """The first row that holds the largest entry of each column of (A, b): (b,) int64."""
    best = torch.zeros(scores.shape[1], dtype=torch.int64, device=scores.device)
    top = scores[0]
    for number in range(1, len(scores)):
        better = scores[number] > top
        best = torch.where(better, number, best)
        top = torch.where(better, scores[number], top)
    return best


def coefficients(rows: Tensor, responses: Tensor, alphas: Tensor) -> Tensor:
    """(X^T X + a I)^-1 X^T Y of centred X (n, d) and Y (n, N), each target under its own penalty a (N,): (d, N) float64.

    For few features: a d x d system for each distinct penalty.
    """
    wide, targets = rows.double(), responses.double()
    wide, targets = wide - wide.mean(0), targets - targets.mean(0)
    gram, shared = wide.T @ wide, wide.T @ targets
    found = torch.empty_like(shared)
    for alpha in alphas.unique().tolist():
        chosen = alphas == alpha
        ridge = gram + alpha * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        found[:, chosen] = torch.linalg.solve(ridge, shared[:, chosen])
    return found
