"""`extract --onto` beside `extract`, then `cut --onto`: rows, bytes stored, processor time, on photographs and two ViT-Ti.

    pytest -m benchmark -s tests/benchmarks/test_extract_onto.py

A cut of 12 photographs is the base, in raw space (one model), and in aligned space (two models, transforms at random);
24 others are embedded in it both ways. Rows are compared to the bit, and beside the largest of the base cut.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.project import Project
from tests.commands.cut.test_space import write_align

pytestmark = pytest.mark.benchmark

WEIGHTS = ("deit_tiny_patch16_224.fb_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k")
BASE, NEW = 12, 24


def bytes_below(path: Path) -> int:
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file()) if path.is_dir() else path.stat().st_size


def run(project: Path, *words: object) -> float:
    """Seconds of processor time of one command line."""
    began = time.process_time()
    assert main([*map(str, words), "-p", str(project), "-q"]) == 0
    return time.process_time() - began


@pytest.fixture
def bases(real: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A project with cut/raw and cut/aligned of 12 photographs, and the paths of 24 others."""
    photos = sorted(str(path) for path in (real / "coco").rglob("*.jpg"))[: BASE + NEW]
    models = [word for name in WEIGHTS for word in ("-m", name, "--weights", real / "weights" / f"{name}.safetensors")]
    project = Project(tmp_path / "study")
    run(project.root, "extract", *photos[:BASE], *models, "--name", "deit", "--name", "vit")
    headers = [project.header("features", name) for name in ("deit", "vit")]
    write_align(
        project,
        slots=[
            {**slot, "weights": one.raw["external"]["weights"]} for one in headers for slot in one.axes["S"]["slots"]
        ],
    )
    solver = ("--solver", "lowrank", "--nodes", 1000, "-C", 20)
    run(project.root, "cut", "--from", "deit", *solver, "--name", "raw")
    run(project.root, "cut", "--from", "deit", "--from", "vit", "--space", "aligned", *solver, "--name", "aligned")
    return project.root, photos[BASE:]


@pytest.mark.parametrize(("base", "count"), [("raw", 1), ("aligned", 2)])
def test_rows_and_bytes(bases: tuple[Path, Sequence[str]], real: Path, base: str, count: int) -> None:
    project, photos = bases
    models = [
        word for name in WEIGHTS[:count] for word in ("-m", name, "--weights", real / "weights" / f"{name}.safetensors")
    ]
    names = [f"new-{number}" for number in range(count)]
    given = [word for name in names for word in ("--name", name)]
    steps = run(project, "extract", *photos, *models, *given)
    steps += run(project, "cut", *(w for n in names for w in ("--from", n)), "--onto", f"cut/{base}", "--name", "steps")
    once = run(project, "extract", *photos, *models, "--onto", f"cut/{base}", "--name", "once")
    rows = [load_tensors(project / "cut" / f"{name}.safetensors")[1]["eigenvectors"] for name in ("once", "steps")]
    stored = sum(bytes_below(project / "features" / name) for name in names)
    cut = bytes_below(project / "cut" / "once.safetensors")
    print(
        f"\n{base}, {count} model(s), {len(rows[0]):,} nodes: largest difference {np.abs(rows[0] - rows[1]).max():.2g} "
        f"(rows reach {np.abs(rows[1]).max():.2g}), same bits {np.array_equal(*rows)}\n"
        f"  extract, then cut --onto: {stored + cut:,} bytes ({stored:,} of features), {steps:.1f} s of processor time\n"
        f"  extract --onto: {cut:,} bytes, {once:.1f} s"
    )
    np.testing.assert_allclose(rows[0], rows[1], rtol=0, atol=1e-5 * np.abs(rows[1]).max())
    assert cut < (stored + cut) / 5
    shutil.rmtree(project)
