"""Oracle segmentation (paper, C.4): how well eigenvectors separate classes, given the true class centres."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ABSENT", "class_centres", "class_similarities", "oracle_thresholds"]

ABSENT = -2.0
"""The similarity to a class without a centre: below every cosine, so that no pixel is assigned to it."""


def oracle_thresholds(count: int) -> Tensor:
    """`count` thresholds, evenly spaced in [0, 1]: (count,) float64. One alone is 0."""
    return torch.linspace(0, 1, count, dtype=torch.float64)


def class_centres(eigenvectors: Tensor, weights: Tensor) -> Tensor:
    """The centre of each class, c_k = sum_i w_ik x_i / sum_i w_ik (C.4): (k, C) float64; NaN for a class without weight.

    `eigenvectors` (M, C); `weights` (M, k) >= 0 say how much of each node belongs to each class: one-hot, or shares of
    area. A node of void has no weight.
    """
    weights = weights.double()
    return weights.T @ eigenvectors.double() / weights.sum(0)[:, None]


def class_similarities(eigenvectors: Tensor, centres: Tensor) -> Tensor:
    """cos(x_i, c_k) of every node and class: (M, k) float32 in [-1, 1]; ABSENT for a class whose centre is NaN."""
    nodes = torch.nn.functional.normalize(eigenvectors.double(), dim=1, eps=1e-300)
    unit = torch.nn.functional.normalize(centres, dim=1, eps=1e-300)
    cosines = (nodes @ unit.T).clamp(-1, 1)  # (M, k)
    return cosines.where(centres.isfinite().all(1), ABSENT).float()
