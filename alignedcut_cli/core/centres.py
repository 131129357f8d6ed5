"""Centres of concepts, and the nodes in the ball around each (paper, Sec. 3.3 and 3.4)."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import NumericsError

__all__ = ["ball_members", "farthest_centres"]


def farthest_centres(places: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` row ids of `places` (M, d), each the farthest (Euclidean) from those before it: (count,) int64.

    The first is drawn by `seed`; ties go to the smaller id. Raises NumericsError for fewer different places than count.
    """
    points = np.asarray(places, np.float64)
    chosen = np.empty(count, np.int64)
    nearest = np.full(len(points), np.inf)  # squared distance to the nearest centre
    for number in range(count):
        if number == 0 and len(points):
            chosen[0] = np.random.default_rng(seed).integers(len(points))
        elif not len(points) or nearest.max() == 0:
            raise NumericsError(f"{count} centres were asked for, there are {number} different places")
        else:
            chosen[number] = nearest.argmax()
        nearest = np.minimum(nearest, ((points - points[chosen[number]]) ** 2).sum(1))
    return chosen


def ball_members(places: np.ndarray, centres: np.ndarray, radius: float) -> np.ndarray:
    """Of each place (M, d) the index of its nearest centre (k, d) if that is within `radius`, else -1: (M,) int64.

    A place in several balls belongs to the nearest centre, of equally near ones to the first.
    """
    points, around = np.asarray(places, np.float64), np.asarray(centres, np.float64)
    apart = np.stack([((points - centre) ** 2).sum(1) for centre in around], 1)  # (M, k)
    nearest = apart.argmin(1)
    return np.where(apart.min(1) <= radius**2, nearest, -1).astype(np.int64)
