"""Scores of a segmentation against a ground truth: IoU at every threshold, accuracy, adjusted Rand index, intervals."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.numerics import compiled
from alignedcut_cli.core.resample.draws import bootstrap_weights, sums_of_drawn
from alignedcut_cli.core.resample.intervals import percentile

__all__ = [
    "adjusted_rand",
    "bootstrap_interval",
    "class_ious",
    "contingency",
    "counts_of_matched",
    "iou_draws",
    "mean_iou",
    "pixel_accuracy",
    "threshold_counts",
]


def threshold_counts(
    best: Tensor, chosen: Tensor, truth: Tensor, classes: int, thresholds: Tensor, background: int | None
) -> Tensor:
    """Pixels in both, in the prediction, and in the ground truth, of each class at each threshold: (T, 3, k) int64.

    A pixel takes the class `chosen` (n,) of its largest similarity `best` (n,), or `background` (None: no class) where
    best < threshold. `truth` (n,) holds classes 0 to k - 1, and -1 for void, which is left out. `thresholds` (T,)
    ascend. On a CPU: one pass over the pixels counts by class and by how many thresholds are reached, for all thresholds.
    """
    # by how many thresholds are reached: chosen, and rightly chosen
    reached = np.zeros((2, len(thresholds) + 1, classes), np.int64)
    there, ground = np.zeros(classes, np.int64), np.zeros(len(thresholds) + 1, np.int64)
    pixels = [one.numpy() for one in (best, chosen, truth, thresholds)]
    _count_reaching(*pixels, -1 if background is None else background, *reached, there, ground)
    kept, right = _at_least(reached[0]), _at_least(reached[1])
    if background is not None:
        right[:, background] += there[background] - _at_least(ground)
        kept[:, background] += there.sum() - kept.sum(1)
    return torch.from_numpy(np.stack([right, kept, np.broadcast_to(there, kept.shape)], 1))


def _at_least(counts: np.ndarray) -> np.ndarray:
    """The pixels that reach each threshold (T, ...), from those that reach so many and no more (T + 1, ...)."""
    return counts[::-1].cumsum(0)[-2::-1].copy()


@compiled
def _count_reaching(
    best: np.ndarray,
    chosen: np.ndarray,
    truth: np.ndarray,
    thresholds: np.ndarray,
    background: int,
    kept: np.ndarray,
    right: np.ndarray,
    there: np.ndarray,
    ground: np.ndarray,
) -> None:
    """Add the pixels (n,) that reach the first t thresholds and no more to kept[t] and right[t], by their class.

    kept, right (T + 1, k), there (k,), ground (T + 1,) int64: those chosen, rightly chosen, in the ground truth, and of the
    background. best, thresholds float; chosen, truth integers from 0, and -1 in `truth` for void, which is not counted.
    """
    for i in range(len(best)):
        if truth[i] < 0:
            continue
        reached, value = 0, np.float64(best[i])
        while reached < len(thresholds) and thresholds[reached] <= value:
            reached += 1
        kept[reached, chosen[i]] += 1
        right[reached, chosen[i]] += chosen[i] == truth[i]
        there[truth[i]] += 1
        ground[reached] += truth[i] == background


def contingency(clusters: Tensor, truth: Tensor, count: int, classes: int) -> Tensor:
    """Pixels of each cluster (0 to `count` - 1) in each class (-1: void, left out): (count, k) int64."""
    counted = truth >= 0
    return torch.bincount(clusters[counted] * classes + truth[counted], minlength=count * classes).reshape(count, -1)


def counts_of_matched(table: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """Pixels in both, in the prediction and in the ground truth (..., 3, k), of clusters that were assigned classes.

    `table` (..., q, k) is the contingency of clusters and classes, `matched` (q,) the class of each cluster, or -1 for
    none: the pixels of such a cluster are predicted as no class.
    """
    both = np.zeros((*table.shape[:-2], table.shape[-1]), np.int64)
    given = np.zeros_like(both)
    for cluster, one in enumerate(matched):
        if one >= 0:
            both[..., one] += table[..., cluster, one]
            given[..., one] += table[..., cluster, :].sum(-1)
    return np.stack([both, given, table.sum(-2)], -2)


def class_ious(counts: np.ndarray) -> np.ndarray:
    """|A and B| / |A or B| of each class, from counts (..., 3, k): (..., k) float64; NaN for a class in neither."""
    both, given, there = (counts[..., row, :].astype(np.float64) for row in range(3))
    either = given + there - both
    return np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes that the ground truth has, from counts (..., 3, k): (...) float64; NaN if it has none.

    A class absent from the ground truth does not count, even if predicted: its pixels already lower the IoU of their
    true classes.
    """
    present = counts[..., 2, :] > 0
    ious = np.where(present, np.nan_to_num(class_ious(counts)), 0.0)
    number = present.sum(-1)
    return np.divide(ious.sum(-1), number, out=np.full(number.shape, np.nan), where=number > 0)


def pixel_accuracy(counts: np.ndarray) -> np.ndarray:
    """The share of pixels that have their own class, from counts (..., 3, k): (...) float64."""
    return counts[..., 0, :].sum(-1) / counts[..., 2, :].sum(-1)


def bootstrap_interval(counts: np.ndarray, draws: int, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean IoU over images drawn with replacement, from counts (b, 3, k) of each image.

    Counts of the drawn images are summed before IoU is taken. Class centres and threshold are those of all images.
    """
    return percentile(iou_draws(counts, bootstrap_weights(len(counts), draws, seed)), level)


def iou_draws(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean IoU under each weighting (T, b) of images, from counts (b, 3, k) of each: (T,) float64."""
    return np.concatenate([mean_iou(totals) for totals in sums_of_drawn(weights, counts)])


def adjusted_rand(table: np.ndarray) -> float:
    """The adjusted Rand index of two labellings, from their contingency table (q, k) (Hubert and Arabie 1985).

    (index - expected) / (maximum - expected) over pairs of pixels; 1 where both put every pixel alone or all together.
    scikit-learn needs one label per pixel; the table's size does not depend on the number of pixels.
    """

    def pairs(counts: np.ndarray) -> float:
        values = counts.astype(np.float64)
        return float((values * (values - 1) / 2).sum())

    index, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    total = pairs(table.sum(keepdims=True))
    expected = rows * columns / total if total else 0.0
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else (index - expected) / (largest - expected)
