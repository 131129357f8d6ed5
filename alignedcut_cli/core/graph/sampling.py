"""Sampled nodes and landmarks: drawn uniformly, as farthest points, or as means of neighbourhoods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.numerics import stream

__all__ = ["LANDMARK_CHOICES", "SAMPLINGS", "choose_landmarks", "farthest_points", "nearest_means", "uniform_sample"]

CANDIDATES_PER_POINT = 8
PART = 1024
Read = Callable[[Tensor], Tensor]
"""A function from ascending node ids (m,) to their unit rows (m, D)."""


def uniform_sample(total: int, size: int, seed: int) -> Tensor:
    """`size` node ids drawn uniformly without replacement from `total`: (size,) int64, ascending, on the CPU."""
    drawn = np.random.default_rng(seed).choice(total, size, replace=False, shuffle=False)  # does not list all ids
    return torch.from_numpy(np.sort(drawn))


def farthest_points(units: Tensor, size: int, seed: int) -> Tensor:
    """`size` ids of unit rows (M, D), each the farthest (smallest cosine) from those before it: (size,) int64.

    The first is drawn by `seed`; ties go to the smaller id. Work: size * M * D.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.empty(size, dtype=torch.int64, device=units.device)
    chosen[0] = int(torch.randint(len(units), (1,), generator=generator))
    nearest = torch.full((len(units),), -2.0, device=units.device)
    for number in range(1, size):
        nearest = torch.maximum(nearest, units @ units[chosen[number - 1]])
        nearest[chosen[number - 1]] = 3.0
        chosen[number] = nearest.argmin()
    return chosen


def sample_uniform(total: int, size: int, seed: int, read: Read) -> Tensor:
    """Node ids by `uniform_sample`; features are not read."""
    return uniform_sample(total, size, seed)


def sample_farthest(total: int, size: int, seed: int, read: Read) -> Tensor:
    """Node ids by `farthest_points` among 8 * size nodes drawn uniformly (all of them where there are fewer).

    `read` returns the unit rows of ascending ids.
    """
    pool = uniform_sample(total, min(total, CANDIDATES_PER_POINT * size), seed)
    return pool[farthest_points(read(pool), size, seed).cpu()].sort().values


SAMPLINGS: dict[str, Callable[[int, int, int, Read], Tensor]] = {
    "uniform": sample_uniform,
    "fps": sample_farthest,
}
LANDMARK_CHOICES = ("means", *SAMPLINGS)


def choose_landmarks(choice: str, total: int, size: int, seed: int, read: Read) -> tuple[Tensor, Tensor]:
    """Node ids (m,), ascending, and m landmarks (m, D), unit rows, by one of LANDMARK_CHOICES; m = `size`.

    uniform, fps: the landmarks are those nodes. means: the `nearest_means` around nodes drawn uniformly, among 8 m nodes
    (all of them where there are fewer). `read` returns the unit rows of ascending ids. Work of means: 16 m^2 D.
    """
    if choice != "means":
        ids = SAMPLINGS[choice](total, size, seed, read)
        return ids, read(ids)
    pool = uniform_sample(total, min(total, CANDIDATES_PER_POINT * size), seed)
    rows = read(pool)
    drawn = uniform_sample(len(pool), size, stream(seed, "start"))
    return pool[drawn], nearest_means(rows, rows[drawn.to(rows.device)])


def nearest_means(units: Tensor, centres: Tensor) -> Tensor:
    """The mean direction of the rows (n, D) nearest to each centre (m, D), all unit rows: one step of spherical k-means.

    A centre without rows, or whose rows cancel, is kept. As landmarks of a low-rank factor, means of neighbourhoods leave
    a smaller error than single nodes (Zhang, Tsang and Kwok 2008), as the noise of single nodes is averaged out.
    """
    nearest = torch.cat([(part @ centres.T).argmax(1) for part in units.split(PART)])
    sums = torch.zeros_like(centres).index_add_(0, nearest, units)
    lengths = sums.norm(dim=1, keepdim=True)
    return torch.where(lengths > 1e-3, sums / lengths.clamp_min(1e-3), centres)
