"""Channel align at the paper's scale, read from files and fitted."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch

from alignedcut_cli.core.align.train import Settings
from tests.benchmarks.align_once import run
from tests.benchmarks.test_align_scale import LEAST_SHARE, TARGETS
from tests.gpu.conftest import SCALE, Table

pytestmark = [pytest.mark.gpu, pytest.mark.benchmark]


def test_align_at_the_papers_scale(table: Table, device: torch.device, data: Path) -> None:
    seconds, most = TARGETS["cuda"]
    found = run(data / "align", device, Settings().epochs if SCALE >= 1 else 2)
    table.timed("align: seconds to read and fit", found["total_s"], "s", seconds)
    table.timed("align: peak memory on the device", (found["device_peak"] or 0) / 1e9, "GB", most / 1e9)
    table.row("align: seconds of the ridge start", found["start_s"], "s")
    table.row("align: seconds of an epoch", statistics.median(found["epochs_s"]), "s")
    share = found["r2"] / found["best_r2"]
    table.row("align: test R^2 of the best possible", share, least=LEAST_SHARE if SCALE >= 1 else None)
