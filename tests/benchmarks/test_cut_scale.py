"""`alignedcut cut` at the paper's scale: 7.09e6 nodes, aligned space, as a user runs it, against its matrix products.

    pytest -m benchmark -s tests/benchmarks/test_cut_scale.py

1000 images x 36 slots x 197 tokens x 768 channels of made-up float16 features with cluster structure, 10.9 GB on disk in a
folder that is deleted at the end, one aligned space of E = 768, C = 20. ALIGNEDCUT_BENCH_SCALE (default 1) scales the
images: 0.1 is the everyday version. The cut runs in a process of its own that may use every core.

Roofline: what the matrix products alone need at this machine's rate for a (4096, 768) by (768, 1280) product in the
precision that the cut chose.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from alignedcut_cli.commands.plan.rates import measure
from alignedcut_cli.commands.plan.shapes import Shape
from alignedcut_cli.commands.plan.steps import Machines, Study, steps_of
from alignedcut_cli.core.graph.lowrank import landmark_count, pilot_nodes, spare_columns
from alignedcut_cli.store.artifact import read_header, write_artifact
from alignedcut_cli.store.features import FeatureWriter, shard_ranges
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import Project
from tests.benchmarks.cutting import threads
from tests.benchmarks.measured import environment

pytestmark = pytest.mark.benchmark

ROOT = Path(__file__).resolve().parents[2]
SCALE = float(os.environ.get("ALIGNEDCUT_BENCH_SCALE", "1"))
IMAGES, SLOTS, GRID, WIDTH, CHANNELS, COUNT = max(8, round(1000 * SCALE)), 36, (14, 14), 768, 768, 20
TOKENS = GRID[0] * GRID[1] + 1
NODES = IMAGES * SLOTS * TOKENS
GROUPS, LATENTS = 40, 32
SECONDS, MOST_BYTES, LEAST_SHARE = 240, 3e9, 0.4


def made_tokens(images: range, slot: int) -> np.ndarray:
    """Tokens (b, P, D) float16 of one slot: an image's patches lie in a few of 40 clusters, with latents of their own."""
    world = np.random.default_rng(0)
    centres = world.standard_normal((GROUPS, LATENTS)).astype(np.float32) * 1.5
    mixing = np.random.default_rng([1, slot]).standard_normal((LATENTS, WIDTH)).astype(np.float32) / LATENTS**0.5
    draws = np.random.default_rng([2, slot, images.start])
    kinds = np.stack([np.random.default_rng([3, image]).integers(0, GROUPS, 4) for image in images])  # (b, 4)
    which = draws.integers(0, 4, (len(images), TOKENS))
    latents = centres[np.take_along_axis(kinds, which, 1)]
    latents = latents + draws.standard_normal(latents.shape, np.float32) * 0.7
    noise = draws.standard_normal((len(images), TOKENS, WIDTH), np.float32)
    return (latents @ mixing + 0.2 * noise).astype(np.float16)


