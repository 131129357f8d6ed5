"""How much of a bare forward loop's speed `extract` keeps: decoding, resizing and writing run beside the model.

Floor: one ViT-Ti/16 forward pass at 224 px is 2.5e9 floating-point operations an image; what is written is 12 layers x
197 tokens x 192 channels x 2 bytes = 0.91 MB an image. Only the decoding and resizing of photographs takes processor
time that the model could have used.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from alignedcut_cli.backbones.load import Backbone, build_backbone
from alignedcut_cli.backbones.pipeline import TokenChoice, extract_shards, tensor_meanings
from alignedcut_cli.backbones.registry import parse_model
from alignedcut_cli.datasets.images import decode, read_manifest
from alignedcut_cli.store.features import FeatureWriter, shard_ranges
from alignedcut_cli.store.header import Recipe
from tests.conftest import photograph

pytestmark = pytest.mark.benchmark

ROUNDS = 3
BATCH = 16


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """192 photographs of 640 x 480, as JPEG."""
    paths = [tmp_path / f"{number:03d}.jpg" for number in range(192)]
    for number, path in enumerate(paths):
        photograph(number, 640, 480).save(path, quality=90)
    return paths


def test_extract_keeps_the_speed_of_a_bare_forward_loop(pictures: list[Path], tmp_path: Path) -> None:
    backbone = build_backbone(parse_model("vit_tiny_patch16_224"), None)
    pixels = np.stack([backbone.preprocess.resize(decode(path)) for path in pictures])
    batches = list(backbone.preprocess.normalise(pixels, torch.device("cpu")).split(BATCH))

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            backbone.forward(batch)

    def pipeline() -> None:
        write_set(backbone, pictures, tmp_path / f"set-{time.monotonic_ns()}")

    def check_images() -> None:
        read_manifest(pictures, lambda _: None, os.cpu_count() or 1, lambda _: None)

    for warm in (bare, pipeline):
        warm()
    times = [(seconds(bare), seconds(pipeline), seconds(check_images)) for _ in range(ROUNDS)]
    base, whole, checked = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(first / second for first, second, _ in times)
    with_check = statistics.median(first / (second + third) for first, second, third in times)
    count = len(pictures)
    print(f"\nbare forward loop      {count / base:6.1f} images/s")
    print(f"extract (to disk)      {count / whole:6.1f} images/s  {ratio:.0%} of it")
    print(f"with the check before  {count / (whole + checked):6.1f} images/s  {with_check:.0%} of it")
    assert ratio >= 0.8


def write_set(
    backbone: Backbone, paths: list[Path], folder: Path, *, width: int = 192, batch: int = BATCH, workers: int = 2
) -> None:
    """What the command does between the check of the images and the commit, both included."""
    from concurrent.futures import ThreadPoolExecutor

    layers, tokens = list(range(12)), TokenChoice(True)
    recipe = Recipe("features", folder.name, 1, {})
    writer = FeatureWriter(folder, recipe, shard_ranges(len(paths), 12 * width * (197 * 2 + 4)))
    writer.open()
    shards = [(number, *span) for number, span in enumerate(writer.ranges)]
    fields = {"numerics": {}, "axes": {}}
    with ThreadPoolExecutor(1) as disk:
        made = extract_shards(backbone, paths, shards, layers, tokens=tokens, batch_size=batch, workers=workers)
        for number, found in made:
            disk.submit(writer.write, number, found["attn"], tensor_meanings(layers, tokens), **fields)
    writer.commit(**fields)
