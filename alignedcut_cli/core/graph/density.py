"""Node weights that compensate sampling density: 1 / the size of the Voronoi cell of a node."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.parallel_tiles import fold_tiles
from alignedcut_cli.core.graph.quantised_cosines import columns_at
from alignedcut_cli.core.numerics import Tick

__all__ = ["cell_weights", "nearest_centres", "voronoi_weights"]


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
    nearest = nearest_centres(read, 0, total, centres, precision=precision, tile=tile, tick=tick)
    return cell_weights(torch.bincount(nearest, minlength=len(centres)))[nearest]


def nearest_centres(
    read: Callable[[int, int], Tensor],
    start: int,
    stop: int,
    centres: Tensor,
    *,
    precision: str = "float32",
    tile: int = 1024,
    tick: Tick | None = None,
) -> Tensor:
    """The number of the nearest of the centres (m, D), unit rows, of the nodes start to stop: (t,) int32."""
    nearest = torch.empty(stop - start, dtype=torch.int32, device=centres.device)
    columns = columns_at(centres, 1.0, precision)

    def work(first: int, last: int) -> None:
        nearest[first:last] = columns(unit_rows(read(start + first, start + last))).argmax(1).int()

    fold_tiles(stop - start, tile, centres.device, work, lambda _: None, tick)
    return nearest


def cell_weights(sizes: Tensor) -> Tensor:
    """The weight of a node in each of m cells of so many nodes, mean 1 over all nodes: (m,) float32.

    With n cells that hold nodes, the mean of 1 / size over all M nodes is n / M.
    """
    scale = sizes.sum().double() / (sizes > 0).sum()
    return (scale / sizes.clamp_min(1)).float()
