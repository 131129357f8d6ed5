"""The exact cut of a million nodes of 64 numbers; and one product with the affinity, fused and in tiles."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import affinity_product, tile_rows, unit_rows
from alignedcut_cli.core.graph.attention import attention_product
from alignedcut_cli.core.graph.ncut import ncut_exact
from tests.gpu.conftest import SCALE, Table
from tests.helpers.reference import clusters

pytestmark = [pytest.mark.gpu, pytest.mark.benchmark]

NODES, WIDTH, COUNT, SECONDS = max(2000, round(1e6 * SCALE)), 64, 20, 180


def waited(work: Callable[[], Tensor]) -> float:
    """Seconds of some work on a device, to its end."""
    began = time.perf_counter()
    float(work().sum())
    return time.perf_counter() - began


def test_one_product_fused_and_in_tiles(table: Table, device: torch.device) -> None:
    units = unit_rows(clusters(NODES // 10, WIDTH).to(device))
    block = torch.randn(len(units), COUNT + 4).to(device)
    tile = tile_rows(2 << 30, device)
    degrees = affinity_product(units, torch.ones_like(block[:, :1]), 1.0, tile)
    ways: dict[str, Callable[[], Tensor]] = {
        "in tiles": lambda: affinity_product(units, block, 1.0, tile),
        "fused": lambda: attention_product(units, block, 1.0, degrees),
    }
    for name, work in ways.items():
        waited(work)
        table.row(f"one product of {len(units):,} nodes {name}: seconds", waited(work), "s")
    apart = float((ways["in tiles"]() - ways["fused"]()).norm() / ways["in tiles"]().norm())
    table.row("fused against tiles: relative difference", apart, most=1e-3)


def test_exact_cut(table: Table, device: torch.device, on_device: Callable[[], int]) -> None:
    features = clusters(NODES, WIDTH, groups=COUNT, spread=0.8).to(device)
    tile = tile_rows(2 << 30, device)
    began = time.perf_counter()
    cut = ncut_exact(features, COUNT, tile=tile)
    worst = float(cut.residuals.max())
    table.timed(f"exact cut of {NODES:,} nodes: seconds", time.perf_counter() - began, "s", SECONDS)
    table.row(f"exact cut of {NODES:,} nodes: peak memory on the device", on_device() / 1e9, "GB")
    table.row(f"exact cut of {NODES:,} nodes: largest residual", worst, most=1e-3)
