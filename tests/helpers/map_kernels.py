"""The kernels of core/maps on small inputs, for the test that each stays on its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from alignedcut_cli.core.maps import block, projection, strips, units
from alignedcut_cli.core.maps.workers import Workers

__all__ = ["MAP_KERNELS"]

On = Callable[[Any], Any]
IMAGES, UNITS, BATCH = 5, 30, 2


def rows() -> Tensor:
    return torch.randn(IMAGES, UNITS, generator=torch.Generator().manual_seed(0))


class Dense(projection.Projection):
    """A projection whose slices are dense: the pretended device has no sparse tensors."""

    def __init__(self, on: On) -> None:
        super().__init__(UNITS, 8, 0, torch.device("cpu"))
        self._on = on

    def slice(self, number: int) -> Tensor:
        return self._on(super().slice(number).to_dense())


def project(on: On, _: torch.device) -> Any:
    with Workers(1) as workers:
        return projection.project(lambda _: on(rows()), IMAGES, Dense(on), batch=BATCH, workers=workers)


def keep_strips(on: On, _: torch.device) -> Any:
    """`kept_of_strips` of a map, plain and standardised."""
    with Workers(1) as workers:
        return [
            strips.kept_of_strips(
                lambda _: block.aligned(on(rows())),
                UNITS,
                IMAGES,
                batch=BATCH,
                projection=Dense(on),
                standardise=standardise,
                workers=workers,
            )
            for standardise in (False, True)
        ]


MAP_KERNELS: dict[str, Callable[[On, Any], Any]] = {
    "maps.block.aligned": lambda on, _: block.aligned(on(rows())),
    "maps.block.mirror": lambda on, _: block.mirror(on(rows()[:, :IMAGES].contiguous())),
    "maps.block.tile_products": lambda on, _: block.tile_products(on(rows()), on(rows()[:BATCH]), BATCH),
    "maps.projection.project": project,
    "maps.projection.project_slice": lambda on, _: projection.project_slice(on(rows()), Dense(on).slice(0), BATCH),
    "maps.strips.kept_of_strips": keep_strips,
    "maps.units.standardise_units": lambda on, _: units.standardise_units(on(rows()), BATCH),
}
