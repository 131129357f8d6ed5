"""Whether foreground and background part between two layers: total variation, and its permutation test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Bifurcation", "bifurcation", "holm", "matched_differences", "total_variation"]


@dataclass(frozen=True)
class Bifurcation:
    """How far two groups part within images.

    rows (k,) is the matched total variation of each concept, weights (k,) its share in `distance`, which is their mean;
    `expected` is the mean distance under the null, `p` the share of flips that reach the distance, `images` those that
    have both groups in one concept.
    """

    rows: np.ndarray
    weights: np.ndarray
    distance: float
    expected: float
    p: float
    images: int


def total_variation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1/2 sum_j |p_j - q_j| along the last axis: (...) float64 in [0, 1]; 0 where a row is empty (all zeros)."""
    apart = np.abs(one - other).sum(-1) / 2
    return np.where((one.sum(-1) > 0) & (other.sum(-1) > 0), apart, 0.0)


def matched_differences(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each image and concept w (p - q): (B, k, k + 1) float64, and w itself: (B, k).

    `one` and `other` (B, k, k + 1) count the nodes of an image that pass from concept i to j (last: none) in two groups;
    p and q are their rows as probabilities. w = f b / (f + b) with row sums f and b is Mantel and Haenszel's weight: an
    image counts in a concept as far as it has nodes of both groups there, and not at all where it lacks one.
    """
    first, second = one.sum(-1).astype(np.float64), other.sum(-1).astype(np.float64)  # each (B, k)
    total = first + second
    both = (first > 0) & (second > 0)
    weights = np.divide(first * second, total, out=np.zeros_like(total), where=both)
    rows = one / np.where(both, first, 1)[..., None] - other / np.where(both, second, 1)[..., None]
    return rows * weights[..., None], weights


def bifurcation(one: np.ndarray, other: np.ndarray, *, permutations: int, seed: int) -> Bifurcation:
    """The distance between two groups' transitions, matched by image and concept, and its p-value.

    Row i: P_i = sum_b w_bi p_bi / sum_b w_bi, Q_i likewise; distance = sum_i W_i TV(P_i, Q_i), W_i = sum_b w_bi / sum.
    Null: in each image the two groups pass alike from the concept that they share, so the difference of an image is as
    likely to point one way as the other. Test: the sign of all differences of an image is flipped at random, image by
    image, which keeps together all that is dependent (the nodes of one image and their neighbours, in all concepts) and
    leaves sizes of groups as they are. p = (1 + flips that reach the distance) / (1 + permutations).

    `one`, `other`: (B, k, k + 1) counts. With no image that has both groups in a concept: distance 0 and p = 1.
    """
    differences, weights = matched_differences(one, other)
    used = weights.sum(1) > 0
    total = weights.sum()
    if not used.any():
        nothing = np.zeros(one.shape[1])
        return Bifurcation(nothing, nothing, 0.0, 0.0, 1.0, 0)
    flat = differences[used].reshape(int(used.sum()), -1) / total  # (b, k (k + 1))
    concepts = weights.sum(0) / total  # (k,)
    parted = np.abs(flat.sum(0)).reshape(differences.shape[1:]).sum(-1) / 2  # (k,)
    rows = np.divide(parted, concepts, out=np.zeros_like(parted), where=concepts > 0)
    distance = float(parted.sum())
    signs = np.random.default_rng(seed).integers(0, 2, (permutations, len(flat))) * 2.0 - 1
    flipped = np.abs(signs @ flat).sum(1) / 2  # (permutations,)
    reached = int((flipped >= distance * (1 - 1e-9)).sum())
    p = (1 + reached) / (1 + permutations)
    return Bifurcation(rows, concepts, distance, float(flipped.mean()), p, int(used.sum()))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values (n,) adjusted by Holm's step-down rule for n tests: (n,) float64."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted
