"""Upper bounds of all cosines from a few channels, which leave few pairs whose cosine must be computed to find the largest.

In any orthonormal axes q k = q1 k1 + q2 k2 <= q1 k1 + |q2| |k2| (Cauchy and Schwarz), with the leading d' channels in q1
and k1. In the principal axes of the rows, little of their length is in the others. So a product over d' + 1 channels,
[q1, |q2|] with [k1, |k2|], bounds every cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Bounds", "cosine_bounds", "like_beside_like"]

SMALLEST = 4096
"""Queries and keys from which on it pays to look for axes."""
STEP = 16
"""Counts of leading channels that are tried are multiples of it."""
_QUERIES, _KEYS = 256, 4096
_ONE_BY_ONE = 16
"""The time of a cosine computed for one pair, over that of one in a product of all."""
_RISING = 3
"""While a search goes on, a row keeps what is among its nearest so far: about three times as many as in the end."""
_ROUNDING = 2.0**-22
"""What rounding in float32 may add to a product of unit rows, per channel."""


@dataclass(frozen=True)
class Bounds:
    """q_i k_j <= queries_i keys_j + slack, of (n, c) with (M, c), float32 rows of at most length 1."""

    queries: Tensor
    keys: Tensor
    slack: float


def cosine_bounds(queries: Tensor, keys: Tensor, kept: int, per_image: int | None) -> Bounds:
    """Bounds of the cosines of unit rows (n, D) with keys (M, D), for a search of the `kept` largest of each query.

    As many channels as a sample says take least time; all of them, and no bound but the cosine itself, where none pays.
    One tensor for both gives one tensor for both.
    """
    width = queries.shape[1]
    slack = _ROUNDING * width
    if min(len(queries), len(keys)) < SMALLEST:
        return Bounds(queries, keys, slack)
    axes = _principal_axes(queries, keys)
    leading = _leading(queries, keys, axes, kept, per_image)
    if leading == width:
        return Bounds(queries, keys, slack)
    short = _shortened(queries, axes, leading)
    return Bounds(short, short if keys is queries else _shortened(keys, axes, leading), slack)


def _principal_axes(queries: Tensor, keys: Tensor) -> Tensor:
    """Orthonormal axes (D, D), those first along which a sample of both is longest."""
    rows = torch.cat([one[_sample(len(one), 4 * _KEYS)] for one in (queries, keys)]).double()
    return torch.linalg.eigh(rows.T @ rows)[1].flip(1).float()


def _sample(count: int, most: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, most)).long()


def _leading(queries: Tensor, keys: Tensor, axes: Tensor, kept: int, per_image: int | None) -> int:
    """The leading channels with which the search takes least time, as a sample of cosines has it."""
    ids = [_sample(len(one), most) for one, most in ((queries, _QUERIES), (keys, _KEYS))]
    left, right = (one[own] @ axes for one, own in zip((queries, keys), ids, strict=True))
    cosines = left @ right.T
    foreign = torch.ones_like(cosines, dtype=torch.bool)
    if per_image:
        foreign = ids[0][:, None] // per_image != ids[1] // per_image
        cosines[~foreign] = -2
    rank = min(len(ids[1]), max(1, round(_RISING * kept * len(ids[1]) / len(keys))))
    least = cosines.topk(rank, 1).values[:, -1:]
    width, bound = queries.shape[1], torch.zeros_like(cosines)
    best, best_cost = width, width * (1 + _ONE_BY_ONE * rank / len(ids[1]))
    for leading in range(STEP, width, STEP):
        own = slice(leading - STEP, leading)
        bound += left[:, own] @ right[:, own].T
        rest = left[:, leading:].norm(dim=1)[:, None] * right[:, leading:].norm(dim=1)
        share = float(((bound + rest >= least) & foreign).float().mean())
        cost = leading + 1 + _ONE_BY_ONE * width * share
        if cost < best_cost:
            best, best_cost = leading, cost
    return best


def _shortened(rows: Tensor, axes: Tensor, leading: int) -> Tensor:
    """[q1, |q2|] of each row q (n, D), with d' = `leading` channels in q1: (n, d' + 1)."""
    found = torch.empty(len(rows), leading + 1)
    for start in range(0, len(rows), 16384):
        own = slice(start, start + 16384)
        turned = rows[own] @ axes
        found[own, :leading] = turned[:, :leading]
        found[own, leading] = turned[:, leading:].norm(dim=1)
    return found


def like_beside_like(queries: Tensor, keys: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Numbers of queries (n,) and of keys (M,), both unit rows, in an order in which like ones are neighbours.

    They lie in cells of about `size` keys, each around one of the keys. One tensor for both gives one order for both.
    """
    centres = keys[_sample(len(keys), len(keys) // size + 1)].T
    theirs = _nearest_of(keys, centres).argsort(stable=True)
    return (theirs if keys is queries else _nearest_of(queries, centres).argsort(stable=True)), theirs


def _nearest_of(rows: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([(part @ centres).argmax(1) for part in rows.split(16384)])
