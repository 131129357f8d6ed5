"""Every command of the demo's chain on the device, each from the CPU's inputs, against the CPU's result."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from alignedcut_cli.commands.demo import chain
from alignedcut_cli.datasets.samples import sample_data
from alignedcut_cli.main import main
from alignedcut_cli.store.project import KINDS, Project
from sample_data.make.brain import write_brain
from tests.gpu.compare import COMPARISONS, opened
from tests.gpu.conftest import DEVICE, SCALE, Table

pytestmark = pytest.mark.gpu

UNCHANGED = ("brain", "check", "report", "status")
MADE_BEFORE = ("segment", "trace")
"""Commands without --device: they read what the device made."""
FEW = {"600": "60", "3000": "120", "1500": "120", "sample:16": "sample:4"}


def study(folder: Path) -> Path:
    """A project's folder as `demo` prepares it, with fewer scenes."""
    there, small = sample_data() / "scenes", SCALE < 1
    for kind, place in (("images", "scenes"), ("category", "masks/category")):
        (folder / place).mkdir(parents=True)
        for path in sorted((there / kind).iterdir())[: 4 if small else 24]:
            shutil.copy(path, folder / place)
    names = json.loads((there / "names.json").read_bytes())["category"]
    (folder / "masks/category/names.json").write_text(json.dumps(names))
    write_brain(folder / "brain", training=24 if small else 200, test=8 if small else 50)
    return folder


def lines(folder: Path, device: str) -> list[list[str]]:
    """The demo's command lines, with a solver that does not depend on the device where all slots are cut together."""
    found = [list(line.argv) for line in chain(folder, device)]
    for argv in found:
        if argv[0] == "cut" and "--per-slot" not in argv:
            argv += ["--solver", "lowrank"]
    return [[FEW.get(word, word) if SCALE < 1 else word for word in argv] for argv in found]


def values_of(argv: Sequence[str], option: str) -> list[str]:
    return [value for word, value in pairwise(argv) if word == option]


def artifacts(folder: Path) -> set[tuple[str, str]]:
    return {(kind, path.stem) for kind in KINDS for path in (folder / kind).glob("*") if not path.name.startswith(".")}


def renamed(argv: Sequence[str], names: Sequence[str]) -> list[str]:
    """A command line that makes NAME-there of each of `names`, from the CPU's inputs if it takes a device."""
    kept = list(argv)
    while "--name" in kept:
        del kept[(place := kept.index("--name")) : place + 2]
    if argv[0] in MADE_BEFORE:
        kept = [f"{word}-there" if word.startswith("cut/") else word for word in kept]
    return [*kept, *(word for name in names for word in ("--name", f"{name}-there"))]


def run(argv: Sequence[str]) -> float:
    """Seconds of a command line in this process; it must succeed."""
    began = time.perf_counter()
    assert main([*argv, "-q"] if argv[0] not in ("check", "status") else list(argv)) == 0, argv
    return time.perf_counter() - began


def test_every_command_gives_what_the_cpu_gives(table: Table, device: torch.device, tmp_path: Path) -> None:
    folder = study(tmp_path / "study")
    for cpu, there in zip(lines(folder, "cpu"), lines(folder, DEVICE), strict=True):
        before = artifacts(folder)
        seconds = run(cpu)
        if cpu[0] in UNCHANGED:
            continue
        made = sorted(artifacts(folder) - before)
        names = values_of(cpu, "--name") or values_of(cpu, "--model") or [made[0][1]]
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        taken = run(renamed(there, names))
        for kind, name in made:
            one, other = (opened(Project(folder).path(kind, found)) for found in (name, f"{name}-there"))
            COMPARISONS[kind](one, other, table, name)
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
        table.row(f"{cpu[0]} {names[0]}: seconds ({seconds:.1f} on the CPU)", taken, "s")
        table.row(f"{cpu[0]} {names[0]}: peak memory on the device", peak, "GB")
    assert not main(["check", "--exit-code", "-p", str(folder)])
