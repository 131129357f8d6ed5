"""How much of a concept is recovered when images are resampled, or when its centres are chosen from another start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alignedcut_cli.core.groups.centres import ball_members, clear_radius, farthest_centres

__all__ = ["UNSTABLE", "best_overlaps", "drawn_overlaps", "seeded_overlaps"]

UNSTABLE = 0.5
"""Hennig (2007): a cluster of which less than half is recovered, on average, has dissolved."""


def best_overlaps(one: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    """The largest intersection over union of each group of `one` with a group of `other`: (count,) float64.

    Both (M,) give the group of each point, -1 for none; NaN for an empty group.
    """
    most = max(count, int(other.max(initial=-1)) + 1)
    table = np.bincount((one + 1) * (most + 1) + other + 1, minlength=(count + 1) * (most + 1))
    table = table.reshape(count + 1, most + 1)
    sizes, others = table.sum(1)[1:, None], table.sum(0)[None, 1:]
    both = table[1:, 1:]
    either = sizes + others - both
    ious = np.divide(both, either, out=np.zeros(both.shape), where=either > 0).max(1)
    return np.where(sizes[:, 0] > 0, ious, np.nan)


def drawn_overlaps(
    places: np.ndarray,
    concept: np.ndarray,
    images: np.ndarray,
    draws: np.ndarray,
    count: int,
    radius: float | None,
    seed: int,
) -> np.ndarray:
    """`best_overlaps` of the concepts (M,) with those found in each bootstrap sample of images: (T, count).

    Centres are chosen among the points (M, d) of the images (M,) that a draw (T, B) holds; their balls then take from all
    points. `radius` None: `clear_radius` of each choice.
    """
    found = []
    for draw in draws:
        there = np.flatnonzero(draw[images] > 0)
        found.append(best_overlaps(concept, _found(places, there, count, radius, seed), count))
    return np.stack(found)


def seeded_overlaps(
    places: np.ndarray, concept: np.ndarray, count: int, radius: float | None, seeds: Sequence[int]
) -> np.ndarray:
    """`best_overlaps` with the concepts that other first centres lead to, over the same points: (T, count)."""
    everywhere = np.arange(len(places))
    return np.stack([best_overlaps(concept, _found(places, everywhere, count, radius, seed), count) for seed in seeds])


def _found(places: np.ndarray, among: np.ndarray, count: int, radius: float | None, seed: int) -> np.ndarray:
    """The concept of each point, for centres chosen `among` some of them."""
    centres = places[among[farthest_centres(places[among], count, seed)]]
    return ball_members(places, centres, clear_radius(centres) if radius is None else radius)
