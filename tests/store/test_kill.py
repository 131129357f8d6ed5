"""Killed runs: nothing broken is ever visible, the same command completes, with the bytes of an undisturbed run.

ALIGNEDCUT_KILL_MOMENTS=10 kills each command at ten moments, each time from the start (some minutes).
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from alignedcut_cli.main import main
from alignedcut_cli.store import features
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.features import partial_progress
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.status import project_states
from tests.conftest import TINY, photograph
from tests.helpers.forks import Forks

MOMENTS = int(os.environ.get("ALIGNEDCUT_KILL_MOMENTS", "0"))
IMAGES, SHARD_BYTES = 28, 8 << 20
CUT = ("cut", "--from", "features/small", "-C", "8")
COMMANDS: dict[str, tuple[str, ...]] = {
    "nystrom": (*CUT, "--solver", "nystrom", "--nodes", "500", "--name", "nystrom"),
    "per-slot": (*CUT, "--per-slot", "--name", "per-slot"),
    "color": ("color", "--from", "cut/nystrom", "--nodes", "100", "--perplexity", "10"),
}


@dataclass(frozen=True)
class Bench:
    """Undisturbed runs: their project, how long each command took, and the processes to run more."""

    forks: Forks
    extract: tuple[str, ...]
    project: Path
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path, extracted: Path) -> Iterator[Bench]:
    """An undisturbed extraction of three shards, and the cuts and colours of a smaller one."""
    folder = tmp_path_factory.mktemp("kill")
    (folder / "photos").mkdir()
    for number in range(IMAGES):
        photograph(number, 40, 30).save(folder / "photos" / f"{number:03d}.png")
    project = folder / "undisturbed"
    shutil.copytree(extracted, project)
    (project / "features" / "tiny").rename(project / "features" / "small")
    options = ("-m", TINY, "--weights", tiny_weights, "--image-size", 320, "--dtype", "float32", "--name", "large")
    extract = ("extract", str(folder / "photos"), *(str(word) for word in options))
    with Forks(folder, SHARD_BYTES) as forks:
        seconds = {}
        for name, argv in {"extract": extract, **COMMANDS}.items():
            ended = forks.run(*argv, "-p", project)
            assert ended.status == 0, ended.said
            seconds[name] = ended.seconds
        assert len(list((project / "features" / "large").glob("*.safetensors"))) == 3
        yield Bench(forks, extract, project, seconds)


def _files(project: Path) -> dict[str, bytes]:
    """Every file of a project that is not the machine's own."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and path.relative_to(project).parts[0] != ".alignedcut"
    }


def _require_nothing_broken(project: Path) -> None:
    """Leftovers are all that check may find, and nothing visible may be worse than partial."""
    if not project.exists():
        return
    broken = [found for found in check_project(Project(project), deep=True) if found.code != "leftover"]
    assert broken == []
    assert {state.state for state in project_states(Project(project))} <= {"fresh", "partial"}


def _beginning(bench: Bench, folder: Path, name: str) -> Path:
    """A fresh project with what a command finds before it: its inputs, and nothing of its own."""
    project = folder / "study"
    if project.exists():
        shutil.rmtree(project)
    wanted = {"extract": [], "color": ["features/small", "cut/nystrom.safetensors"]}.get(name, ["features/small"])
    for path in wanted:
        source = bench.project / path
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, project / path)
    if wanted:
        (project / ".alignedcut").mkdir()
        shutil.copy2(bench.project / ".alignedcut" / "journal.jsonl", project / ".alignedcut" / "journal.jsonl")
    return project


def _require_same(bench: Bench, project: Path, name: str) -> None:
    """Everything in the project has the bytes of the undisturbed one, and what the command makes is there."""
    made = {"extract": "features/large/index.json", "color": "color/nystrom.safetensors"}.get(
        name, f"cut/{name}.safetensors"
    )
    found, wanted = _files(project), _files(bench.project)
    assert made in found
    assert [path for path in found if found[path] != wanted.get(path)] == []
    assert list(check_project(Project(project), deep=True)) == []
    if name == "color":
        assert {path for path in found if "pictures" in path} == {path for path in wanted if "pictures" in path}


