"""The affinity through landmarks: its columns, their whitening, its factor, and the out-of-sample map of a cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import affinity
from alignedcut_cli.core.numerics import NumericsError

__all__ = ["BLOCK", "Extension", "Factor", "kernel_columns", "kernel_floor", "whitening"]

SAFE_SPECTRUM = 1e-6
BLOCK = 256
"""Block size, in columns, of products with a triangular matrix."""


def kernel_floor(gamma: float) -> float:
    """kappa = exp(-1 / gamma), the affinity at cosine 0: A = kappa 1 1^T + B splits off the constant part exactly."""
    return math.exp(-1 / gamma)


def kernel_columns(units: Tensor, landmarks: Tensor, gamma: float) -> Tensor:
    """B = exp((U Z^T - 1) / gamma) - kappa between unit rows U (t, D) and Z (m, D): (t, m) float32."""
    return affinity(units, landmarks, gamma).sub_(kernel_floor(gamma))


def whitening(landmarks: Tensor, gamma: float) -> Tensor:
    """P (m, r), float64, with P P^T = W^+ for W = exp((Z Z^T - 1) / gamma) - kappa of unit rows Z (m, D).

    r counts the eigenvalues of W above 1e-6 of the largest: smaller ones are below the resolution of float32 columns, and
    duplicated landmarks have none. Williams and Seeger 2001 (Nystrom), with W's pseudo-inverse. If all are above, which a
    Cholesky factor of W - 1e-6 |W|_inf I proves, P is L^-T of W = L L^T: a tenth of the work of an eigendecomposition, and
    the same factor up to a rotation.
    """
    units = landmarks.double()
    gram = (units @ units.T).sub_(1).div_(gamma).exp_().sub_(kernel_floor(gamma))  # (m, m)
    one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    smallest = SAFE_SPECTRUM * gram.abs().sum(1).max()
    if not torch.linalg.cholesky_ex(gram - smallest * one).info:
        return torch.linalg.solve_triangular(torch.linalg.cholesky(gram), one, upper=False).T
    values, vectors = torch.linalg.eigh(gram)
    kept = values > SAFE_SPECTRUM * values[-1]
    if not kept.any():
        raise NumericsError(f"{len(landmarks)} landmarks are all orthogonal to themselves: is gamma {gamma} too small?")
    return vectors[:, kept] * values[kept].rsqrt()


@dataclass(frozen=True)
class Factor:
    """Landmarks Z (m, D) of a kernel and P (m, r): Phi = [sqrt(kappa), K P] has r + 1 columns."""

    landmarks: Tensor
    white: Tensor
    gamma: float

    @property
    def rank(self) -> int:
        return self.white.shape[1] + 1

    def rows(self, units: Tensor) -> Tensor:
        """Phi of unit rows (t, D): (t, r + 1) float32."""
        columns = kernel_columns(units, self.landmarks, self.gamma)  # (t, m)
        made = torch.empty(len(units), self.rank, device=units.device)
        made[:, 0] = kernel_floor(self.gamma) ** 0.5
        for first, stop, used in self._blocks:
            torch.mm(columns[:, :used], self.white[:used, first:stop], out=made[:, 1 + first : 1 + stop])
        return made

    @cached_property
    def _blocks(self) -> list[tuple[int, int, int]]:
        """(first, stop) of blocks of P's columns, and the row from which they are zero: P may be triangular."""
        parts = self.white.split(BLOCK, 1)
        return [
            (number * BLOCK, number * BLOCK + part.shape[1], 1 + int(part.any(1).nonzero().max()))
            for number, part in enumerate(parts)
        ]

    def maps(self, coefficients: Tensor) -> Tensor:
        """F (m + 1, q), float32, with Phi c = [1, K] F for coefficients c (r + 1, q)."""
        return self.exact_maps(coefficients).float()

    def exact_maps(self, coefficients: Tensor) -> Tensor:
        """F in float64."""
        return torch.cat([kernel_floor(self.gamma) ** 0.5 * coefficients[:1], self.white.double() @ coefficients[1:]])


@dataclass(frozen=True)
class Extension:
    """The out-of-sample map from any node of the same space to a row of the cut: x(v) = ([1, b(v)] F) / sqrt([1, b(v)] g).

    b(v) are the kernel columns of v's direction against `landmarks` (m, D), unit rows; `maps` (m + 1, C + 1) float32
    holds F in its first C columns and g, for the degree, in the last. Rows of the cut itself are computed in the same way.
    """

    landmarks: Tensor
    maps: Tensor
    gamma: float

    def rows(self, units: Tensor) -> Tensor:
        """The rows (t, C), float32, of nodes given as unit rows (t, D); degrees are at least the self-affinity, 1."""
        found = self.maps[0] + kernel_columns(units, self.landmarks, self.gamma) @ self.maps[1:]  # (t, C + 1)
        return found[:, :-1] * found[:, -1:].clamp_min(1).rsqrt()
