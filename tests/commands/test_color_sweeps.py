"""color as tasks: whoever does them, in whatever order, the bytes are those of one run."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignedcut_cli.commands.color import plan as plan_module
from alignedcut_cli.commands.color.asked import Asked
from alignedcut_cli.commands.color.plan import node_ranges
from alignedcut_cli.commands.color.sweeps import open_sweeps
from alignedcut_cli.core.embed import colours
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.joined import JoinedRows
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.frame.test_command_line import require_error
from tests.helpers.stores import tensors_written

FEW = ("--nodes", "40", "--perplexity", "5", "--no-pictures")
WAYS = {
    "flat": ("--from", "cut/joint", "--dims", "2", *FEW),
    "slots": ("--from", "cut/slots", *FEW),
    "onto": ("--from", "cut/slots", "--onto", "color/base", "--no-pictures"),
}


@pytest.fixture(scope="module")
def whole(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with cuts, and each of WAYS made by one run, in one range a graph, as color/WAY."""
    from alignedcut_cli.main import main

    project = Path(shutil.copytree(extracted, tmp_path_factory.mktemp("sweeps") / "study"))
    cutting = ("cut", "--layers", "0,3", "-C", "6", "--name")
    coloring = (("color", *words, "--name", name) for name, words in {"base": WAYS["slots"], **WAYS}.items())
    for words in ((*cutting, "joint"), (*cutting, "slots", "--per-slot"), *coloring):
        assert main([*words, "-q", "-p", str(project)]) == 0
    return project


@pytest.fixture
def project(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, where a range is 37 nodes."""
    monkeypatch.setattr(plan_module, "RANGE", 37)
    return Path(shutil.copytree(whole, tmp_path / "study"))


def color(cli: Cli, project: Path, way: str, *words: str) -> Run:
    return cli("color", *WAYS[way], "-p", project, *words)


def require_same(project: Path, way: str) -> None:
    """That the coloring has the bytes of the one run, and nothing else is left."""
    path = project / "color" / f"{way}.safetensors"
    assert path.read_bytes() == (project / f"{way}.whole").read_bytes()
    assert not [found for found in path.parent.iterdir() if found.name.startswith(".")]
    assert not list((project / ".alignedcut").glob("kept/*"))


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest, project: Path) -> str:
    """A coloring that is to be made again."""
    (project / "color" / f"{request.param}.safetensors").rename(project / f"{request.param}.whole")
    return request.param


def test_one_run_in_many_ranges_has_the_bytes_of_one_in_few(cli: Cli, project: Path, way: str) -> None:
    assert color(cli, project, way, "--name", way).status == 0
    require_same(project, way)


def test_the_shares_of_jobs_in_any_order_and_the_merge_have_the_bytes_of_one_run(
    cli: Cli, project: Path, way: str
) -> None:
    for job in (3, 1, 2, 3, 1):
        run = color(cli, project, way, "--name", way, "--shard", f"{job}/3", "--json")
        assert run.status == 0, run.err
        left = run.object["left"]
    assert left == 0 and not (project / "color" / f"{way}.safetensors").exists()
    again = color(cli, project, way, "--name", way)
    assert again.status == 0, again.err
    require_same(project, way)
    assert "is up to date" in color(cli, project, way, "--name", way, "--shard", "1/3").out


@pytest.mark.parametrize("way", ["slots", "onto"], indirect=True)
def test_places_and_colours_are_looked_up_as_they_are_written(
    cli: Cli, project: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an artifact of any size is put together in the memory of a shard."""
    seen = tensors_written(monkeypatch, "color")
    assert color(cli, project, way, "--name", way).status == 0
    long = [name for name, tensor in seen.items() if len(tensor) == len(seen["rgb"])]
    assert sorted(long) == ["coordinates", "nodes", "rgb"]
    assert all(isinstance(seen[name], JoinedRows | np.memmap) for name in long)


@pytest.mark.parametrize("way", ["slots", "onto"], indirect=True)
def test_tasks_one_by_one_in_any_order_and_twice_have_the_bytes_of_one_run(cli: Cli, project: Path, way: str) -> None:
    """Each task in a plan of its own, as workers of a cluster have it; then one is lost, and one damaged."""
    frame = Frame(Project(project), Output("color", quiet=True), ("color",))
    words = dict(pairwise(WAYS[way]))
    given: dict[str, Any] = {"source": words["--from"], "onto": words.get("--onto"), "name": way}
    if way != "onto":
        given |= {"nodes": 40, "perplexity": 5.0, "dims": int(words.get("--dims", 3))}
    asked = Asked(project=project, **given)
    assert color(cli, project, way, "--name", way, "--shard", "99/99").status == 0  # opens the parts
    ((recipe, sweeps),) = open_sweeps(frame, asked)
    for number, sweep in enumerate(sweeps):
        for task in [*reversed(range(len(sweep.sizes))), 0]:
            open_sweeps(frame, replace(asked, seed=0))[0][1][number].run([task], lambda _: None)
        assert sweep.missing() == []
    parts = sorted(Project(project).parts_folder("color", recipe.name).glob("assign-*"))
    assert len(parts) > 5
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:-1])
    assert sweeps[-1].missing() == [0, 1]
    assert color(cli, project, way, "--name", way).status == 0
    require_same(project, way)


