"""Whole commands as users run them, each a process of its own: the demo, colours, paths, and the start of extract.

    pytest -m benchmark -s tests/benchmarks/test_command_speed.py
    ALIGNEDCUT_LARGE=1 pytest -m benchmark -s tests/benchmarks/test_command_speed.py     with 100,000 nodes, too

The demo runs first, once more than is counted: in a new installation it compiles, and that run is shown for itself. The
others take its artifacts under new names. Medians of three, but for what takes minutes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alignedcut_cli.datasets.samples import sample_data

pytestmark = pytest.mark.benchmark

LARGE = bool(os.environ.get("ALIGNEDCUT_LARGE"))
MODELS = ("tiny-clip", "tiny-dino")
BARS = {
    "demo": 50,
    "color, 10,000 nodes": 10,
    "color, 100,000 nodes": 60,
    "color --per-slot, 12 slots x 1000, 32 photographs": 15,
    "trace on the demo": 4,
    "extract, tiny model, 4 images": 4,
}


def timed(*argv: object) -> float:
    """Wall seconds of one command line."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "alignedcut_cli", *map(str, argv)], check=True, capture_output=True)
    return time.perf_counter() - began


def median(rounds: int, *argv: object) -> float:
    """The median wall seconds of a command line that takes the name of what it makes last."""
    return statistics.median(timed(*argv, "--name", f"run-{number}") for number in range(rounds))


def photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for path in sorted((sample_data() / "scenes/images").iterdir())[:count]:
        shutil.copy(path, folder)
    return folder


def test_whole_commands(tmp_path: Path) -> None:
    place, demo = ("-p", tmp_path / "study"), tmp_path / "demo"
    timed("models", "--filter", "tiny")  # files of the libraries are in the cache
    first = timed("demo", demo)
    found = {"demo": statistics.median(timed("demo", tmp_path / f"demo-{number}") for number in range(3))}
    joint = ("color", "--from", "cut/joint", "-p", demo)
    found["color, 10,000 nodes"] = median(3, *joint)
    if LARGE:
        found["color, 100,000 nodes"] = timed(*joint, "--nodes", 100_000, "--name", "large")
    models = [word for model in MODELS for word in ("-m", model)]
    timed("extract", photographs(tmp_path / "many", 32), *models, *place)
    sources = [word for model in MODELS for word in ("--from", f"features/{model}")]
    timed("cut", *sources, "--per-slot", "--name", "slots", *place)
    found["color --per-slot, 12 slots x 1000, 32 photographs"] = median(3, "color", "--from", "cut/slots", *place)
    masks = ("--masks", demo / "masks/category")
    found["trace on the demo"] = median(3, "trace", "--from", "cut/joint", *masks, "--nodes", 1500, "-p", demo)
    few = photographs(tmp_path / "few", 4)
    found["extract, tiny model, 4 images"] = median(3, "extract", few, "-m", "tiny-clip", "-p", tmp_path / "small")
    print(f"\n  {'the first demo, which compiles in a new installation':52} {first:7.1f} s")
    for what, seconds in found.items():
        print(f"  {what:52} {seconds:7.1f} s   bar {BARS[what]} s")
    late = {what: seconds for what, seconds in found.items() if seconds > BARS[what]}
    assert not late, late
