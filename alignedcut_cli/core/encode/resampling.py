"""Bootstrap and permutation scores, many at once: correlations, comparisons of RDMs, CKA, ranks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.encode.compare import midranks, second_moments
from alignedcut_cli.core.encode.pair_loops import permuted_sums
from alignedcut_cli.core.encode.rdm import centre_both, pairs_of, square
from alignedcut_cli.core.resample import ranks
from alignedcut_cli.core.resample.draws import drawn_places
from alignedcut_cli.core.resample.intervals import percentile

__all__ = [
    "correlation_draws",
    "permuted_cka",
    "permuted_comparison",
    "permuted_correlation",
    "rank_correlation",
]

_CHUNK = 1 << 23


def correlation_draws(predicted: Tensor, responses: Tensor, weights: Tensor) -> Tensor:
    """Column-wise Pearson's r of two (m, b) under each weighting (T, m) of rows: (T, b), their dtype; 0 if undefined."""
    weights = weights.to(predicted)
    left, right = predicted - predicted.mean(0), responses - responses.mean(0)
    count = weights.sum(1, keepdim=True)
    a, b = weights @ left / count, weights @ right / count
    shared = weights @ (left * right) / count - a * b
    own = (weights @ left.square() / count - a * a) * (weights @ right.square() / count - b * b)
    tiny = torch.finfo(own.dtype).eps ** 2 * left.square().mean(0) * right.square().mean(0)
    return (shared / own.where(own > tiny, torch.inf).sqrt()).clamp(-1, 1)


def permuted_correlation(predicted: Tensor, responses: Tensor, orders: Tensor) -> Tensor:
    """The mean over columns of Pearson's r of (m, N) with predictions permuted over images: (P,).

    From M (m, m), products of z-scored predictions and responses summed over voxels: a permutation sums M[order_i, i].
    """
    left, right = _unit(predicted), _unit(responses)
    shared = left @ right.T / predicted.shape[1]  # (m, m)
    return shared[orders.to(shared.device), torch.arange(len(shared), device=shared.device)].sum(1)


def _unit(columns: Tensor) -> Tensor:
    """Columns centred and of unit length; 0 where they are constant."""
    centred = columns - columns.mean(0)
    length = centred.norm(dim=0)
    return centred / length.where(length > 0, torch.inf)


def permuted_comparison(one: Tensor, others: Tensor, orders: Tensor, by: str) -> Tensor:
    """Comparisons of an RDM (n, n), its images permuted, with `others` (m, n, n): (m, P), to float32 precision.

    pearson and spearman are products of z-scored distances or ranks; whitened of second moments; for tau-a the null is
    Pearson's r of ranks times 2/3, the ratio of the standard deviations of Kendall's tau and of r.
    """
    if by == "whitened":
        left, right = second_moments(one.double()), second_moments(others.double())
    else:
        left, right = (_ready(rdms.double(), by) for rdms in (one, others))
    left, right = left / left.norm(), right / right.norm(dim=(-2, -1), keepdim=True)
    found = _permuted_products(left, right, orders)
    if by == "whitened":  # second moments have a diagonal
        found += right.diagonal(dim1=-2, dim2=-1) @ left.diagonal()[orders.to(left.device)].T
    return found * (2 / 3) if by == "tau-a" else found


def _ready(rdms: Tensor, by: str) -> Tensor:
    """Distances or their ranks, centred over pairs, 0 on the diagonal."""
    pairs = pairs_of(rdms)
    pairs = pairs if by == "pearson" else midranks(pairs)
    return square(pairs - pairs.mean(-1, keepdim=True), rdms.shape[-1])


def permuted_cka(one: Tensor, other: Tensor, orders: Tensor) -> Tensor:
    """`cka` of Gram matrices (n, n) with the images of the first permuted: (P,) float64.

    HSIC_u is an inner product of u-centred matrices (Szekely and Rizzo 2014), and these may be permuted.
    """
    left, right = _u_centred(one), _u_centred(other)
    own = (left.square().sum() * right.square().sum()).sqrt()
    return _permuted_products(left, right[None], orders)[0] / own


def _u_centred(gram: Tensor) -> Tensor:
    images = len(gram)
    hollow = centre_both(gram.double()).fill_diagonal_(0)
    rows = hollow.sum(1) / (images - 2)
    found = hollow - rows[:, None] - rows[None, :] + hollow.sum() / ((images - 1) * (images - 2))
    return found.fill_diagonal_(0)


def _permuted_products(one: Tensor, others: Tensor, orders: Tensor) -> Tensor:
    """sum_ij A[order_i, order_j] B_ij over i != j of symmetric (n, n) and (m, n, n), in float32: (m, P)."""
    if one.device.type == "cpu":
        sums = np.zeros((len(others), len(orders)))
        pair = (matrix.float().contiguous().numpy() for matrix in (one, others))
        permuted_sums(*pair, orders.numpy(), np.empty(len(one), np.float32), sums)
        return torch.from_numpy(sums)
    hollow = others - torch.diag_embed(others.diagonal(dim1=-2, dim2=-1))
    source, flat = one.float(), hollow.float().flatten(1)
    chunks = orders.to(one.device).split(max(1, _CHUNK // len(one) ** 2))
    found = [flat @ source[chunk[:, :, None], chunk[:, None, :]].flatten(1).T for chunk in chunks]
    return torch.cat(found, 1).double()


def rank_correlation(one: np.ndarray, other: np.ndarray, draws: int, seed: int) -> tuple[float, float, float]:
    """Spearman's correlation of two (k,) and its 95% bootstrap interval over their entries; NaN below three entries."""

    def correlate(places: np.ndarray) -> np.ndarray:
        a, b = (ranks.midranks(values[places]) for values in (one, other))
        a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
        length = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
        return np.divide((a * b).sum(-1), length, out=np.full(length.shape, np.nan), where=length > 0)

    if len(one) < 3:
        return float("nan"), float("nan"), float("nan")
    low, high = percentile(correlate(drawn_places(len(one), draws, seed)))
    return float(correlate(np.arange(len(one))[None])[0]), low, high
