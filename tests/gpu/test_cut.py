"""`alignedcut cut` of a million nodes and of the paper's 7.09 million, 768 numbers each, from files just written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from alignedcut_cli.main import main
from tests.benchmarks.cutting import watched
from tests.gpu.conftest import DEVICE, Table

pytestmark = [pytest.mark.gpu, pytest.mark.benchmark]

SECONDS, BYTES = 20, 8e9


@pytest.mark.parametrize(("name", "layers"), [("million", "0-4"), ("paper", "all")])
def test_cut_from_disk(
    name: str, layers: str, data: Path, device: torch.device, table: Table, on_device: Callable[[], int]
) -> None:
    argv = ["cut", "--from", "big", "--space", "aligned", "-C", "20", "--layers", layers, "--device", DEVICE]
    with watched() as host:
        began = time.perf_counter()
        assert main([*argv, "--name", name, "-q", "-p", str(data / "cut")]) == 0
        seconds = time.perf_counter() - began
    found = load_file(data / "cut" / "cut" / f"{name}.safetensors")
    what = f"cut of {len(found['nodes']):,} nodes"
    if name == "paper":
        table.timed(f"{what}: seconds", seconds, "s", SECONDS)
        table.timed(f"{what}: peak memory on the device", on_device() / 1e9, "GB", BYTES / 1e9)
    else:
        table.row(f"{what}: seconds", seconds, "s")
        table.row(f"{what}: peak memory on the device", on_device() / 1e9, "GB")
    table.row(f"{what}: peak memory of the host", host.bytes / 1e9, "GB")
    table.row(f"{what}: certificate's residual", float(found["certificate"][0, 0]))
