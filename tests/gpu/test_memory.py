"""Out of memory halves tiles and batches, says so, and changes no result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from alignedcut_cli.backbones.load import Backbone
from alignedcut_cli.core.graph import affinity
from alignedcut_cli.main import main
from alignedcut_cli.store.project import Project
from tests.conftest import TINY, photograph
from tests.gpu.compare import cut
from tests.gpu.conftest import DEVICE, SCALE, Table
from tests.helpers.aligning import Made, image_entries, image_names, write_made

pytestmark = pytest.mark.gpu

NODES, TILE = (20_000, 8192) if SCALE >= 1 else (1500, 1024)
SPARE = 220 << 20
"""Bytes left to a process whose one tile of 8192 rows takes 256 MiB: the first tile cannot fit, one of 4096 does."""


@contextmanager
def short_of_memory(device: torch.device) -> Iterator[None]:
    """Little memory on a card; elsewhere the same error, raised for a tile of the first size."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        card = device.index or 0
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(card) + SPARE) / total, card)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, card)
        return
    real = affinity.affinity

    def tight(left: Tensor, right: Tensor, gamma: float) -> Tensor:
        if len(left) >= TILE:
            raise torch.OutOfMemoryError("out of memory: a tile of the first size")
        return real(left, right, gamma)

    with mock.patch.object(affinity, "affinity", tight):
        yield


def test_a_cut_halves_its_tiles(
    table: Table, device: torch.device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = NODES // 100
    write_made(Project(tmp_path), "made", Made({0: 32}, grid=(10, 10)), image_entries(image_names(images)))
    argv = ["cut", "--from", "features/made", "--solver", "exact", "-C", "4", "--memory", "8GiB", "-p", str(tmp_path)]
    argv += ["--device", DEVICE]
    assert main([*argv, "--name", "easy", "-q"]) == 0
    capsys.readouterr()
    with short_of_memory(device):
        assert main([*argv, "--name", "short"]) == 0
    told = capsys.readouterr().err
    table.row("cut of a short card: halvings said", told.count("out of memory: going on with tiles of"), least=1)
    cut(
        load_file(tmp_path / "cut/easy.safetensors"),
        load_file(tmp_path / "cut/short.safetensors"),
        table,
        "of a short card",
    )


def test_an_extraction_halves_its_batch(
    table: Table, tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        photograph(number).save(tmp_path / f"{number}.png")
    argv = ["extract", str(tmp_path), "-m", TINY, "--weights", str(tiny_weights), "-p", str(tmp_path / "study")]
    argv += ["--device", DEVICE, "--image-size", "64"]
    assert main([*argv, "--name", "easy", "-q"]) == 0
    real = Backbone.features

    def tight(backbone: Backbone, images: Tensor, *rest: Any) -> list[Tensor]:
        if len(images) > 2:
            raise torch.OutOfMemoryError("out of memory: more than two images")
        return real(backbone, images, *rest)

    capsys.readouterr()
    with mock.patch.object(Backbone, "features", tight):
        assert main([*argv, "--name", "short"]) == 0
    told = capsys.readouterr().err
    table.row(
        "extract: halvings said of a batch of 8 where 2 fit", told.count("out of memory: going on with batch"), least=2
    )
    one, other = (
        load_file(next((tmp_path / "study/features" / name).glob("*.safetensors"))) for name in ("easy", "short")
    )
    apart = max(float(np.abs(one[key].astype(float) - other[key]).max()) for key in one)
    table.row("extract: largest difference of a feature", apart, most=0.02)
