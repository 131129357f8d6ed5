"""Comparison of RDMs, over all images and under many weightings of them (bootstrap draws) at once.

A weighting w (n,) of images, such as bootstrap counts, gives the pair (i, j) the weight w_i w_j; an image drawn twice
is not paired with itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.encode.pair_loops import rank_correlations
from alignedcut_cli.core.encode.rdm import centre_both, pairs_of, square
from alignedcut_cli.core.resample import ranks

__all__ = ["COMPARISONS", "compare", "compare_draws", "concordance", "midranks", "pooled", "second_moments"]


@dataclass(frozen=True)
class Comparison:
    """One measure: `score` of an RDM and others (m, n, n), `scale` of pairs before averaging RDMs, and weighted `draws`."""

    score: Callable[[Tensor, Tensor], Tensor]
    scale: Callable[[Tensor], Tensor]
    draws: Callable[[Tensor, Tensor, Tensor], Tensor]


def compare(one: Tensor, others: Tensor, by: str) -> Tensor:
    """The similarity of the RDM `one` (n, n) to each of `others` (m, n, n), in -1..1: (m,) float64; NaN if one is constant.

    pearson, spearman, tau-a (Kendall's, ties count 0) over the pairs of images; whitened: the cosine of centred RDMs,
    whitened by the covariance of distances under independent noise (Diedrichsen et al. 2021).
    """
    return COMPARISONS[by].score(one.double(), others.double())


def compare_draws(one: Tensor, others: Tensor, weights: Tensor, by: str) -> Tensor:
    """The comparison under each weighting (T, n) of images: (m, T) float64; products are in the dtype of `weights`.

    Exact for pearson and spearman (each draw is ranked again). tau-a and whitened are linearised in the weights
    around 1: s + 1/n sum_i (w_i - 1) (n - 1) (s - s_-i), with s_-i the score without image i (the infinitesimal
    jackknife).
    """
    return COMPARISONS[by].draws(one.double(), others.double(), weights.to(one.device)).double()


def pooled(rdms: Tensor, by: str) -> Tensor:
    """The RDM (n, n) closest to all of (s, n, n) under a comparison: the mean of z-scored distances, of ranks for rank
    comparisons, or of centred RDMs of unit length for whitened."""
    return square(COMPARISONS[by].scale(pairs_of(rdms.double())).mean(0), rdms.shape[-1])


def _correlation(one: Tensor, others: Tensor) -> Tensor:
    """Pearson's r of vectors (P,) and (m, P): (m,)."""
    left, right = one - one.mean(-1, keepdim=True), others - others.mean(-1, keepdim=True)
    return (right @ left) / (left.norm() * right.norm(dim=-1))


def _pearson(one: Tensor, others: Tensor) -> Tensor:
    return _correlation(pairs_of(one), pairs_of(others))


def midranks(values: Tensor) -> Tensor:
    """The rank of each of (..., P) in its row, from 1, ties at their mean rank: float64."""
    return torch.from_numpy(ranks.midranks(values.cpu().numpy())).to(values.device)


def _spearman(one: Tensor, others: Tensor) -> Tensor:
    return _correlation(midranks(pairs_of(one)), midranks(pairs_of(others)))


def concordance(one: np.ndarray, other: np.ndarray) -> int:
    """The number of concordant minus discordant pairs of two vectors (P,), in O(P log P).

    From scipy's tau-b = (c - d) / sqrt((p - t_1) (p - t_2)), p = P (P - 1) / 2 pairs, t those tied in each vector.
    """
    from scipy.stats import kendalltau

    pairs = len(one) * (len(one) - 1) // 2
    free = [pairs - _tied(values) for values in (one, other)]
    if not all(free):
        return 0
    tau: Any = kendalltau(one, other)
    return round(float(tau.statistic) * free[0] ** 0.5 * free[1] ** 0.5)


def _tied(values: np.ndarray) -> int:
    counts = np.unique(values, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _tau_a(one: Tensor, others: Tensor) -> Tensor:
    left, rows = pairs_of(one).cpu().numpy(), pairs_of(others).cpu().numpy()
    pairs = len(left) * (len(left) - 1) / 2
    found = [concordance(left, right) / pairs for right in rows]
    return torch.tensor(found, dtype=torch.float64, device=one.device)


def second_moments(rdms: Tensor) -> Tensor:
    """-1/2 J D J of RDMs (..., n, n) minus their mean over pairs.

    Its inner product is that of the distances whitened by their covariance (C C^T)^2 under independent noise.
    """
    images = rdms.shape[-1]
    mean = rdms.sum((-2, -1), keepdim=True) / (images * (images - 1))
    off = 1 - torch.eye(images, dtype=rdms.dtype, device=rdms.device)
    return -centre_both((rdms - mean) * off) / 2


def _whitened(one: Tensor, others: Tensor) -> Tensor:
    left, right = second_moments(one), second_moments(others)
    return (right * left).sum((-2, -1)) / (left.norm() * right.norm(dim=(-2, -1)))


def _pearson_draws(one: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """From w^T M w, weighted sums over pairs, of M = A, B, A A, B B, A B (elementwise) with zero diagonals, means near 0."""
    images = len(one)
    off = 1 - torch.eye(images, dtype=one.dtype, device=one.device)

    def near_zero(matrix: Tensor) -> Tensor:
        return (matrix - matrix.sum() / (images * (images - 1))) * off

    def over_pairs(matrix: Tensor) -> Tensor:
        return ((weights @ matrix) * weights).sum(1)  # (T,)

    left = near_zero(one).to(weights)
    count = weights.sum(1).square() - weights.square().sum(1)
    mean, spread = over_pairs(left) / count, over_pairs(left.square()) / count
    spread = spread - mean.square()
    found = []
    for other in others:
        right = near_zero(other).to(weights)
        mean_b = over_pairs(right) / count
        spread_b = over_pairs(right.square()) / count - mean_b.square()
        shared = over_pairs(left * right) / count - mean * mean_b
        found.append(shared / (spread * spread_b).sqrt())
    return torch.stack(found)


def _spearman_draws(one: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """Pearson's r of the midranks of the drawn pairs."""
    groups = [np.unique(pairs_of(rdm).cpu().numpy(), return_inverse=True)[1] for rdm in (one, *others)]
    first, *rest = (group.astype(np.int32) for group in groups)
    found = np.empty((len(others), len(weights)))
    total = np.empty(max(int(group.max()) for group in groups) + 1)
    drawn = weights.double().cpu().numpy()
    rank_correlations(first, np.stack(rest), drawn, np.empty((2, len(first))), total, found)
    return torch.from_numpy(found).to(one.device)


def _linear_draws(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Draws linear in the weights, from the scores without each image."""

    def draws(one: Tensor, others: Tensor, weights: Tensor) -> Tensor:
        images = len(one)
        whole = score(one, others)  # (m,)
        every = torch.arange(images, device=one.device)
        without = []
        for image in range(images):
            rest = every[every != image]
            without.append(score(one[rest][:, rest], others[:, rest][:, :, rest]))
        influence = (images - 1) * (whole[:, None] - torch.stack(without, 1))  # (m, n)
        return whole[:, None] + influence @ (weights.double() - 1).T / images

    return draws


def _z_scored(pairs: Tensor) -> Tensor:
    return (pairs - pairs.mean(-1, keepdim=True)) / pairs.std(-1, keepdim=True, correction=0)


COMPARISONS: dict[str, Comparison] = {
    "pearson": Comparison(_pearson, _z_scored, _pearson_draws),
    "spearman": Comparison(_spearman, midranks, _spearman_draws),
    "tau-a": Comparison(_tau_a, midranks, _linear_draws(_tau_a)),
    "whitened": Comparison(_whitened, _z_scored, _linear_draws(_whitened)),
}
"""How RDMs can be compared."""
