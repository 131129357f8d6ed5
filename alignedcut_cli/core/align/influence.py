"""The mean R^2 of groups of voxels, and the influence of each image on it, for intervals over images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from alignedcut_cli.core.numerics import torch_threads

__all__ = ["roi_scores"]

_BLOCK = 2048
_TINY = 1e-12


def roi_scores(predict: Callable[[slice], Tensor], responses: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """The mean R^2 over the voxels of each group (Q,), and the influence of each image on it (Q, b), float64.

    `predict` returns some columns of the predictions of `responses` (b, N); `masks` (Q, N) bool. R^2_v = 1 - SSE_v / S_v
    over the images. Influences are the jackknife's: -(b - 1) / b times the score without the image, centred, so that they
    sum to 0 and sqrt(b / (b - 1) sum influence^2) is the standard error. Without image i, SSE_v loses r_iv^2, and S_v,
    whose mean moves too, b / (b - 1) s_iv^2. A constant voxel counts as R^2 = 0. 2048 voxels at a time.
    """
    score, missed = 0.0, 0.0
    images, sizes = len(responses), masks.sum(1).clamp_min(1).double()
    for start in range(0, responses.shape[1], _BLOCK):
        columns = slice(start, min(start + _BLOCK, responses.shape[1]))
        seen = responses[:, columns].double()
        with torch_threads(1):  # digits of products of few rows, or few columns, depend on the number of threads
            predicted = predict(columns).double()
        left = (seen - predicted).square()
        spread = (seen - seen.mean(0)).square()
        total = spread.sum(0)
        varies = (responses[:, columns] != responses[:1, columns]).any(0) & (total > 0)
        rest = total - spread * (images / max(1, images - 1))
        rest_varies = varies & (rest > _TINY * total)
        members = masks[:, columns].double() / sizes[:, None]
        explained = (1 - left.sum(0) / total.where(varies, 1.0)).where(varies, 0.0)
        without = ((left.sum(0) - left) / rest.where(rest_varies, 1.0)).where(rest_varies, 1.0)
        with torch_threads(1):
            score, missed = score + members @ explained, missed + members @ without.T
    assert isinstance(score, Tensor) and isinstance(missed, Tensor)
    return score, (missed - missed.mean(1, keepdim=True)) * ((images - 1) / images)
