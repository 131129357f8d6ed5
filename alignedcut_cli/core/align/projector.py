"""The projector on the top eigenvectors of a symmetric matrix, with a gradient that stays finite where these coincide."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from alignedcut_cli.core.align.any_threads import eigh

__all__ = ["GAP", "normalised_affinity", "top_projector"]

GAP = 1e-5


def normalised_affinity(features: Tensor, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """N = D^-1/2 A D^-1/2 and A of Eq. 3 for nodes (…, m, D): two tensors (…, m, m), differentiable.

    A_ij = exp((cos(v_i, v_j) - 1) / gamma), D_ii = sum_j A_ij. A zero row has cosine 0 to all nodes.
    """
    units = torch.nn.functional.normalize(features, dim=-1)
    affinity = ((units @ units.mT - 1) / gamma).exp()  # (…, m, m)
    scale = affinity.sum(-1).rsqrt()  # (…, m)
    return scale[..., :, None] * affinity * scale[..., None, :], affinity


class _TopProjector(torch.autograd.Function):
    """P = X X^T of the top c eigenvectors X of symmetric N (…, m, m), and which gaps are open.

    dP = sum over kept i, dropped j of (x_i^T dN x_j) / (l_i - l_j) (x_i x_j^T + x_j x_i^T): only gaps between kept and
    dropped eigenvalues are in a denominator. Where l_c - l_(c+1) is closed the gradient is zero.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, count: int, gap: float) -> tuple[Tensor, Tensor]:
        values, vectors = eigh(matrix)
        kept = vectors[..., -count:]
        is_open = values[..., -count] - values[..., -count - 1] > gap * values.abs().amax(-1)  # (…)
        ctx.save_for_backward(values, vectors, is_open)
        ctx.count = count
        ctx.mark_non_differentiable(is_open)
        return kept @ kept.mT, is_open

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        values, vectors, is_open = ctx.saved_tensors
        kept, dropped = vectors[..., -ctx.count :], vectors[..., : -ctx.count]
        gaps = values[..., -ctx.count :, None] - values[..., None, : -ctx.count]  # (…, c, m - c)
        gaps = gaps.where(is_open[..., None, None], torch.inf)
        upstream = gradients[0] + gradients[0].mT
        crossed = (kept.mT @ upstream @ dropped) / gaps  # (…, c, m - c)
        half = kept @ crossed @ dropped.mT
        return (half + half.mT) / 2, None, None


def top_projector(matrix: Tensor, count: int, gap: float = GAP) -> tuple[Tensor, Tensor]:
    """The projectors X X^T (…, m, m) on the top c = `count` eigenvectors of symmetric `matrix` (…, m, m), 1 <= c < m.

    Also returns a bool tensor (…): whether the gap l_c - l_(c+1) is above `gap` times the largest |l|. Where it is not, the
    projector is not unique, and its gradient is zero. Same dtype and device as `matrix`.
    """
    projector, is_open = _TopProjector.apply(matrix, count, gap)  # type: ignore[misc]
    return projector, is_open
