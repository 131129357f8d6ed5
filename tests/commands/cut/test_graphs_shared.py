"""`alignedcut cut --graph` whose search is shared, a task a layer: the bytes are those of one process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alignedcut_cli.commands.cut.asked import Asked
from alignedcut_cli.commands.cut.sweeps import open_sweeps
from alignedcut_cli.core.numerics import torch_threads
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.project import Project
from tests.commands.cut.test_space import refused
from tests.conftest import Cli

GRAPHS = {
    "values": ("--graph", "vv", "--from", "features/tiny-v"),
    "heads": ("--graph", "qk", "--from", "features/tiny-q", "--heads"),
    "a cut a layer": ("--graph", "kk", "--from", "features/tiny-k", "--per-slot"),
}
CUT = ("cut", "-C", "4", "--name", "made", "--no-pictures", "-q")


def bytes_of(study: Path) -> bytes:
    """The artifact, beside which nothing is left."""
    assert [path.name for path in (study / "cut").iterdir()] == ["made.safetensors"]
    return (study / "cut" / "made.safetensors").read_bytes()


@pytest.mark.parametrize("case", GRAPHS)
def test_shares_in_any_order_give_the_bytes_of_one_process(cli: Cli, study: Path, tmp_path: Path, case: str) -> None:
    """Of jobs of one thread each, beside a process of two."""
    alone = Path(shutil.copytree(study, tmp_path / "alone"))
    with torch_threads(2):
        assert cli(*CUT, *GRAPHS[case], "-p", alone).status == 0
    with torch_threads(1):
        for job, left in (("3/3", 2), ("1/3", 1), ("2/3", 0)):
            told = cli(*CUT, *GRAPHS[case], "-p", study, "--shard", job, "--json").object
            assert (told["left"], told["made"]) == (left, False)
    assert not (study / "cut" / "made.safetensors").exists()
    with torch_threads(2):
        run = cli(*CUT, *GRAPHS[case], "-p", study)
    assert run.status == 0, run.err
    assert bytes_of(study) == bytes_of(alone)
    assert "is up to date" in cli(*CUT, *GRAPHS[case], "-p", study, "--shard", "1/3").out


def test_a_worker_opens_the_sweep_from_the_options_and_does_a_layer(cli: Cli, study: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(study, tmp_path / "alone"))
    assert cli(*CUT, *GRAPHS["values"], "-p", alone).status == 0
    asked = Asked(project=study, source=("features/tiny-v",), graph="vv", eigenvectors=4, name="made")
    ((recipe, (sweep,)),) = open_sweeps(Frame(Project(study), Output("cut", quiet=True), ("cut",)), asked)
    assert (recipe.kind, recipe.name, sweep.missing()) == ("cut", "made", [0, 1, 2])
    assert not (study / "cut").exists()
    counted: list[int] = []
    for left, number in (([0, 2], 1), ([0], 2), ([], 0)):
        sweep.run([number], counted.append)
        assert sweep.missing() == left
    assert sum(counted) == sum(sweep.sizes)
    assert cli(*CUT, *GRAPHS["values"], "-p", study).status == 0
    assert bytes_of(study) == bytes_of(alone)


def test_a_dry_run_tells_tasks_bytes_and_the_memory_of_a_job(cli: Cli, study: Path) -> None:
    def told(*argv: object) -> dict[str, int]:
        dry = cli(*CUT, *argv, "--dry-run", "--json", "-p", study).object
        return {one["what"]: one["count"] for one in dry.get("counts", ())}

    counts = told(*GRAPHS["values"], "--shard", "1/1")
    assert (counts["tasks of graphs"], counts["bytes read"]) == (3, 3 * 4 * 26 * 2 * 64)
    assert 0 < counts["bytes of main memory"] < 10 << 20
    assert told(*GRAPHS["heads"], "--shard", "2/3")["tasks of graphs"] == 1
    assert told(*GRAPHS["heads"], "--shard", "1/1")["bytes read"] == 2 * 3 * 4 * 26 * 2 * 64
    assert told(*GRAPHS["values"]) == {}
    assert not (study / "cut").exists()


@pytest.mark.parametrize(
    ("told", "more"), [("--scope image", ("--scope", "image")), ("--solver gradient", ("--solver", "gradient"))]
)
@pytest.mark.parametrize("how", [("--shard", "1/2"), ("--cluster", "local:2")])
def test_graphs_that_are_made_as_they_are_needed_have_no_shares(
    cli: Cli, study: Path, told: str, more: tuple[str, ...], how: tuple[str, str]
) -> None:
    pytest.importorskip("distributed")
    command = (*CUT, *GRAPHS["values"], *more, *how, "-p", study, "--json")
    assert told in refused(cli(*command), 2, "no-shards")["message"]
    assert not (study / "cut").exists()


def test_new_images_onto_a_cut_of_graphs_have_no_shares(cli: Cli, study: Path) -> None:
    assert cli(*CUT, *GRAPHS["values"], "-p", study).status == 0
    onto = ("cut", "--from", "features/more-v", "--onto", "cut/made", "--shard", "1/2", "-p", study, "--json")
    assert "onto cut/made" in refused(cli(*onto), 2, "no-shards")["message"]


def test_a_job_needs_the_memory_of_one_layer(cli: Cli, study: Path) -> None:
    command = (*CUT, *GRAPHS["values"], "-p", study, "--json")
    dry = cli(*command, "--shard", "1/2", "--dry-run").object
    each = next(one["count"] for one in dry["counts"] if one["what"] == "bytes of main memory")
    assert each < dry["memory"]
    little = ("--memory", f"{1.1 * each / 2**20:.6f}MiB")
    assert cli(*command, *little, "--shard", "1/2").object["left"] == 1
    assert "these graphs take" in refused(cli(*command, *little), 71, "memory-budget")["message"]
