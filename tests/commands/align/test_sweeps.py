"""align as tasks: whoever does them, in whatever order, the bytes are those of one run."""

from __future__ import annotations

import shutil
import signal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from alignedcut_cli.commands.align.asked import Asked
from alignedcut_cli.commands.align.sweeps import open_sweeps
from alignedcut_cli.core.align import ridge_start
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.helpers.aligning import make_world, refused

WAYS = {
    "plain": {"dim": 4, "epochs": 1},
    "folded": {"folds": 2, "epochs": 1},
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up world, and each of WAYS made by one run, beside it."""
    from alignedcut_cli.main import main

    world = make_world(tmp_path_factory.mktemp("world"))
    for way in WAYS:
        assert main([str(word) for word in (*command(world, way), "-q")]) == 0
        artifact(world, way).rename(world / f"{way}.whole")
    return world


@pytest.fixture
def world(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "world"))


def command(world: Path, way: str) -> tuple[object, ...]:
    options = [word for name, value in WAYS[way].items() for word in (f"--{name}", value)]
    place = ("-p", world / "study", "--name", way, "--no-pictures")
    return ("align", "--brain", world / "responses.csv", "--from", "first", *options, *place)


def align(cli: Cli, world: Path, way: str, *words: object) -> Run:
    return cli(*command(world, way), *words)


def artifact(world: Path, way: str) -> Path:
    return world / "study" / "align" / f"{way}.safetensors"


def require_same(world: Path, way: str) -> None:
    """That the alignment has the bytes of the one run, and nothing else is left."""
    assert artifact(world, way).read_bytes() == (world / f"{way}.whole").read_bytes()
    assert [path.name for path in artifact(world, way).parent.iterdir()] == [f"{way}.safetensors"]
    assert not list((world / "study/.alignedcut").glob("kept/*"))


@pytest.mark.parametrize("way", list(WAYS))
def test_the_shares_of_jobs_in_any_order_and_the_merge_have_the_bytes_of_one_run(
    cli: Cli, world: Path, way: str
) -> None:
    lefts = []
    for job in (2, 1, 2, 1, 2):
        run = align(cli, world, way, "--shard", f"{job}/2", "--json")
        assert run.status == 0, run.err
        lefts.append(run.object["left"])
    assert lefts[0] > 0 == lefts[-1] and not artifact(world, way).exists()
    assert align(cli, world, way).status == 0
    require_same(world, way)


def test_tasks_one_by_one_in_any_order_and_twice_have_the_bytes_of_one_run(cli: Cli, world: Path) -> None:
    """Each in a plan of its own, as workers of a cluster have it; one is lost."""
    assert align(cli, world, "folded", "--shard", "99/99").status == 0  # opens the parts
    frame = Frame(Project(world / "study"), Output("align", quiet=True), ("align",))
    given: dict[str, Any] = WAYS["folded"]
    asked = Asked(project=world / "study", brain=world / "responses.csv", source=("first",), name="folded", **given)
    ((_, sweeps),) = open_sweeps(frame, asked)
    assert [len(sweep.sizes) for sweep in sweeps] == [3 * 2, 3 * 14, 3]
    for number, sweep in enumerate(sweeps):
        for task in [*reversed(range(len(sweep.sizes))), 0]:
            open_sweeps(frame, asked)[0][1][number].run([task], lambda _: None)
        assert sweep.missing() == []
    sorted((world / "study/align/.folded.parts").glob("fits-*"))[1].unlink()
    assert align(cli, world, "folded").status == 0
    require_same(world, "folded")


def test_a_job_that_is_stopped_between_tasks_goes_on(cli: Cli, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = count(), ridge_start.spectrum

    def stopping(*given: Any) -> Any:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(ridge_start, "spectrum", stopping)
        assert align(cli, world, "folded", "--shard", "1/1").status == 130
    assert len(list((world / "study/align/.folded.parts").glob("slots-*"))) == 3
    assert align(cli, world, "folded", "--shard", "1/1").status == 0
    assert align(cli, world, "folded").status == 0
    require_same(world, "folded")


def test_jobs_share_the_weights_of_an_ablation(cli: Cli, world: Path) -> None:
    words = ("--ablate", "eigen=1,0", "--name", "w")
    for job in (2, 1):
        run = align(cli, world, "plain", *words, "--shard", f"{job}/2", "--json")
        assert run.status == 0, run.err
        assert run.object["left"] == job - 1
    there = {path: path.stat().st_mtime_ns for path in (world / "study/align").glob("w-eigen-*.safetensors")}
    assert len(there) == 2
    run = align(cli, world, "plain", *words, "--json")
    assert [one["made"] for one in run.object["artifacts"]] == [False, False]
    assert {path: path.stat().st_mtime_ns for path in there} == there


def test_two_workers_have_the_bytes_of_one_run(cli: Cli, world: Path, two_workers: str) -> None:
    run = align(cli, world, "folded", "--cluster", two_workers)
    assert run.status == 0, run.err
    require_same(world, "folded")
    words = ("--ablate", "eigen=1,0", "--name", "w", "--cluster", two_workers, "--json")
    ablated = align(cli, world, "plain", *words)
    assert ablated.status == 0, ablated.err
    assert len(list((world / "study/align").glob("w-eigen-*.safetensors"))) == 2


def test_options_that_do_not_go_together(cli: Cli, world: Path) -> None:
    both = align(cli, world, "plain", "--cluster", "local:2", "--shard", "1/2", "--json")
    refused(both, 2, "option-contradicts")
    refused(align(cli, world, "plain", "--shard", "0/2", "--json"), 2, "bad-shard")


def test_the_dry_run_tells_tasks_bytes_and_memory(cli: Cli, world: Path) -> None:
    told = align(cli, world, "folded", "--dry-run", "--json", "--shard", "1/1").object
    counts = {(one["of"], one["what"]): one["count"] for one in told["counts"]}
    tasks = {"decomposing": 6, "choosing a penalty": 42, "aligning": 3}
    assert {of: n for (of, what), n in counts.items() if what.startswith("tasks of")} == tasks
    assert counts["this job", "bytes of main memory"] == told["memory"]
    assert counts["disk", "bytes read"] == 9 * 40 * (8 + 12) * 4
    assert "counts" not in align(cli, world, "folded", "--dry-run", "--json").object
