"""Whether foreground and background diverge between two layers: total variation, and its joint permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alignedcut_cli.core.groups.two_way import without_effects
from alignedcut_cli.core.numerics import compiled
from alignedcut_cli.core.resample.nulls import tail_p

__all__ = ["Bifurcation", "bifurcation", "joint_p", "total_variation"]

_NOTHING, _TIE, _RANK = 1e-6, 1e-9, 1e-9


@dataclass(frozen=True)
class Bifurcation:
    """How far two groups of nodes diverge in one label map, with effects of image and position removed.

    rows (k,) is the matched total variation of each concept, weights (k,) its weight in `distance`, their mean; `expected`
    is the mean distance under the null, `ratios` (1 + P,) the test statistic observed and under each permutation, `images`
    the number of images that have both groups in one concept.
    """

    rows: np.ndarray
    weights: np.ndarray
    distance: float
    expected: float
    ratios: np.ndarray
    images: int

    @property
    def p(self) -> float:
        """The permutation p-value of this map alone, the observed order counted."""
        return joint_p([self])


def joint_p(maps: Sequence[Bifurcation]) -> float:
    """One p-value for several maps: that of the mean of their statistics, each permutation being the same for all maps."""
    mean = np.mean([one.ratios for one in maps], 0)
    return tail_p(mean[0], mean[1:], _TIE)


def total_variation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1/2 sum_j |p_j - q_j| along the last axis: (...) float64 in [0, 1]; 0 where a row is empty (all zeros)."""
    apart = np.abs(one - other).sum(-1) / 2
    return np.where((one.sum(-1) > 0) & (other.sum(-1) > 0), apart, 0.0)


def bifurcation(
    before: np.ndarray,
    after: np.ndarray,
    labels: np.ndarray,
    concepts: int,
    orders: np.ndarray,
    places: np.ndarray | None = None,
) -> Bifurcation:
    """The distance between two groups' transitions, matched by concept, image and place, and its null.

    `before`, `after` (B, P) are the concepts (0 to k - 1, or -1) of the P places of an image in two layers, `labels`
    (B, P) its map of groups: 1, 0, or -1 for neither, which counts as the map's mean. Over the nodes that leave concept i,
    e is their one-hot next concept (last: none) and l their label, both freed of additive effects of image and place;
    S_bij = sum_p l_bp e_bpj, w_bi = sum_p l_bp^2. sum_b S_bij / sum_b w_bi is the least-squares coefficient of the label:
    how much likelier group 1 is to go from i to j than group 0 at the same image and place. Half the sum of its absolute
    values over j is TV_i, and the distance is sum_i W_i TV_i with W_i = sum_b w_bi / sum_bi w_bi.

    Null: label maps are exchangeable between images. Test: whole maps are permuted between images, which keeps the
    dependence of the nodes of an image, and where in an image foreground tends to be; the statistic T = sum_ij |sum_b S_bij|
    / sum_ij sqrt(sum_b S_bij^2) is compared with its permuted values. T is relative to its own spread, so that groups which
    already lie in different concepts, and so have less to compare, do not count as divergence here, and so that the T of
    different maps can be averaged (`joint_p`). `orders` (P, B) are the permutations. With `places` (B, P, C), coordinates of
    the nodes before, e and l are freed of these too (linearly, in each concept), so that groups already separated within a
    concept, which move on unchanged, diverge little. With nothing to compare (no image
    with both groups in one concept) all T are 0 and p is 1. Memory: B B (k + 1).
    """
    codes = _codes(labels)
    orders = np.vstack([np.arange(len(codes)), orders])
    beside = [] if places is None else [places.astype(np.float64)]
    weights = np.zeros(concepts)
    parted = np.zeros(concepts)
    reached, spread = np.zeros(len(orders)), np.zeros(len(orders))
    onehot = np.eye(concepts + 1)[np.where(after < 0, concepts, after)]  # (B, P, k + 1)
    columns = np.concatenate([codes[..., None], onehot, *beside], -1)
    for concept in np.unique(before[before >= 0]).tolist():
        mine = before == concept
        free = without_effects(columns, mine)  # (n, 1 + k + 1 + C)
        if places is not None:
            free = _without_slopes(free[:, : concepts + 2], free[:, concepts + 2 :])
        weights[concept] = (free[:, 0] ** 2).sum()
        rests = np.zeros((*codes.T.shape, concepts + 1))
        rests.swapaxes(0, 1)[mine] = free[:, 1:]
        rests = rests.reshape(codes.shape[1], -1)
        scores = (codes @ rests).reshape(len(codes), len(codes), -1)  # of the map of image c on image b: (c, b, k + 1)
        first = reached[0]
        _add_permuted(scores, orders, np.empty((2, concepts + 1)), reached, spread)
        parted[concept] = reached[0] - first
    total, images = weights.sum(), _images_with_both(before, labels, concepts)
    if total < _NOTHING or not images:
        nothing = np.zeros(concepts)
        return Bifurcation(nothing, nothing, 0.0, 0.0, np.zeros(len(orders)), 0)
    rows = np.divide(parted, weights, out=np.zeros(concepts), where=weights > _NOTHING)
    ratios = np.divide(reached, spread, out=np.zeros_like(reached), where=spread > _NOTHING)  # T
    distance, expected = reached[0] / total, np.sqrt(2 / np.pi) * spread[0] / total
    return Bifurcation(rows, weights / total, distance, expected, ratios, images)


def _without_slopes(values: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """The residuals of `values` (n, c) after regression on `covariates` (n, C), both already free of other effects."""
    slopes = np.linalg.pinv(covariates.T @ covariates, rcond=_RANK, hermitian=True) @ (covariates.T @ values)
    return values - covariates @ slopes


@compiled
def _add_permuted(
    scores: np.ndarray, orders: np.ndarray, sums: np.ndarray, reached: np.ndarray, spread: np.ndarray
) -> None:
    """reached[p] += 1/2 sum_j |sum_b S_bj|, spread[p] += 1/2 sum_j sqrt(sum_b S_bj^2) with S_b = scores[orders[p, b], b].

    scores (B, B, k + 1) float64, orders (P, B) int64 of numbers below B, sums (2, k + 1) float64 as a buffer, reached and
    spread (P,) float64.
    """
    images, kinds = scores.shape[1], scores.shape[2]
    for p in range(len(orders)):
        sums[:] = 0.0
        for b in range(images):
            row = scores[orders[p, b], b]
            for j in range(kinds):
                sums[0, j] += row[j]
                sums[1, j] += row[j] * row[j]
        for j in range(kinds):
            reached[p] += abs(sums[0, j]) / 2
            spread[p] += np.sqrt(sums[1, j]) / 2


def _images_with_both(before: np.ndarray, labels: np.ndarray, concepts: int) -> int:
    """The number of images that have both groups in one concept."""
    both = [((before == i) & (labels == 1)).any(1) & ((before == i) & (labels == 0)).any(1) for i in range(concepts)]
    return int(np.any(both, axis=0).sum())


def _codes(labels: np.ndarray) -> np.ndarray:
    """Labels as numbers: 1 and 0, and for neither the mean of the image's own (0 where it has none): (B, P) float64."""
    known = labels >= 0
    share = np.where(known, labels, 0).sum(1) / np.maximum(known.sum(1), 1)  # (B,)
    return np.where(known, labels, share[:, None]).astype(np.float64)
