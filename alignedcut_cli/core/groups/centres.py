"""Concepts in a low-dimensional space: farthest-point centres, and the nodes in the balls around them."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import NumericsError

__all__ = ["ball_members", "clear_radius", "farthest_centres"]


def farthest_centres(places: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Ids of at most `count` of the points (M, d), each the farthest from those before it: int64, in order of choice.

    Distances are Euclidean; the first id is drawn by `seed`; ties go to the smaller id. Fewer ids are returned if fewer
    points are distinct. Raises NumericsError if there are no points.
    """
    if not len(places):
        raise NumericsError("there is no place to choose from")
    columns = _columns(places)
    chosen = [int(np.random.default_rng(seed).integers(len(places)))]
    nearest = np.full(len(places), np.inf)
    while len(chosen) < count:
        np.minimum(nearest, _squares(columns, columns[:, chosen[-1]]), out=nearest)
        farthest = int(nearest.argmax())
        if nearest[farthest] == 0:
            break
        chosen.append(farthest)
    return np.array(chosen, np.int64)


def clear_radius(centres: np.ndarray) -> float:
    """Half the smallest distance between two centres (k, d), at which no two balls overlap; 0 for one centre.

    `farthest_centres` finds one centre where all points are equal: they are all at distance 0.
    """
    points = centres.astype(np.float64)
    if len(points) < 2:
        return 0.0
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)  # (k, k)
    return float(apart[np.triu_indices(len(points), 1)].min() / 2)


def ball_members(places: np.ndarray, centres: np.ndarray, radius: float) -> np.ndarray:
    """The index of the nearest centre (k, d) within `radius` of each point (M, d), -1 where there is none: (M,) int64.

    A point at exactly the radius is inside; ties go to the smaller index.
    """
    columns, nearest = _columns(places), np.full(len(places), np.inf)
    found = np.full(len(places), -1, np.int64)
    for number, centre in enumerate(centres.astype(np.float64)):
        apart = np.sqrt(_squares(columns, centre))  # (M,)
        closer = (apart <= radius) & (apart < nearest)
        found[closer], nearest[closer] = number, apart[closer]
    return found


def _columns(places: np.ndarray) -> np.ndarray:
    """Points (M, d) as (d, M) float64: sums over the d axes run along the points, several times as fast."""
    return places.T.astype(np.float64, order="C")


def _squares(columns: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The squared distance of each of the points (d, M) to one (d,): (M,)."""
    return ((columns - point[:, None]) ** 2).sum(0)