@pytest.mark.parametrize("way", ["slots"], indirect=True)
def test_a_job_that_is_stopped_between_tasks_goes_on(
    cli: Cli, project: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = count(), colours.nearest_rows

    def stopping(*given: Any) -> Any:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(colours, "nearest_rows", stopping)
        assert color(cli, project, way, "--name", way, "--shard", "1/1").status == 130
    assert len(list((project / "color" / f".{way}.parts").glob("assign-*"))) == 3
    assert color(cli, project, way, "--name", way, "--shard", "1/1").status == 0
    assert color(cli, project, way, "--name", way).status == 0
    require_same(project, way)


def test_two_workers_have_the_bytes_of_one_run(cli: Cli, whole: Path, tmp_path: Path, two_workers: str) -> None:
    study = Path(shutil.copytree(whole, tmp_path / "study"))
    (study / "color" / "slots.safetensors").rename(study / "slots.whole")
    run = color(cli, study, "slots", "--name", "slots", "--cluster", two_workers)
    assert run.status == 0, run.err
    require_same(study, "slots")


def test_a_share_of_other_parameters_under_a_name_that_is_taken_is_refused(cli: Cli, project: Path) -> None:
    taken = ("--from", "cut/joint", "--nodes", "50", "--no-pictures", "--name", "flat", "--shard", "1/2")
    require_error(cli("color", *taken, "-p", project).err, 73, "output-exists", "color")


def test_options_that_do_not_go_together(cli: Cli, project: Path) -> None:
    both = color(cli, project, "flat", "--name", "new", "--cluster", "local:2", "--shard", "1/2")
    require_error(both.err, 2, "option-contradicts", "color")
    require_error(color(cli, project, "flat", "--name", "new", "--shard", "3/2").err, 2, "bad-shard", "color")


def test_the_dry_run_tells_tasks_bytes_and_memory(cli: Cli, project: Path) -> None:
    words = ("--name", "new", "--dry-run", "--json")
    told = color(cli, project, "slots", *words, "--shard", "1/1").object
    counts = {(one["of"], one["what"]): one["count"] for one in told["counts"]}
    nodes = Project(project).header("cut", "slots").axes["M"]["size"]
    tasks = {("placing nodes", "tasks of place"): 2, ("assigning nodes", "tasks of assign"): 2 * -(-nodes // 2 // 37)}
    assert tasks.items() <= counts.items()
    assert counts["disk", "bytes read"] == 4 * 6 * (nodes + 2 * 40)
    assert 0 < counts["this job", "bytes of main memory"] < told["memory"]
    assert "counts" not in color(cli, project, "slots", *words).object


def test_ranges_cover_every_graph_once_and_are_not_too_many() -> None:
    graphs = [(0, 300_000), (300_000, 300_001), (300_001, 7_000_000_000)]
    found = node_ranges(graphs)
    assert [first for _, first, _ in found[1:]] == [stop for _, _, stop in found[:-1]]
    assert all(graphs[graph][0] <= first < stop <= graphs[graph][1] for graph, first, stop in found)
    assert (found[0][1], found[-1][2]) == (0, 7_000_000_000) and len(found) <= 4096 + len(graphs)
