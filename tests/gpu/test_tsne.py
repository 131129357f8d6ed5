"""Exact t-SNE of 100,000 rows in three dimensions."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from alignedcut_cli.core.embed.tsne import ITERATIONS, tsne
from alignedcut_cli.core.embed.tsne_exact import exact_repulsion
from tests.benchmarks.test_color_speed import rows_like_eigenvectors
from tests.gpu.conftest import SCALE, Table

pytestmark = [pytest.mark.gpu, pytest.mark.benchmark]

NODES, SECONDS = max(500, round(1e5 * SCALE)), 10


def test_exact_tsne(table: Table, device: torch.device) -> None:
    rows = rows_like_eigenvectors(NODES)
    places = np.random.default_rng(0).normal(size=(NODES, 3)) * 20
    here, total = exact_repulsion(places[:2000], device)
    there, other = exact_repulsion(places[:2000], torch.device("cpu"))
    apart = float(np.abs(here - there).max() / np.abs(there).max())
    table.row("one repulsion against the CPU's: relative difference", max(apart, abs(total / other - 1)), most=1e-4)
    began = time.perf_counter()
    exact_repulsion(places, device)
    once = time.perf_counter() - began
    table.row(f"one repulsion of {NODES:,} nodes", 1e3 * once, "ms")
    table.row(f"that {sum(ITERATIONS)} times", sum(ITERATIONS) * once, "s")
    began = time.perf_counter()
    _, divergence, _ = tsne(rows, 3, perplexity=30, seed=0, repulsion="exact", device=device)
    table.timed(f"t-SNE of {NODES:,} nodes: seconds", time.perf_counter() - began, "s", SECONDS)
    table.row(f"t-SNE of {NODES:,} nodes: KL", divergence)