@pytest.mark.parametrize("name", ["extract", *COMMANDS])
def test_sigkill_at_random_moments(bench: Bench, tmp_path: Path, name: str) -> None:
    """By default a few kills one after another, then the end; with ALIGNEDCUT_KILL_MOMENTS as many fresh beginnings."""
    argv = bench.extract if name == "extract" else COMMANDS[name]
    count = MOMENTS or (3 if name == "extract" else 2)
    chance = random.Random(f"kill {name}")
    seconds = bench.seconds[name]
    project = _beginning(bench, tmp_path, name)
    for number in range(count):
        share = (number + chance.random()) / count
        for _ in range(8):  # a run that ends before its kill took less than was measured: begin anew, kill sooner
            ended = bench.forks.run(*argv, "-p", project, kill=signal.SIGKILL, after=share * seconds)
            assert ended.status in (0, -signal.SIGKILL), ended.said
            _require_nothing_broken(project)
            if ended.status:
                break
            _require_same(bench, project, name)
            seconds = min(seconds, ended.seconds) * 0.8
            project = _beginning(bench, tmp_path, name)
        else:
            pytest.fail("no run was long enough to be killed")
        if MOMENTS:
            again = bench.forks.run(*argv, "-p", project)
            assert again.status == 0, again.said
            _require_same(bench, project, name)
            print(f"{name}: SIGKILL after {share * seconds:.2f} s; completed, same bytes")
            project = _beginning(bench, tmp_path, name)
    again = bench.forks.run(*argv, "-p", project)
    assert again.status == 0, again.said
    _require_same(bench, project, name)


def test_sigkill_while_maps_are_read_and_written(bench: Bench, tmp_path: Path) -> None:
    argv = ("extract", bench.extract[1], "-m", "tiny-mae", "--tap", "maps", "--modules", "blocks.?", "--name", "maps")
    partial = tmp_path / "cut" / "features" / ".maps.partial"
    for pattern in ("group.json", "00002-*"):
        ended = bench.forks.run(*argv, "-p", tmp_path / "cut", kill=signal.SIGKILL, when=partial / pattern)
        assert ended.status in (-signal.SIGKILL, 0), ended.said
        if partial.is_dir():
            (partial / ".00003-of-00006.safetensors.4711.tmp").write_bytes(b"half of a shard")
        _require_nothing_broken(tmp_path / "cut")
    for name in ("cut", "whole"):
        assert bench.forks.run(*argv, "-p", tmp_path / name).status == 0
        assert list(check_project(Project(tmp_path / name), deep=True)) == []
    found, wanted = _files(tmp_path / "cut"), _files(tmp_path / "whole")
    assert sorted(found) == sorted(wanted)
    assert [path for path in found if found[path] != wanted[path]] == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_extraction_keeps_its_shards_and_says_how_to_go_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    project = tmp_path / "study"
    first = project / "features" / ".large.partial" / "00000-of-00003.safetensors"
    ended = bench.forks.run(*bench.extract, "-p", project, "-q", kill=number, when=first)
    assert ended.status == status, ended.said
    assert ended.said.count("\n") == 1
    assert ended.said.startswith(f"alignedcut extract: stopped by {number.name}. ")
    assert ended.said.endswith(f"[stopped, exit {status}]\n")
    progress = partial_progress(project / "features" / "large")
    assert progress is not None
    assert 1 <= progress[0] < progress[1]
    assert f"{progress[0]} of {progress[1]} shards are kept" in ended.said
    kept = first.stat()
    _require_nothing_broken(project)
    command = ended.said.partition("go on with: ")[2].partition(".   [")[0]
    if command.startswith("cd "):
        command = command.partition(" && ")[2]
    words = shlex.split(command)
    assert words[0] == "alignedcut"
    monkeypatch.setattr(features, "SHARD_BYTES", SHARD_BYTES)
    assert main(words[1:]) == 0
    finished = project / "features" / "large" / first.name
    assert (finished.stat().st_ino, finished.stat().st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    _require_same(bench, project, "extract")
