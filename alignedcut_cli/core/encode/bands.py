"""Banded ridge regression: several feature spaces jointly, each with its own penalty.

X = [sqrt(g_1) X_1, sqrt(g_2) X_2, ...] has the kernel sum_b g_b K_b; weights g of sum 1 are drawn at random (Nunez-Elizalde
et al. 2019; Dupre la Tour et al. 2022), and each target takes the weights and penalty with the best leave-one-out r.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.encode.ridge import ALPHAS, BATCH, Basis, Predicted, encode, ridge_basis_of_kernel

__all__ = ["Banded", "band_bases", "band_weights", "encode_bands"]


@dataclass(frozen=True)
class Banded:
    """What `encode` returns for some targets under their best band weights, and the index of those weights: (b,) int64."""

    predicted: Predicted
    weights: Tensor


def band_weights(bands: int, count: int, seed: int) -> np.ndarray:
    """Candidate band weights, (C, bands) float64, rows of sum 1: all equal, each band alone, and `count` at random.

    Random ones come from Dirichlet distributions with concentrations 1 and .1 alternately.
    """
    random = np.random.default_rng(seed)
    drawn = [random.dirichlet(np.full(bands, (1.0, 0.1)[number % 2])) for number in range(count)]
    return np.concatenate([np.full((1, bands), 1 / bands), np.eye(bands), np.reshape(drawn, (-1, bands))])


def band_bases(kernels: Sequence[Tensor], heldout: Sequence[Tensor], weights: np.ndarray) -> list[Basis]:
    """A basis for each row of `weights` (C, bands), from centred kernels X_b X_b^T (n, n) and X_new X_b^T (m, n)."""
    found = []
    for row in weights:
        kernel = sum(float(g) * one.double() for g, one in zip(row, kernels, strict=True))
        new = sum(float(g) * one for g, one in zip(row, heldout, strict=True))
        assert isinstance(kernel, Tensor) and isinstance(new, Tensor)
        found.append(ridge_basis_of_kernel(kernel, new))
    return found


def encode_bands(
    bases: Sequence[Basis], responses: Tensor, alphas: Sequence[float] = ALPHAS, batch: int = BATCH
) -> Iterator[Banded]:
    """Predictions of `responses` (n, N), some targets at a time, each by the basis and penalty of its best leave-one-out
    r, the first on ties."""
    for start in range(0, responses.shape[1], batch):
        own = responses[:, start : start + batch]
        best, weights = None, torch.zeros(own.shape[1], dtype=torch.int64, device=own.device)
        for number, basis in enumerate(bases):
            (tried,) = encode(basis, own, alphas, batch=own.shape[1])
            if best is None:
                best = tried
                continue
            better = tried.loo_r > best.loo_r
            weights = torch.where(better, number, weights)
            best = Predicted(
                best.columns,
                *(
                    torch.where(better, new, old)
                    for new, old in (
                        (tried.loo, best.loo),
                        (tried.heldout, best.heldout),
                        (tried.alpha, best.alpha),
                        (tried.loo_r, best.loo_r),
                    )
                ),
            )
        assert best is not None
        columns = slice(start, start + own.shape[1])
        yield Banded(Predicted(columns, best.loo, best.heldout, best.alpha, best.loo_r), weights)
