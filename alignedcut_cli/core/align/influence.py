"""The mean R^2 of groups of voxels, and what each image adds to it: what intervals over images are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["roi_scores"]

_BLOCK = 2048


def roi_scores(predict: Callable[[slice], Tensor], responses: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """The mean R^2 over the voxels of each group (Q,), and the influence of each image on it (Q, b), float64.

    `predict` gives some columns of the predictions of `responses` (b, N); `masks` (Q, N) bool. With r and s what is left of
    a response after the prediction and after its mean, R^2_v = 1 - sum_b r_bv^2 / sum_b s_bv^2, and the influence of image b
    is the derivative by its weight: mean_v -(r_bv^2 - (1 - R^2_v) s_bv^2) / sum_b s_bv^2, which adds up to 0. A voxel that
    does not vary counts as R^2 = 0. 2048 voxels are taken at a time.
    """
    score, influence = 0.0, 0.0
    sizes = masks.sum(1).clamp_min(1).double()
    for start in range(0, responses.shape[1], _BLOCK):
        columns = slice(start, min(start + _BLOCK, responses.shape[1]))
        seen = responses[:, columns].double()
        left = (seen - predict(columns).double()).square()
        spread = (seen - seen.mean(0)).square()
        total = spread.sum(0)
        varies = (responses[:, columns] != responses[:1, columns]).any(0) & (total > 0)
        total = total.where(varies, torch.inf)
        missed = left.sum(0) / total  # 1 - R^2
        members = masks[:, columns].double() / sizes[:, None]
        score = score + members @ (1 - missed).where(varies, 0.0)
        influence = influence - members @ ((left - missed * spread) / total).T
    assert isinstance(score, Tensor) and isinstance(influence, Tensor)
    return score, influence
