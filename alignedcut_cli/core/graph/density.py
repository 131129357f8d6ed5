"""Node weights that compensate sampling density: 1 / the size of the Voronoi cell of a node."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.quantised_cosines import columns_at
from alignedcut_cli.core.numerics import Tick

__all__ = ["voronoi_weights"]


def voronoi_weights(
    read: Callable[[int, int], Tensor],
    total: int,
    centres: Tensor,
    *,
    precision: str = "float32",
    tile: int = 1024,
    tick: Tick | None = None,
) -> Tensor:
    """w_i = 1 / #{j : the nearest centre of j is that of i}, scaled to mean 1: (M,) float32, on the centres' device.

    `centres` (m, D) are unit rows, spread evenly over the data (farthest points): then each region of the space has the
    same weight, however many nodes it holds. Around uniformly drawn centres all cells have about the same size, and the
    weights no effect. `read(start, stop)` returns features (stop - start, D). Work: one pass, 2 M D m.
    """
    nearest = torch.empty(total, dtype=torch.int32, device=centres.device)
    columns = columns_at(centres, 1.0, precision)
    for start in range(0, total, tile):
        stop = min(start + tile, total)
        nearest[start:stop] = columns(unit_rows(read(start, stop))).argmax(1).int()
        if tick:
            tick(stop - start)
    sizes = torch.bincount(nearest, minlength=len(centres)).float()
    weights = sizes.reciprocal()[nearest]
    return weights.div_(weights.mean())
