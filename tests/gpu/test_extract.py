"""Extraction of a random ViT-B/16, all layers and tokens to float16 files, beside a bare loop of forward passes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from alignedcut_cli.backbones.load import build_backbone
from alignedcut_cli.backbones.pipeline import batch_size_for
from alignedcut_cli.backbones.registry import parse_model
from alignedcut_cli.datasets.images import decode
from tests.benchmarks.test_extract_throughput import write_set
from tests.conftest import photograph
from tests.gpu.conftest import SCALE, Table

pytestmark = [pytest.mark.gpu, pytest.mark.benchmark]

IMAGES = max(8, round(2048 * SCALE))
DIFFERENT = min(64, IMAGES)


def test_extract_beside_a_bare_loop(
    table: Table, device: torch.device, tmp_path: Path, on_device: Callable[[], int]
) -> None:
    for number in range(DIFFERENT):
        photograph(number, 640, 480).save(tmp_path / f"{number:03d}.jpg", quality=90)
    paths = [tmp_path / f"{number % DIFFERENT:03d}.jpg" for number in range(IMAGES)]
    backbone = build_backbone(parse_model("vit_base_patch16_224"), None)
    backbone.module.eval().requires_grad_(False).to(device)
    batch = batch_size_for("auto", device)
    pixels = np.stack([backbone.preprocess.resize(decode(path)) for path in paths[:DIFFERENT]])
    prepared = list(backbone.preprocess.normalise(pixels, device).split(batch))
    count = IMAGES // DIFFERENT

    @torch.inference_mode()
    def bare(half: bool) -> float:
        """Images a second."""
        began = time.perf_counter()
        with torch.autocast(device.type, torch.float16 if device.type == "cuda" else torch.bfloat16, enabled=half):
            for _ in range(count):
                last = [backbone.forward(one) for one in prepared]
        float(last[-1].sum())
        return count * DIFFERENT / (time.perf_counter() - began)

    bare(False), bare(True)
    speed = bare(False)
    table.row("extract: bare forward loop, float32", speed, "images/s")
    table.row("extract: bare forward loop, half precision (extract has none)", bare(True), "images/s")
    began = time.perf_counter()
    write_set(backbone, paths, tmp_path / "set", width=768, batch=batch, workers=os.cpu_count() or 1)
    whole = IMAGES / (time.perf_counter() - began)
    table.row("extract: to disk, float16", whole, "images/s")
    table.row("extract: share of the bare loop", whole / speed)
    table.row("extract: peak memory on the device", on_device() / 1e9, "GB")
