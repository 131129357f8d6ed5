"""The large inputs of the tests on a GPU: `python -m tests.gpu.data FOLDER` makes FOLDER/cut and FOLDER/align."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def make(folder: Path) -> None:
    """Features for a cut at the paper's scale and the made-up set of align, times ALIGNEDCUT_GPU_SCALE."""
    scale = os.environ.get("ALIGNEDCUT_GPU_SCALE", "1")
    os.environ["ALIGNEDCUT_BENCH_SCALE"] = scale  # read by the next import
    from tests.benchmarks.made_up import PAPER, write_made_up
    from tests.benchmarks.test_cut_scale import write_project

    write_project(folder / "cut")
    (folder / "align").mkdir(parents=True)
    write_made_up(folder / "align", PAPER.scaled(float(scale)))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
