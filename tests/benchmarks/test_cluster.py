"""Commands whose work is shared: bytes, speed from one worker to two, overhead, messages, and kills at random moments.

    pytest -m benchmark -s tests/benchmarks/test_cluster.py -k same_bytes  # 20 minutes on two quiet cores, 12 GB
    ALIGNEDCUT_BENCH_SCALE=0.05 pytest -m benchmark -s tests/benchmarks/test_cluster.py -k kills
    ALIGNEDCUT_BENCH_SCALE=0.005 ALIGNEDCUT_KILL_MOMENTS=1 pytest -m benchmark -s tests/benchmarks/test_cluster.py

`extract` of 1,536 photographs by a random ViT-Ti, `cut` of 1e7 nodes of 256 channels (5 GB, made up), `color` of that cut,
`align` with five folds of the photographs' features to made-up responses: about a minute each on one thread. Each is run
here on one thread and on every core, on one worker and on two with a thread each, and as four shares with a merge. Times are
by the clock, with the start of the workers; the bars are those of commands of 30 s and more. A command that cannot be shared
is skipped. ALIGNEDCUT_KILL_MOMENTS (default 10) kills a worker, and then the command itself, at as many random moments.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from alignedcut_cli.store.project import Project
from alignedcut_cli.store.status import project_states
from tests.benchmarks.measured import environment
from tests.conftest import photograph
from tests.helpers.shared_worlds import write_nodes, write_responses

pytestmark = pytest.mark.benchmark
pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")

ROOT = Path(__file__).resolve().parents[2]
SCALE = float(os.environ.get("ALIGNEDCUT_BENCH_SCALE", "1"))
MOMENTS = int(os.environ.get("ALIGNEDCUT_KILL_MOMENTS", "10"))
PHOTOS, IMAGES, SLOTS, TOKENS, WIDTH = max(24, round(1536 * SCALE)), max(6, round(1410 * SCALE)), 36, 197, 256
SPEEDUP, OVERHEAD, MESSAGES, LONG = 1.7, 1.15, 0.02, 30.0
"""From one worker to two; over threads; of the features' bytes; seconds from which the first two are asked for."""


@dataclass(frozen=True)
class Stage:
    """A command that is measured: its words but for the place of the photographs, what it makes, the features it reads,
    and how many sweeps it has, each of which is an array of jobs."""

    words: tuple[str, ...]
    kind: str
    name: str
    features: str
    sweeps: int

    def argv(self, world: World, project: Path) -> list[str]:
        places = {"PHOTOS": str(world.photos), "RESPONSES": str(world.responses)}
        words = [places.get(word, word) for word in self.words]
        return [*words, "--name", self.name, "-p", str(project), "-q"]


STAGES = {
    "extract": Stage(
        ("extract", "PHOTOS", "-m", "vit_tiny_patch16_224", "--weights", "random"), "features", "photos", "photos", 1
    ),
    "cut": Stage(("cut", "--from", "features/big", "--solver", "lowrank", "-C", "20"), "cut", "big", "big", 3),
    "color": Stage(("color", "--from", "cut/big", "--no-pictures"), "color", "big", "big", 2),
    "align": Stage(
        (
            "align",
            "--from",
            "features/photos",
            "--brain",
            "RESPONSES",
            "--dim",
            "64",
            "--epochs",
            "1",
            "--folds",
            "5",
            "--no-pictures",
        ),
        "align",
        "photos",
        "photos",
        3,
    ),
}
"""In the order in which one reads what another made."""


@dataclass(frozen=True)
class World:
    """What the commands read: photographs, responses to them, and a project with features/big."""

    photos: Path
    responses: Path
    project: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("shared")
    found = World(folder / "photos", folder / "responses.csv", folder / "study")
    found.photos.mkdir()
    for number in range(PHOTOS):
        photograph(number, 320, 240).save(found.photos / f"{number:04d}.jpg", quality=90)
    write_responses(found.responses, sorted(path.name for path in found.photos.iterdir()))
    write_nodes(Project(found.project), "big", IMAGES, SLOTS, TOKENS, WIDTH)
    yield found
    shutil.rmtree(folder)


def started(words: Sequence[str], threads: int | None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "alignedcut_cli", *words]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(threads), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def seconds(words: Sequence[str], threads: int | None) -> float:
    """How long a command line takes by the clock."""
    began = time.monotonic()
    process = started(words, threads)
    _, told = process.communicate()
    assert process.returncode == 0, told
    return time.monotonic() - began


def bytes_of(project: Path, stage: Stage) -> dict[str, bytes]:
    """The files of an artifact, by their names."""
    path = Project(project).path(stage.kind, stage.name)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {one.name: one.read_bytes() for one in files}


def begin(world: World, folder: Path, stage: Stage) -> Path:
    """A project that has what the stage reads, and nothing else: links to the files of the first."""
    project = folder / f"study-{time.monotonic_ns()}"
    for source in sorted(world.project.rglob("*")):
        mine = stage.kind in source.parts and any(
            part.startswith((stage.name, f".{stage.name}")) for part in source.parts
        )
        if source.is_file() and not mine and "locks" not in source.parts:
            target = project / source.relative_to(world.project)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(source)
    return project


