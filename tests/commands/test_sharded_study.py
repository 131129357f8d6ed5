"""A study whose artifacts lie in shards: every command reads them as it reads single files, to the same results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.main import main
from alignedcut_cli.store import ranges
from alignedcut_cli.store.project import Project
from tests.commands.cut.test_space import write_align, write_features

ROWS = 2_500
FEW = ("--nodes", "60", "--perplexity", "5", "--no-pictures")
FROM = ("--from", "tiny", "--from", "other", "--layers", "4,5")
COMMANDS = (
    ("cut", *FROM, "--space", "aligned", "-C", "10", "--nodes", "300", "--name", "joint"),
    ("cut", "--from", "tiny", "--from", "other", "--onto", "cut/joint", "--name", "onto"),
    ("color", "--from", "cut/joint", *FEW),
    ("color", "--from", "cut/onto", "--onto", "color/joint", "--no-pictures"),
    ("segment", "--from", "cut/joint", "--masks", "masks", "--no-pictures"),
    ("trace", "--from", "cut/joint", "--masks", "masks", *FEW),
    ("concepts", "--from", "color/joint", "--masks", "masks", "--pixel", "1:0:2", "--no-pictures"),
    ("compare", "cut/joint", "cut/onto", "--name", "compared"),
    ("tree", "--from", "cut/joint", "--clusters", "4"),
    ("pathways", "--from", "cut/joint", "--masks", "masks"),
    ("report", "--from", "color/joint", "--from", "segment/joint", "--from", "trace/joint", "--from", "concepts/joint"),
)


def make(folder: Path, extracted: Path, photos: Path, limit: int, patch: pytest.MonkeyPatch) -> Project:
    patch.setattr(ranges, "ROWS", ROWS)
    patch.setattr(ranges, "LIMIT", limit)
    patch.chdir(folder)
    project = Project(Path(shutil.copytree(extracted, folder / "study")))
    write_features(project, project.header("features", "tiny"), "other", {4: 48, 5: 40})
    write_align(project)
    (folder / "masks").mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        mask = np.zeros((70, 90), np.uint8)
        mask[20:60, 25:60] = 1 + number % 2
        Image.fromarray(mask).save(folder / "masks" / path.name)
    for words in COMMANDS:
        assert main([*words, "-p", "study", "-q"]) == 0, words
    return project
