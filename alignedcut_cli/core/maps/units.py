"""Units of a map standardised over its images."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["standardise_units"]

_CONSTANT = 1e-6
"""A unit whose standard deviation is at most this fraction of its root mean square counts as constant."""


def standardise_units(rows: Tensor, batch: int) -> Tensor:
    """Standardise each unit of `rows` (n, s) over the n images (ddof 0), in place.

    A constant unit becomes 0. Moments are accumulated in float64, `batch` images at a time, which bounds the memory.
    """
    sums, squares = (torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device) for _ in range(2))
    for piece in rows.split(batch):
        wide = piece.double()
        sums += wide.sum(0)
        squares += wide.square_().sum(0)
    mean, square = sums / len(rows), squares / len(rows)
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    varies = deviation > _CONSTANT * square.sqrt()
    return rows.sub_(mean.float()).mul_(torch.where(varies, 1 / deviation, 0.0).float())
