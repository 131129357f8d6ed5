"""The loss of channel align (Eq. 5 to 10): the brain term on pooled features, the regularisers on sampled nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import norm_of_all, sum_of_all
from alignedcut_cli.core.align.projector import normalised_affinity, top_projector
from alignedcut_cli.core.numerics import NumericsError

__all__ = [
    "EIGENVECTORS",
    "Losses",
    "Weights",
    "agreement_loss",
    "align_pooled",
    "brain_loss",
    "covariance_loss",
    "eigen_loss",
    "predict",
    "total_loss",
    "zero_loss",
]

EIGENVECTORS = 6


@dataclass(frozen=True)
class Weights:
    """The weights of the terms of Eq. 10, and of the agreement of slots, which is not in the paper (0 leaves it out)."""

    eigen: float = 1.0
    zero: float = 0.01
    cov: float = 0.01
    agree: float = 0.0


@dataclass(frozen=True)
class Losses:
    """Scalars of one step: the total (Eq. 10) and its terms, and the number of slots with a closed eigengap."""

    total: Tensor
    brain: Tensor
    eigen: Tensor
    zero: Tensor
    cov: Tensor
    agree: Tensor
    closed: int


def predict(pooled: Sequence[Tensor], transforms: Sequence[Tensor], beta: Tensor, eps: Tensor) -> Tensor:
    """Y^ = (1/n sum_i AvgPool(V_i) W_i) beta + eps (Eq. 2) from pooled features (B, D_i) of n slots: (B, N).

    AvgPool(V_i W_i) = AvgPool(V_i) W_i, so that the prediction needs no tokens.
    """
    return torch.addmm(eps, align_pooled(pooled, transforms), beta)


def align_pooled(pooled: Sequence[Tensor], transforms: Sequence[Tensor]) -> Tensor:
    """1/n sum_i AvgPool(V_i) W_i from pooled features (B, D_i): (B, E)."""
    total = pooled[0] @ transforms[0]
    for mean, matrix in zip(pooled[1:], transforms[1:], strict=True):
        total = total + mean @ matrix
    return total / len(pooled)


def brain_loss(predicted: Tensor, responses: Tensor) -> Tensor:
    """Mean absolute error over images and voxels (Eq. 9) of two tensors (b, N)."""
    return sum_of_all((predicted - responses).abs()) / predicted.numel()


def eigen_loss(before: Sequence[Tensor], after: Tensor, count: int = EIGENVECTORS) -> tuple[Tensor, int]:
    """|(X_b X_b^T - X_a X_a^T) * exp(-A_b)| (Eq. 8), Frobenius, mean over slots; and the number of closed eigengaps.

    `before` holds each slot's own features (m, D_i), without gradient, `after` the transformed ones (n, m, E).
    X are the top c = `count` eigenvectors of the slot's normalised affinity. A slot whose c-th eigengap is closed, before or
    after, has no unique projector and is left out of the mean. Raises NumericsError for c nodes or fewer.
    """
    if after.shape[1] <= count:
        raise NumericsError(f"the eigen-constraint needs more than {count} tokens a step, there are {after.shape[1]}")
    with torch.no_grad():
        graphs = [normalised_affinity(features) for features in before]
        target, is_open = top_projector(torch.stack([normal for normal, _ in graphs]), count)  # (n, m, m), (n,)
        focus = (-torch.stack([affinity for _, affinity in graphs])).exp()
    projector, is_open_after = top_projector(normalised_affinity(after)[0], count)
    is_open = is_open & is_open_after
    distances = torch.linalg.matrix_norm((target - projector) * focus)  # (n,)
    usable = int(is_open.sum())
    return (distances * is_open).sum() / max(1, usable), len(before) - usable


def zero_loss(after: Tensor) -> Tensor:
    """Mean over channels of |mean over nodes| of features (…, E): Eq. 6 as intended (as printed it has no minimum)."""
    return after.flatten(0, -2).mean(0).abs().mean()


def covariance_loss(after: Tensor) -> Tensor:
    """Sum of squared off-diagonal covariances over the E channels of nodes (…, E), divided by E (Eq. 7).

    With fewer nodes M than channels, the sum of all squares is computed from the M x M Gram matrix.
    """
    nodes = after.flatten(0, -2)
    centred = nodes - nodes.mean(0)
    rows, channels = centred.shape
    gram = centred @ centred.T if rows < channels else centred.T @ centred
    variances = centred.square().sum(0)
    return (sum_of_all(gram.square()) - variances.square().sum()) / ((rows - 1) ** 2 * channels)


def agreement_loss(each: Tensor) -> Tensor:
    """One minus the cosine of each slot's aligned pooled features (n, b, E) and their mean over slots, mean over slots.

    Centred over images; 0 where all slots respond the same to each image, up to a factor. The prediction of Eq. 2 uses only
    the mean, and so lets slots cancel each other.
    """
    centred = each - each.mean(1, keepdim=True)
    mean = centred.mean(0)
    tiny = torch.finfo(each.dtype).tiny
    sizes = (centred.flatten(1).norm(dim=1) * norm_of_all(mean)).clamp_min(tiny)  # (n,)
    return 1 - ((centred * mean).flatten(1).sum(1) / sizes).mean()


def _places_loss(after: Tensor, places: Sequence[int] | None) -> Tensor:
    """`agreement_loss` of aligned tokens (n, m, E), within each group of slots that share positions: the mean."""
    groups = torch.tensor([0] * len(after) if places is None else list(places), device=after.device)
    parts = [after[groups == place] for place in groups.unique()]
    return sum((agreement_loss(part) * len(part) for part in parts), start=after.new_zeros(())) / len(after)


def total_loss(
    pooled: Sequence[Tensor],
    nodes: Sequence[Tensor],
    responses: Tensor,
    transforms: Sequence[Tensor],
    beta: Tensor,
    eps: Tensor,
    weights: Weights,
    places: Sequence[int] | None = None,
) -> Losses:
    """L = L_brain + eigen L_eigen + zero L_zero + cov L_cov (Eq. 10) + agree L_agree; differentiable in W, beta, eps.

    `pooled` are the mean tokens (b, D_i) of each of n slots, `nodes` its m sampled tokens (m, D_i), `responses` (b, N),
    `transforms` W_i (D_i, E), `beta` (E, N), `eps` (N,). `places` has a number for each slot, equal for slots whose
    tokens are of the same positions (default: all); L_agree is the mean of agreement on these and on images. A term with
    weight 0 is not computed and reported as 0.
    """
    each = torch.stack([mean @ matrix for mean, matrix in zip(pooled, transforms, strict=True)])  # (n, b, E)
    brain = brain_loss(torch.addmm(eps, each.mean(0), beta), responses)
    after = torch.stack([rows @ matrix for rows, matrix in zip(nodes, transforms, strict=True)])  # (n, m, E)
    nothing = torch.zeros_like(brain)
    eigen, closed = eigen_loss(nodes, after) if weights.eigen else (nothing, 0)
    zero = zero_loss(after) if weights.zero else nothing
    cov = covariance_loss(after) if weights.cov else nothing
    agree = (agreement_loss(each) + _places_loss(after, places)) / 2 if weights.agree else nothing
    total = brain + weights.eigen * eigen + weights.zero * zero + weights.cov * cov + weights.agree * agree
    return Losses(total, brain, eigen, zero, cov, agree, closed)