def require_shared(name: str) -> None:
    """Skip a command that has no --cluster."""
    told = subprocess.run([sys.executable, "-m", "alignedcut_cli", name, "--help"], capture_output=True, text=True)
    if "--cluster" not in told.stdout:
        pytest.skip(f"{name} cannot be shared")


def loopback() -> int:
    """Bytes that this machine's loopback interface has carried."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


@pytest.mark.parametrize("name", STAGES)
def test_shared_work_gives_the_same_bytes_in_less_time(world: World, tmp_path: Path, name: str) -> None:
    stage = STAGES[name]
    alone = seconds(stage.argv(world, world.project), 1)  # the next stages read it
    require_shared(name)
    wanted = bytes_of(world.project, stage)
    ways = {
        "every core": (None, ()),
        "1 worker": (1, ("--cluster", "local:1")),
        "2 workers": (1, ("--cluster", "local:2")),
    }
    taken, moved, same = {"one thread": alone}, {}, {}
    for way, (threads, more) in ways.items():
        project, before = begin(world, tmp_path, stage), loopback()
        taken[way] = seconds([*stage.argv(world, project), *more], threads)
        moved[way], same[way] = loopback() - before, bytes_of(project, stage) == wanted
        shutil.rmtree(project)
    taken["four shares"], same["four shares"] = shares(world, tmp_path, stage, wanted)
    features = sum(path.stat().st_size for path in Project(world.project).path("features", stage.features).iterdir())
    ratio, over = taken["1 worker"] / taken["2 workers"], taken["2 workers"] / taken["every core"]
    print(f"\n{name}: " + ", ".join(f"{way} {value:.1f} s" for way, value in taken.items()))
    print(f"{name}: 1 to 2 workers {ratio:.2f} times as fast; {over:.2f} of plain threads")
    print(f"{name}: messages {moved['2 workers']:,} bytes, {moved['2 workers'] / features:.3%} of {features:,}")
    print(f"{name}: bytes as on one thread: " + ", ".join(f"{way} {value}" for way, value in same.items()))
    assert all(same.values())
    assert moved["2 workers"] < MESSAGES * features or features < 100e6
    if alone > LONG:
        assert ratio >= SPEEDUP
        assert over <= OVERHEAD


def shares(world: World, folder: Path, stage: Stage, wanted: dict[str, bytes]) -> tuple[float, bool]:
    """Seconds of 1/4 to 4/4, two at a time with a thread each, for each sweep, and the merge; whether bytes agree."""
    project, began = begin(world, folder, stage), time.monotonic()
    words = stage.argv(world, project)
    for pair in ((1, 2), (3, 4)) * stage.sweeps:
        jobs = [started([*words, "--shard", f"{job}/4"], 1) for job in pair]
        for job in jobs:
            _, told = job.communicate()
            assert job.returncode == 0, told
    seconds(words, 1)
    taken, agree = time.monotonic() - began, bytes_of(project, stage) == wanted
    shutil.rmtree(project)
    return taken, agree


@pytest.mark.parametrize("victim", ["worker", "command"])
@pytest.mark.parametrize("name", STAGES)
def test_kills_at_random_moments_change_no_byte(world: World, tmp_path: Path, name: str, victim: str) -> None:
    stage = STAGES[name]
    require_shared(name)
    if not Project(world.project).header_path(stage.kind, stage.name).exists():
        seconds(stage.argv(world, world.project), 1)
    wanted = bytes_of(world.project, stage)
    draws, project = random.Random(name + victim), begin(world, tmp_path, stage)
    whole = seconds([*stage.argv(world, project), "--cluster", "local:2"], 1)
    shutil.rmtree(project)
    met = 0
    for _ in range(MOMENTS):
        project, moment = begin(world, tmp_path, stage), draws.uniform(0.1, 1) * whole
        process = started([*stage.argv(world, project), "--cluster", "local:2"], 1)
        met += kill(process, moment, victim)
        _, told = process.communicate()
        assert {one.state for one in project_states(Project(project))} <= {"fresh", "partial"}
        if victim == "worker":
            assert process.returncode == 0, told
        else:
            seconds(stage.argv(world, project), 1)
        assert bytes_of(project, stage) == wanted
        seconds(["check", "--deep", "--exit-code", "-p", str(project)], 1)
        shutil.rmtree(project)
    print(f"\n{name}: SIGKILL of a {victim}, {met} of {MOMENTS} met it at work, the rest after its end: same bytes")


def kill(process: subprocess.Popen[str], moment: float, victim: str) -> bool:
    """Kill a command or one of its workers after some seconds; False if there was none, or none any more."""
    time.sleep(moment)
    pids = [process.pid] if victim == "command" else workers_of(process.pid)
    if process.poll() is not None or not pids:
        return False
    os.kill(pids[0], signal.SIGKILL)
    return True


def workers_of(pid: int) -> list[int]:
    """The worker processes of a command on this machine: spawned by it, or forked from its process that loads for them."""
    with suppress(psutil.Error):
        children = psutil.Process(pid).children()
        servers = [one for one in children if "forkserver" in " ".join(one.cmdline())]
        spawned = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
        return [one.pid for one in [*spawned, *(worker for server in servers for worker in server.children())]]
    return []
