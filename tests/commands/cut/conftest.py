"""What the tests of cuts of graphs share: queries, keys and values of a few photographs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alignedcut_cli.main import main
from tests.conftest import TINY

IMAGES, GRID, PLACES = 4, (5, 5), 25


@pytest.fixture(scope="session")
def tapped(photos: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with q, k and v of four photographs, layers 0, 2 and 4, of other sizes, and of two other photographs.
    Read only."""
    project, files = tmp_path_factory.mktemp("tapped") / "study", sorted(photos.glob("*.png"))
    for name, size, layers, some in (
        ("tiny", 80, "0,2,4", files[:IMAGES]),
        ("small", 48, "2", files[:IMAGES]),
        ("more", 80, "0,2,4", files[IMAGES : IMAGES + 2]),
    ):
        argv = ["extract", *some, "-m", TINY, "--weights", tiny_weights]
        argv += ["--name", name, "--image-size", size, "--layers", layers, "-p", project, "-q"]
        assert main([str(word) for word in (*argv, "--tap", "q", "--tap", "k", "--tap", "v")]) == 0
    return project


@pytest.fixture
def study(tapped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tapped, tmp_path / "study"))
