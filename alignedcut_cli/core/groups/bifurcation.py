"""Whether foreground and background diverge between two layers: total variation, and its permutation test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Bifurcation", "bifurcation", "total_variation", "without_effects"]


_ROUNDS, _TOLERANCE, _NOTHING = 1000, 1e-8, 1e-6


@dataclass(frozen=True)
class Bifurcation:
    """The divergence of two groups, with effects of image and position removed.

    rows (k,) is the matched total variation of each concept, weights (k,) its share in `distance`, which is their mean;
    `expected` is the distance that chance gives, `p` the share of permutations that reach what was found, `images` those
    that have both groups in one concept.
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


def without_effects(values: np.ndarray, image: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The residuals of `values` (n, c) after additive effects of `image` and `place` (n,), least squares: (n, c) float64.

    Alternate subtraction of the means of images and of places, to 1e-8 or at most 1000 rounds.
    """
    from scipy.sparse import csr_array

    kinds = [np.unique(ids, return_inverse=True)[1] for ids in (image, place)]
    ones, index = np.ones(len(values)), np.arange(len(values))
    sums = [csr_array((ones, (kind, index)), (kind.max() + 1, len(values))) for kind in kinds]
    sizes = [np.bincount(kind)[:, None] for kind in kinds]
    left = values.astype(np.float64)
    for _ in range(_ROUNDS):
        moved = 0.0
        for kind, total, size in zip(kinds, sums, sizes, strict=True):
            means = (total @ left) / size
            left = left - means[kind]
            moved = float(np.abs(means).max())
        if moved < _TOLERANCE:
            break
    return left


def bifurcation(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray, concepts: int, *, permutations: int, seed: int
) -> Bifurcation:
    """The distance between two groups' transitions, matched by concept, image and place, and its p-value.

    `before`, `after` (B, P) are the concepts (0 to k - 1, or -1) of the P places of an image in two layers, `labels`
    (B, P) its map of groups: 1, 0, or -1 for neither, which counts as the map's mean. Over the nodes that leave concept i,
    e is their one-hot next concept (last: none) and l their label, both freed of additive effects of image and place;
    S_bij = sum_p l_bp e_bpj, w_bi = sum_p l_bp^2. sum_b S_bij / sum_b w_bi is the least-squares coefficient of the label:
    how much likelier group 1 goes from i to j than group 0 of the same image and place. Half the sum of its absolute
    values over j is TV_i, and the distance is sum_i W_i TV_i with W_i = sum_b w_bi / sum_bi w_bi.

    Null: the label maps belong to no image more than to any other. Test: whole maps are permuted between images, which
    keeps the dependence of the nodes of an image, and where in an image foreground tends to be; T = sum_ij |sum_b S_bij| /
    sum_ij sqrt(sum_b S_bij^2) is compared with its value after each. T is relative to its own spread, so that groups which
    already lie in different concepts, and thus have less to compare, are not taken for divergence here.
    p = (1 + permutations that reach T) / (1 + permutations). With nothing to compare: distance 0 and p = 1.
    Holds B x B x (k + 1) and permutations x B x (k + 1) numbers.
    """
    codes = _codes(labels)
    draws = np.random.default_rng(seed)
    orders = np.stack([np.arange(len(codes)), *(draws.permutation(len(codes)) for _ in range(permutations))])
    weights = np.zeros((len(codes), concepts))
    parted = np.zeros(concepts)
    reached, spread = np.zeros(len(orders)), np.zeros(len(orders))
    for concept in range(concepts):
        image, place = np.nonzero(before == concept)
        if not len(image):
            continue
        onehot = np.eye(concepts + 1)[np.where(after[image, place] < 0, concepts, after[image, place])]
        free = without_effects(np.column_stack([codes[image, place], onehot]), image, place)
        np.add.at(weights[:, concept], image, free[:, 0] ** 2)
        rests = np.zeros((*codes.shape, concepts + 1))
        rests[image, place] = free[:, 1:]
        scores = np.einsum("bpj,cp->bcj", rests, codes, optimize=True)  # of image b with the map of image c
        found = scores[np.arange(len(codes)), orders]  # (1 + permutations, B, k + 1)
        sums = np.abs(found.sum(1)).sum(-1) / 2
        parted[concept] = sums[0]
        reached += sums
        spread += np.sqrt((found**2).sum(1)).sum(-1) / 2
    total = weights.sum()
    if total < _NOTHING:
        return Bifurcation(np.zeros(concepts), np.zeros(concepts), 0.0, 0.0, 1.0, 0)
    shares = weights.sum(0)  # (k,)
    rows = np.divide(parted, shares, out=np.zeros(concepts), where=shares > _NOTHING)
    ratios = np.divide(reached, spread, out=np.zeros_like(reached), where=spread > _NOTHING)  # T
    p = float((ratios >= ratios[0] - 1e-9).mean())
    images = _images_with_both(before, labels, concepts)
    return Bifurcation(rows, shares / total, reached[0] / total, np.sqrt(2 / np.pi) * spread[0] / total, p, images)


def _images_with_both(before: np.ndarray, labels: np.ndarray, concepts: int) -> int:
    """Images that have both groups in one concept."""
    both = [((before == i) & (labels == 1)).any(1) & ((before == i) & (labels == 0)).any(1) for i in range(concepts)]
    return int(np.any(both, axis=0).sum())


def _codes(labels: np.ndarray) -> np.ndarray:
    """Labels as numbers: 1 and 0, and for neither the mean of the image's own (0 where it has none): (B, P) float64."""
    known = labels >= 0
    share = np.where(known, labels, 0).sum(1) / np.maximum(known.sum(1), 1)  # (B,)
    return np.where(known, labels, share[:, None]).astype(np.float64)
