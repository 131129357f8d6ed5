"""t-SNE of 100,000 rows in three dimensions over all pairs."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.embed import device as on_gpu
from alignedcut_cli.core.embed.affinities import affinities
from alignedcut_cli.core.embed.kernels import push_all
from alignedcut_cli.core.embed.on_host import Affinities
from alignedcut_cli.core.embed.threads import Threads
from alignedcut_cli.core.embed.tsne import ITERATIONS, tsne
from tests.gpu.conftest import SCALE, Table
from tests.helpers.eigenvectors import rows_like_eigenvectors

pytestmark = [pytest.mark.gpu, pytest.mark.benchmark]

NODES, FEW, SECONDS = max(500, round(1e5 * SCALE)), 2000, 10


def apart(one: Tensor, other: Tensor) -> float:
    return float((one.cpu() - other).norm() / other.norm())


def dense(joint: Affinities) -> Tensor:
    rows = torch.arange(FEW, device=joint.bounds.device).repeat_interleave(joint.bounds.diff())
    return torch.zeros(FEW, FEW, device=rows.device).index_put_((rows, joint.columns.long()), joint.values)


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """Of the second of two runs."""
    for _ in range(2):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - began)


def test_forces_are_those_of_the_cpu(table: Table, device: torch.device) -> None:
    rows = torch.from_numpy(rows_like_eigenvectors(FEW))
    places = torch.from_numpy(np.random.default_rng(0).normal(size=(FEW, 3)).astype(np.float32) * 20)
    columns = torch.cat([places.T, torch.ones(1, FEW)]).numpy()
    pushed = torch.empty(FEW, 3), torch.empty(FEW)
    push_all(columns, 0, FEW, *(one.numpy() for one in pushed))
    with Threads() as threads:
        here, there = affinities(rows, 30.0, threads), affinities(rows.to(device), 30.0, threads)
    table.row("affinities against the CPU's: relative difference", apart(dense(there), dense(here)), most=1e-3)
    for name, one, other in (
        ("repulsion", on_gpu.push_all(places.to(device)), pushed),
        ("attraction", on_gpu.pull_all(there, places.to(device)), on_gpu.pull_all(here, places)),
    ):
        worst = max(apart(left, right) for left, right in zip(one, other, strict=True))
        table.row(f"{name} against the CPU's: relative difference", worst, most=1e-4)


def test_tsne(table: Table, device: torch.device, on_device: Callable[[], int]) -> None:
    rows = rows_like_eigenvectors(NODES)
    places = torch.from_numpy(np.random.default_rng(0).normal(size=(NODES, 3)).astype(np.float32) * 20).to(device)
    with Threads() as threads:
        moved = torch.from_numpy(rows).to(device)
        spent = milliseconds(lambda: affinities(moved, 30.0, threads), device)
        table.row(f"affinities of {NODES:,} nodes", spent / 1e3, "s")
        joint = affinities(moved, 30.0, threads)
    push, pull = (
        milliseconds(lambda: on_gpu.push_all(places), device),
        milliseconds(lambda: on_gpu.pull_all(joint, places), device),
    )
    table.row(f"one repulsion of {NODES:,} nodes", push, "ms")
    table.row("pairs of it a second", NODES**2 / push / 1e6, "1e9")
    table.row(f"one attraction of {NODES:,} nodes", pull, "ms")
    began = time.perf_counter()
    _, divergence, _ = tsne(rows, 3, perplexity=30, seed=0, repulsion="exact", device=device)
    table.timed(f"t-SNE of {NODES:,} nodes, {sum(ITERATIONS)} steps", time.perf_counter() - began, "s", SECONDS)
    table.row(f"t-SNE of {NODES:,} nodes: KL", divergence)
    table.row(f"t-SNE of {NODES:,} nodes: peak memory on the device", on_device() / 1e9, "GB")
