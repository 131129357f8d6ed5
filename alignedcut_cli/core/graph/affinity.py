"""Products with the affinity of Eq. 3, in tiles: the whole matrix is never held."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from alignedcut_cli.core.numerics import NumericsError, Tick

__all__ = ["LOG2_E", "affinity", "affinity_product", "tile_rows", "unit_rows"]

LOG2_E = 1 / math.log(2)
"""exp(x) = 2^(x log2 e), and torch takes a power of 2 four times as fast on a CPU."""


def tile_rows(memory: int, device: torch.device) -> int:
    """Side of a square tile of which two fit in `memory` bytes, limited to what suits the caches (CPU) or the GPU."""
    largest = 1024 if device.type == "cpu" else 8192
    return max(16, min(largest, int((memory / 8) ** 0.5)))


def unit_rows(features: Tensor) -> Tensor:
    """Rows of length 1: v_i / |v_i|, float32, shape (M, D), on the device of `features`.

    Raises NumericsError for rows that are zero (their cosine is undefined) or not finite.
    """
    rows = features.float()
    norms = rows.norm(dim=1, keepdim=True)  # (M, 1)
    bad = ~torch.isfinite(norms) | (norms == 0)
    if bad.any():
        first = int(bad.squeeze(1).nonzero()[0, 0])
        kind = "zero" if norms[first] == 0 else "not finite"
        raise NumericsError(f"{int(bad.sum())} of {len(rows)} nodes have no direction: node {first} is {kind}")
    return rows / norms


def affinity(left: Tensor, right: Tensor, gamma: float) -> Tensor:
    """A_ij = exp((cos(v_i, v_j) - 1) / gamma) between unit rows (M, D) and (m, D): (M, m). Eq. 3 has gamma = 1."""
    return (left @ right.T).sub_(1).mul_(LOG2_E / gamma).exp2_()


def affinity_product(units: Tensor, vectors: Tensor, gamma: float, tile: int, tick: Tick | None = None) -> Tensor:
    """A X for unit rows (M, D) and X (M, b): (M, b), float32.

    Work: M^2 D + 2 M^2 b + M^2 / 2 exponentials, as A is symmetric and each tile is used twice. Extra memory: two tiles.
    """
    nodes = len(units)
    result = torch.zeros_like(vectors)
    for top in range(0, nodes, tile):
        rows = slice(top, min(top + tile, nodes))
        for left in range(top, nodes, tile):
            columns = slice(left, min(left + tile, nodes))
            block = affinity(units[rows], units[columns], gamma)  # (tile, tile)
            result[rows].addmm_(block, vectors[columns])
            if left > top:
                result[columns].addmm_(block.T, vectors[rows])
        if tick:
            tick(min(tile, nodes - top))
    return result
