"""Which nodes stand for all the others: uniform, or farthest-point."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["SAMPLINGS", "farthest_points", "uniform_sample"]

CANDIDATES_PER_POINT = 8


def uniform_sample(total: int, size: int, seed: int) -> Tensor:
    """`size` different node ids out of `total`, each set equally likely: (size,) int64, ascending, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(total, generator=generator)[:size].sort().values


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


def sample_uniform(total: int, size: int, seed: int, read: Callable[[Tensor], Tensor]) -> Tensor:
    """Node ids by `uniform_sample`; features are not read."""
    return uniform_sample(total, size, seed)


def sample_farthest(total: int, size: int, seed: int, read: Callable[[Tensor], Tensor]) -> Tensor:
    """Node ids by `farthest_points` among 8 * size nodes drawn uniformly (all of them where there are fewer).

    `read` gives the unit rows of ascending ids.
    """
    pool = uniform_sample(total, min(total, CANDIDATES_PER_POINT * size), seed)
    return pool[farthest_points(read(pool), size, seed).cpu()].sort().values


SAMPLINGS: dict[str, Callable[[int, int, int, Callable[[Tensor], Tensor]], Tensor]] = {
    "uniform": sample_uniform,
    "fps": sample_farthest,
}
