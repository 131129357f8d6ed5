"""The word nearest to each concept in a joint space of images and text, and its permutation test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignedcut_cli.core.groups.unit_rows import unit_rows
from alignedcut_cli.core.resample.nulls import holm, tail_p

__all__ = ["LARGEST_P", "Names", "image_shares", "name_concepts", "orders_needed"]

LARGEST_P = 0.05
"""A concept with a larger p (Holm) stays unnamed."""
FEWEST_ORDERS = 999


@dataclass(frozen=True)
class Names:
    """Of k concepts and q words: cosines (k, q); the nearest word (k,), -1 where a concept's share is the same in all
    images; its p and Holm's p (k,); the share of bootstrap draws with the same nearest word (k,). NaN where undefined.
    """

    cosines: np.ndarray
    nearest: np.ndarray
    p: np.ndarray
    adjusted: np.ndarray
    same: np.ndarray


def image_shares(concept: np.ndarray, images: np.ndarray, count: int, total: int) -> np.ndarray:
    """The share of each image's nodes that lie in each concept: (count, total) float64; nodes (n,) are in concepts -1
    (none) to count - 1 and in images 0 to total - 1."""
    inside = concept >= 0
    found = np.zeros((count, total))
    np.add.at(found, (concept[inside], images[inside]), 1.0)
    return found / np.bincount(images, minlength=total).clip(min=1)


def orders_needed(concepts: int) -> int:
    """The number of permutations with which the smallest p of `concepts` tests is .02 after Holm; at least 999."""
    return max(FEWEST_ORDERS, 50 * concepts - 1)


def name_concepts(
    shares: np.ndarray, embeddings: np.ndarray, words: np.ndarray, draws: np.ndarray, orders: np.ndarray
) -> Names:
    """The nearest word of each concept, from `shares` (k, n) of images, `embeddings` (n, D) and the vectors of words (q, D).

    c = sum_b (s_b - mean s) (e_b - mean e), t_w = q_w - mean q; nearest: argmax_w cos(c, t_w). p: how often
    max_w c.t_w / |t_w| is as large with the shares permuted over images by `orders` (P, n); Holm over concepts. `draws`
    (T, n) are bootstrap weights of images.
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(0, dtype=np.float64)
    alike = centred @ unit_rows(words.astype(np.float64) - words.mean(0, dtype=np.float64)).T  # (n, q)
    apart = shares - shares.mean(1, keepdims=True)
    lengths = np.linalg.norm(apart @ centred, axis=1)  # (k,)
    known = lengths > 1e-9 * max(1.0, float(np.abs(centred).max()))
    scores = apart @ alike  # (k, q)
    best = scores.max(1)
    null = np.array([(apart @ alike[order]).max(1) for order in orders]).reshape(len(orders), len(shares))  # (P, k)
    p = np.full(len(shares), np.nan)
    p[known] = [tail_p(best[one], null[:, one], 1e-9 * abs(best[one])) for one in np.flatnonzero(known)]
    adjusted = p.copy()
    adjusted[known] = holm(p[known])
    cosines = np.full(scores.shape, np.nan)
    cosines[known] = scores[known] / lengths[known, None]
    nearest = np.where(known, scores.argmax(1), -1)
    return Names(cosines, nearest, p, adjusted, np.where(known, _same(shares, alike, nearest, draws), np.nan))


def _same(shares: np.ndarray, alike: np.ndarray, nearest: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The share of bootstrap draws (T, n) whose nearest word is that of the whole sample, (k,)."""
    if not len(draws):
        return np.full(len(shares), np.nan)
    found = np.zeros(len(shares))
    for weights in draws:
        products = (shares * weights) @ alike - np.outer(shares @ weights, weights @ alike) / weights.sum()
        found += products.argmax(1) == nearest
    return found / len(draws)