def write_project(root: Path) -> None:
    """features/big and align/world, written as extract and align write them."""
    images = [{"path": f"{number:04d}.png", "sha256": f"{number:064x}"} for number in range(IMAGES)]
    slots = [
        {"model": "made-up", "layer": k, "tap": "attn", "width": WIDTH, "grid": list(GRID), "class_token": True}
        for k in range(SLOTS)
    ]
    external = {"weights": "e" * 64, "manifest": "f" * 64}
    project = Project(root)
    recipe = Recipe("features", "big", 1, {"tokens": "all"}, (), external)
    ranges = shard_ranges(IMAGES, SLOTS * TOKENS * WIDTH * 2)
    writer = FeatureWriter(project.path("features", "big"), recipe, ranges)
    writer.open()
    with ThreadPoolExecutor(threads()) as pool:
        for number, (start, stop) in enumerate(ranges):
            made = pool.map(partial(made_tokens, range(start, stop)), range(SLOTS))
            tensors = {f"tokens.{k:02d}": tokens for k, tokens in enumerate(made)}
            writer.write(number, tensors, dict.fromkeys(tensors, ("B P D", "tokens")), numerics={}, axes={})
    axes = {"B": {"size": IMAGES, "images": images}, "S": {"size": SLOTS, "slots": slots}}
    writer.commit(numerics={}, axes=axes)
    draws = np.random.default_rng(4)
    tensors = {
        f"transform.{k:03d}": (draws.standard_normal((WIDTH, CHANNELS)) / WIDTH**0.5).astype(np.float32)
        for k in range(SLOTS)
    }
    write_artifact(
        project.path("align", "world"),
        Recipe("align", "world", 1, {"seed": 0}),
        tensors,
        dict.fromkeys(tensors, ("D E", "made up")),
        axes={
            "S": {"size": SLOTS, "slots": [{**slot, "weights": "e" * 64} for slot in slots]},
            "E": {"size": CHANNELS},
            "N": {"size": 1},
            "R": {"size": 0, "labels": []},
        },
        numerics={},
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not Path("/proc/self/status").is_file():
        pytest.skip("peak memory is read from /proc, which this system does not have")
    root = tmp_path_factory.mktemp("paper-scale")
    write_project(root)
    yield root
    shutil.rmtree(root)


def run_cut(root: Path, *more: str) -> tuple[dict, float, int]:
    """What `alignedcut cut` printed, its seconds, and its most anonymous memory, looked at every 20 ms."""
    argv = [
        sys.executable,
        "-m",
        "alignedcut_cli",
        "cut",
        "--from",
        "big",
        "--space",
        "aligned",
        "-C",
        str(COUNT),
        *more,
    ]
    began, most = time.perf_counter(), 0
    with subprocess.Popen(
        [*argv, "-p", str(root), "--json", "-v"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE
    ) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            text = status.read_text() if status.exists() else ""
            most = max(
                [most, *(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("RssAnon"))]
            )
            time.sleep(0.02)
        assert process.stdout is not None and process.returncode == 0
        return json.loads(process.stdout.read()), time.perf_counter() - began, most


def rate(precision: str) -> float:
    """Floating-point operations a second, with every core, of the pass's own kind of product."""
    torch.set_num_threads(threads())
    kind, multiply = getattr(torch, precision), torch._int_mm if precision == "int8" else torch.mm
    left, right = torch.randn(4096, WIDTH).to(kind), torch.randn(1280, WIDTH).to(kind).T
    times = []
    for _ in range(8):
        began = time.perf_counter()
        multiply(left, right)
        times.append(time.perf_counter() - began)
    return 2 * 4096 * WIDTH * 1280 / min(times)


def planned(root: Path) -> float:
    """Seconds that `alignedcut plan` foresees for a cut of these shapes on this machine, start-up left out."""
    torch.set_num_threads(threads())
    rates = measure(WIDTH, CHANNELS, COUNT, 2000, torch.device("cpu"), root)
    shape = Shape("made-up", (TOKENS,) * SLOTS, (WIDTH,) * SLOTS, SLOTS * TOKENS * WIDTH * 2, 0)
    machines = Machines(1, 1 << 40, 1 << 40, rates.read, rates.written)
    steps = steps_of(Study(IMAGES, [shape], CHANNELS, COUNT, 2000), rates, [1.0], machines)
    return next(step.seconds for step in steps if step.name == "cut")


def test_the_paper_s_graph_on_this_machine(project: Path) -> None:
    foreseen = planned(project)
    _, startup, _ = run_cut(project, "--dry-run", "--solver", "lowrank")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    found, seconds, most = run_cut(project)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    header = read_header(Path(found["path"]))
    assert header.raw["tensors"]["eigenvectors"]["shape"] == [NODES, COUNT]
    precision, transforms = header.raw["numerics"]["computed"].split(", transforms ")
    size = landmark_count(NODES)
    pilot = pilot_nodes(NODES, size)
    quick, moved = 2 * NODES * CHANNELS * (size + 256), 2 * NODES * CHANNELS * WIDTH
    slow = 2 * NODES * size * spare_columns(COUNT) + 2 * pilot * (WIDTH * CHANNELS + size * (CHANNELS + 2 * size))
    floor = quick / rate(precision) + moved / rate(transforms) + slow / rate("float32")
    certificate = found["certificates"][0]
    print(
        f"\n{NODES} nodes, {NODES * WIDTH * 2 / 1e9:.1f} GB of features, E = {CHANNELS}, {found['solver']}, {precision}"
    )
    print(f"time           {seconds:8.1f} s on {threads()} cores ({used:.0f} s of user time)")
    ratio = foreseen / (seconds - startup)
    print(
        f"plan           {foreseen:8.1f} s foreseen, {ratio:.2f} times what it took without {startup:.1f} s of start-up"
    )
    print(
        f"roofline       {floor:8.1f} s of products ({quick + moved + slow:.2e} operations): {floor / seconds:.0%} of it"
    )
    print(
        f"passes         {1:8d}   ({rate(precision) / 1e9:.0f} GFLOP/s {precision}, {rate('float32') / 1e9:.0f} float32)"
    )
    print(f"peak anonymous {most / 1e9:8.2f} GB, {4 * NODES * COUNT / 1e9:.2f} of them eigenvectors")
    print(f"certificate    residual {certificate['residual']:.3g}, orthogonality {certificate['orthogonality']:.1e}")
    assert most < MOST_BYTES
    if SCALE >= 1:
        assert seconds < SECONDS
        assert floor / seconds > LEAST_SHARE
