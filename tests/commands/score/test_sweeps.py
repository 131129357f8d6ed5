"""score as tasks, one a layer: whoever does them, in whatever order, the bytes are those of one run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from alignedcut_cli.commands.score.asked import Asked
from alignedcut_cli.commands.score.sweeps import open_sweeps
from alignedcut_cli.core.numerics import torch_threads
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.status import project_states
from tests.conftest import Cli, Run
from tests.frame.test_command_line import require_error
from tests.helpers.scoring import make_study, write_responses

OPTIONS = {"bootstrap": 20, "permutations": 9, "bands": True, "per_voxel": True}
WORDS = ("--bootstrap", 20, "--permutations", 9, "--bands", "--per-voxel")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, as the two workers of a machine of two cores have: sums of a scoring depend on it in their last bits."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def fresh(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with maps of two models, and score/s, made by one run, beside it."""
    from alignedcut_cli.main import main

    folder = tmp_path_factory.mktemp("scored")
    write_responses(folder / "brain.npz")
    study = make_study(folder / "study")
    assert main([str(word) for word in (*command(study), "-q")]) == 0
    (study / "score" / "s.safetensors").rename(folder / "whole")
    return folder


@pytest.fixture
def study(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "there")) / "study"


def command(study: Path) -> tuple[object, ...]:
    place = ("--brain", study.parent / "brain.npz", "--from", "one", "--from", "two", "-p", study, "--name", "s")
    return ("score", *place, "--no-pictures", *WORDS)


def score(cli: Cli, study: Path, *words: object) -> Run:
    return cli(*command(study), *words)


def require_same(study: Path) -> None:
    """That the scoring has the bytes of the one run, and nothing else is left."""
    path = study / "score" / "s.safetensors"
    assert path.read_bytes() == (study.parent / "whole").read_bytes()
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_the_shares_of_jobs_in_any_order_and_the_merge_have_the_bytes_of_one_run(cli: Cli, study: Path) -> None:
    lefts = []
    for job in (2, 3, 1):
        run = score(cli, study, "--shard", f"{job}/3", "--json")
        assert run.status == 0, run.err
        lefts.append(run.object["left"])
    assert lefts[0] > lefts[1] > lefts[2] == 0
    again = score(cli, study)
    assert again.status == 0 and "layers are there; going on" in again.err
    require_same(study)


def test_tasks_one_by_one_and_what_is_missing_have_the_bytes_of_one_run(cli: Cli, study: Path) -> None:
    """The first in a plan of its own, as workers of a cluster have it; one is lost."""
    assert score(cli, study, "--shard", "99/99").status == 0  # opens the parts, and does nothing
    frame = Frame(Project(study), Output("score", quiet=True), ("score",))
    asked = Asked(project=study, brain=study.parent / "brain.npz", source=("one", "two"), name="s", **OPTIONS)
    for task in (4, 1, 1, 2):
        ((_, (sweep,)),) = open_sweeps(frame, asked)
        sweep.run([task], lambda _: None)
    parts = sorted((study / "score" / ".s.parts").glob("layers-*"))
    assert len(parts) == 3
    (state,) = (one for one in project_states(Project(study)) if one.kind == "score")
    assert (state.name, state.state) == ("s", "partial")
    parts[0].unlink()
    assert score(cli, study).status == 0
    require_same(study)


def test_two_workers_have_the_bytes_of_one_run(cli: Cli, study: Path, two_workers: str) -> None:
    run = score(cli, study, "--cluster", two_workers)
    assert run.status == 0, run.err
    require_same(study)


def test_options_that_do_not_go_together(cli: Cli, study: Path) -> None:
    both = score(cli, study, "--cluster", "local:2", "--shard", "1/2")
    require_error(both.err, 2, "option-contradicts", "score")
    require_error(score(cli, study, "--shard", "0/2").err, 2, "bad-shard", "score")


def test_the_dry_run_tells_tasks_bytes_and_memory(cli: Cli, study: Path) -> None:
    told = score(cli, study, "--dry-run", "--json", "--shard", "1/3").object
    counts = {(one["of"], one["what"]): one["count"] for one in told["counts"]}
    assert counts["scoring", "tasks of layers"] == 2
    assert counts["this job", "bytes of main memory"] == told["memory"] and counts["disk", "bytes read"] > 0
    assert "counts" not in score(cli, study, "--dry-run", "--json").object
