"""Whether what `trace` finds on the demo hangs on the seed: five seeds, as it was (one t-SNE, balls) and as it is.

pytest -m benchmark -s tests/benchmarks/test_seeds.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors

pytestmark = pytest.mark.benchmark

SEEDS = 5
BEFORE = ("--measure", "map", "--maps", "1")


def p_values(demo: Path, *options: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Pairs of layers (K), and p before and after Holm for each seed: (seeds, K) both."""
    found: list[Any] = []
    names: list[str] = []
    for seed in range(SEEDS):
        name = f"seed-{len(options)}-{seed}"
        words = ("trace", "--from", "cut/joint", "--masks", demo / "masks/category", "--nodes", 1500, "--no-pictures")
        assert main([str(one) for one in (*words, *options, "--seed", seed, "--name", name, "-p", demo, "-q")]) == 0
        header, tensors = load_tensors(demo / f"trace/{name}.safetensors")
        names = [f"{pair['model']} {pair['from']}-{pair['to']}" for pair in header.axes["K"]["pairs"]]
        found.append((tensors["p"], tensors["p.holm"]))
    p, adjusted = np.array(found).transpose(1, 0, 2)
    return names, p, adjusted


def table_of(demo: Path) -> tuple[np.ndarray, np.ndarray]:
    """Print both tables; the spread over seeds of log10 p at each pair, as it was and as it is."""
    spreads = []
    for title, options in (("one t-SNE, balls", BEFORE), ("partitions, 5 maps (default)", ())):
        names, p, adjusted = p_values(demo, *options)
        print(f"\n{title}: p (Holm) of {SEEDS} seeds; spread of log10 p")
        for number, name in enumerate(names):
            told = "  ".join(f"{one:.3f}" for one in adjusted[:, number])
            print(f"  {name:16s} {told}   {np.log10(p[:, number]).std():.2f}")
        same = ((adjusted < 0.05) == (adjusted[:1] < 0.05)).all(0).sum()
        spreads.append(np.log10(p).std(0))
        print(f"  the same verdict for all seeds: {same} of {len(names)}; mean spread {spreads[-1].mean():.3f}, "
              f"largest {spreads[-1].max():.2f}")  # fmt: skip
    return spreads[0], spreads[1]


def test_the_finding_does_not_hang_on_the_seed(tmp_path: Path) -> None:
    assert main(["demo", str(tmp_path / "demo"), "-q"]) == 0
    before, after = table_of(tmp_path / "demo")
    assert after.mean() <= before.mean() / 3
