"""`alignedcut cut` of a million nodes by one process, by one and two workers of a cluster, and by four jobs of an array.

    ALIGNEDCUT_BENCH_SCALE=0.141 pytest -m benchmark -s tests/benchmarks/test_cut_shared.py

The features are those of test_cut_scale (1.5 GB at this scale), in aligned space, C = 20. Workers have one thread each;
the bytes must be those of one process on two threads. `local` workers are started by the command, and load torch, while it
waits; standing ones, as in the README's recipe, have loaded it. Each way runs three times, in turn with the others: compared
are the medians of the ratios of runs beside each other.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.measured import environment
from tests.benchmarks.test_cut_scale import COUNT, NODES, ROOT, write_project

pytestmark = pytest.mark.benchmark

CUT = ("cut", "--from", "big", "--space", "aligned", "-C", str(COUNT), "--solver", "lowrank", "--precision", "float32")
JOBS, SWEEPS, ROUNDS = 4, 3, 3
THREADS = "one process, two threads"
LEAST_GAIN, MOST_OVER = 1.7, 1.15


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("distributed")
    root = tmp_path_factory.mktemp("shared")
    write_project(root)
    yield root
    shutil.rmtree(root)


def seconds(root: Path, threads: int, *words: str) -> float:
    """How long a command takes in a process of its own."""
    began = time.perf_counter()
    argv = [sys.executable, "-m", "alignedcut_cli", *CUT, *words, "-q", "-p", str(root)]
    subprocess.run(argv, cwd=ROOT, env=environment(threads), check=True, timeout=3600)
    return time.perf_counter() - began


@contextmanager
def standing(folder: Path, workers: int) -> Iterator[str]:
    """The scheduler file of a cluster of so many workers of one thread, which have begun before the block."""
    path = folder / f"cluster-{workers}.json"
    dask = [sys.executable, "-m", "dask"]
    common = ["--scheduler-file", str(path), "--no-dashboard", "--host", "127.0.0.1"]
    worker = [*dask, "worker", *common, "--nthreads", "1", "--memory-limit", "0", "--preload", "torch"]
    lines = [[*dask, "scheduler", *common], *[worker] * workers]
    quiet = {"cwd": ROOT, "env": environment(1), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(line, **quiet) for line in lines]  # type: ignore[call-overload]
    try:
        from distributed import Client

        while not path.exists():
            time.sleep(0.1)
        with Client(scheduler_file=str(path), set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
        yield str(path)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def made(root: Path) -> bytes:
    """The bytes of the cut, which is removed."""
    path = root / "cut" / "made.safetensors"
    found = path.read_bytes()
    path.unlink()
    return found


def test_a_cut_shared_among_workers_and_jobs(project: Path) -> None:
    found: dict[str, list[float]] = {}
    contents = set()

    def note(what: str, taken: float) -> None:
        found.setdefault(what, []).append(taken)
        contents.add(made(project))

    name = ("--name", "made")
    for _ in range(ROUNDS):
        note(THREADS, seconds(project, 2, *name))
        note("one worker", seconds(project, 1, *name, "--cluster", "local:1"))
        note("two workers", seconds(project, 1, *name, "--cluster", "local:2"))
        for what, workers in (("one standing worker", 1), ("two standing workers", 2)):
            with standing(project, workers) as file:
                note(what, seconds(project, 1, *name, "--cluster", file))
    longest = sum(
        max(seconds(project, 1, *name, "--shard", f"{job}/{JOBS}") for job in range(1, JOBS + 1)) for _ in range(SWEEPS)
    )
    note("four jobs, the longest of each sweep, and merging", longest + seconds(project, 1, *name))
    print(f"\n{NODES:,} nodes")
    for what, taken in found.items():
        print(f"{what:50}{statistics.median(taken):8.1f} s of {', '.join(f'{one:.1f}' for one in taken)}")
    gains, overs = {}, {}
    for one, two in (("one worker", "two workers"), ("one standing worker", "two standing workers")):
        gains[two] = statistics.median(a / b for a, b in zip(found[one], found[two], strict=True))
        overs[two] = statistics.median(b / a for a, b in zip(found[THREADS], found[two], strict=True))
        print(f"{two:50}{gains[two]:8.2f} times as fast as one, {overs[two]:.2f} of plain threads")
    assert len(contents) == 1
    assert min(gains.values()) > LEAST_GAIN and max(overs.values()) < MOST_OVER
