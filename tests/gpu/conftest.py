"""What the tests on a GPU share: the device, the scale, and the table that their figures go to.

ALIGNEDCUT_GPU_DEVICE   cuda (the default), cuda:1, ...; cpu runs the same tests without a card
ALIGNEDCUT_GPU_SCALE    1 by default; less scales every size, and no time or memory is then held against its target
ALIGNEDCUT_GPU_TABLE    the file that rows of the table are appended to, as JSON lines
ALIGNEDCUT_GPU_DATA     where tests.gpu.data makes or made the large inputs
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

DEVICE = os.environ.get("ALIGNEDCUT_GPU_DEVICE", "cuda")
SCALE = float(os.environ.get("ALIGNEDCUT_GPU_SCALE", "1"))


@dataclass
class Table:
    """Rows of the table of one test, each written down as soon as it is known; `missed` are those off their target."""

    part: str
    missed: list[str] = field(default_factory=list)

    def row(
        self, what: str, found: float, unit: str = "", *, most: float | None = None, least: float | None = None
    ) -> None:
        """One figure, which must be at most or at least a target, if there is one."""
        held = (most is None or found <= most) and (least is None or found >= least)
        target = f"at most {most:g}" if most is not None else f"at least {least:g}" if least is not None else "-"
        if not held:
            self.missed.append(f"{what}: {found:.4g} {unit}, {target}")
        verdict = "-" if target == "-" else "ok" if held else "MISSED"
        told = {"part": self.part, "what": what, "found": f"{found:.4g} {unit}".strip(), "target": target}
        self._write({**told, "verdict": verdict})

    def timed(self, what: str, found: float, unit: str, most: float) -> None:
        """A time or a size, whose target holds at full scale on CUDA alone."""
        held_against = SCALE >= 1 and DEVICE != "cpu"
        self.row(
            what if held_against else f"{what} (target {most:g})", found, unit, most=most if held_against else None
        )

    def _write(self, row: dict[str, str]) -> None:
        print(f"{row['what']}: {row['found']} ({row['target']}) {row['verdict']}")
        if path := os.environ.get("ALIGNEDCUT_GPU_TABLE"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


@pytest.fixture(scope="session")
def device() -> torch.device:
    if torch.device(DEVICE).type == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here: run tests/gpu/run.sh on a machine that has one")
    return torch.device(DEVICE)


@pytest.fixture
def table(device: torch.device, request: pytest.FixtureRequest) -> Iterator[Table]:
    """The table; the test fails at its end if a figure missed its target."""
    found = Table(request.path.stem.removeprefix("test_"))
    yield found
    assert not found.missed, "; ".join(found.missed)


@pytest.fixture
def on_device(device: torch.device) -> Callable[[], int]:
    """What gives the most bytes allocated on the device since the test began (0 on the CPU)."""
    if device.type != "cuda":
        return lambda: 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: torch.cuda.max_memory_allocated(device)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of large inputs, made here unless ALIGNEDCUT_GPU_DATA names one that is made already."""
    if given := os.environ.get("ALIGNEDCUT_GPU_DATA"):
        return Path(given)
    from tests.gpu.data import make

    folder = tmp_path_factory.mktemp("data")
    make(folder)
    return folder
