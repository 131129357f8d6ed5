"""`alignedcut cut` whose work is shared: the bytes are those of one process, whoever did what, in whatever order."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignedcut_cli.commands.cut.sweeps import open_sweeps
from alignedcut_cli.core.graph import lowrank, one_pass, quantised_cosines
from alignedcut_cli.store.index import read_header
from alignedcut_cli.store.joined import JoinedRows
from alignedcut_cli.store.parts import Parts
from alignedcut_cli.store.project import Project
from tests.commands.cut import test_space
from tests.commands.cut.test_space import COUNT, joined, refused
from tests.conftest import Cli
from tests.helpers.stores import tensors_written

__all__ = ["joined"]  # a fixture

LOWRANK = ("cut", "-C", COUNT, "--solver", "lowrank", "--nodes", 40, "--name", "made", "-q", "--precision", "float32")
TINY = ("--from", "tiny", "--layers", "4,5")
CASES = {
    "joint": TINY,
    "per slot": (*TINY, "--per-slot"),
    "aligned": ("--from", "tiny", "--from", "other", "--layers", "4,5", "--space", "aligned"),
    "brain": (*TINY, "--space", "brain", "--roi", "V1,V4"),
    "balanced": (*TINY, "--balance", "voronoi"),
    "balanced per slot, some of them whole": (
        *("--from", "tiny", "--from", "other", "--layers", "4,5", "--space", "aligned"),
        *("--per-slot", "--balance", "voronoi"),
    ),
}
JOBS = ("1/3", "3/3", "2/3")


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of more than 300 nodes are cut in a pass, over ranges of 1,024."""
    monkeypatch.setattr(lowrank, "pilot_nodes", lambda total, nodes: min(total, 300))
    monkeypatch.setattr(one_pass, "STEP", 1024)
    monkeypatch.setattr(one_pass, "MOST_NODES", 1024)


@pytest.fixture
def studies(joined: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of a project."""
    one, other = (Path(shutil.copytree(joined, tmp_path / name)) for name in ("one", "other"))
    return one, other


def bytes_of(study: Path) -> bytes:
    """The artifact, beside which nothing is left."""
    assert [path.name for path in (study / "cut").iterdir()] == ["made.safetensors"]
    return (study / "cut" / "made.safetensors").read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_shares_in_any_order_give_the_bytes_of_one_process(cli: Cli, studies: tuple[Path, Path], case: str) -> None:
    alone, shared = studies
    assert cli(*LOWRANK, *CASES[case], "-p", alone).status == 0
    left = [cli(*LOWRANK, *CASES[case], "-p", shared, "--shard", job, "--json").object["left"] for job in JOBS]
    assert left[-1] > 0
    assert not (shared / "cut" / "made.safetensors").exists()
    run = cli(*LOWRANK, *CASES[case], "-p", shared)
    assert run.status == 0, run.err
    assert bytes_of(shared) == bytes_of(alone)


@pytest.mark.parametrize("case", ["joint", "balanced", "per slot"])
def test_what_tasks_wrote_is_read_as_it_is_written(
    cli: Cli, studies: tuple[Path, Path], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an artifact of any size is put together in the memory of a shard."""
    seen = tensors_written(monkeypatch, "cut")
    assert cli(*LOWRANK, *CASES[case], "-p", studies[1], "--shard", "1/1").status == 0
    assert cli(*LOWRANK, *CASES[case], "-p", studies[1]).status == 0
    long = [name for name, tensor in seen.items() if len(tensor) == len(seen["nodes"])]
    assert set(long) == {"eigenvectors", "nodes", *(["weights"] if case == "balanced" else [])}
    assert all(isinstance(seen[name], JoinedRows) for name in long)


def test_the_precision_is_chosen_once(cli: Cli, studies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the process that does the pilot; others may be quick in other precisions."""
    alone, shared = studies
    auto = (*LOWRANK, *CASES["aligned"], "--precision", "auto")
    monkeypatch.setattr(quantised_cosines, "quick_precisions", lambda device: ["float32", "bfloat16"])
    assert cli(*auto, "-p", alone).status == 0
    assert cli(*auto, "-p", shared, "--shard", "2/2").status == 0
    monkeypatch.setattr(quantised_cosines, "quick_precisions", lambda device: ["float32"])
    assert cli(*auto, "-p", shared).status == 0
    assert bytes_of(shared) == bytes_of(alone)
    computed = read_header(shared / "cut" / "made.safetensors").raw["numerics"]["computed"]
    assert computed == "bfloat16, transforms bfloat16"


def test_jobs_that_are_run_again_do_sweep_after_sweep(cli: Cli, studies: tuple[Path, Path]) -> None:
    alone, shared = studies
    assert cli(*LOWRANK, *TINY, "-p", alone).status == 0
    left = [
        cli(*LOWRANK, *TINY, "-p", shared, "--shard", job, "--json").object["left"] for _ in range(3) for job in JOBS
    ]
    assert left[-1] == 0
    told = cli(*LOWRANK, *TINY, "-p", shared, "--shard", "1/3").out
    assert told == "cut/made: the same command without --shard finishes it\n"
    assert cli(*LOWRANK, *TINY, "-p", shared).status == 0
    assert bytes_of(shared) == bytes_of(alone)
    assert "up to date" in cli(*LOWRANK, *TINY, "-p", shared, "--shard", "2/3").out


@pytest.mark.parametrize("case", ["joint", "balanced"])
def test_what_is_killed_goes_on(
    cli: Cli, studies: tuple[Path, Path], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each part that it writes, until there are no more to write."""
    alone, shared = studies
    assert cli(*LOWRANK, *CASES[case], "-p", alone).status == 0
    write, written = Parts.write, list[str]()

    def killed(self: Parts, sweep: str, number: int, count: int, tensors: Mapping[str, np.ndarray]) -> None:
        write(self, sweep, number, count, tensors)
        written.append(sweep)
        raise KeyboardInterrupt

    monkeypatch.setattr(Parts, "write", killed)
    assert cli(*LOWRANK, *CASES[case], "-p", shared, "--shard", "1/1").status == 130
    while cli(*LOWRANK, *CASES[case], "-p", shared).status == 130:
        pass
    ranges = ("project", "gram", "rows", *(["cells"] if case == "balanced" else []))
    once = ("pilot", "sum", "rotation", *(["centres"] if case == "balanced" else []))
    assert sorted(written) == sorted([*(name for name in ranges for _ in range(4)), *once])
    assert bytes_of(shared) == bytes_of(alone)


@pytest.mark.parametrize("sweep", ["pilot", "project", "rows"])
def test_a_damaged_part_is_made_again(cli: Cli, studies: tuple[Path, Path], sweep: str) -> None:
    alone, shared = studies
    assert cli(*LOWRANK, *TINY, "-p", alone).status == 0
    for _ in range(3):
        assert cli(*LOWRANK, *TINY, "-p", shared, "--shard", "1/1").status == 0
    part = sorted((shared / "cut" / ".made.parts").glob(f"{sweep}-*"))[-1]
    part.write_bytes(part.read_bytes()[:-5])
    assert cli(*LOWRANK, *TINY, "-p", shared, "--shard", "1/2", "--json").object["left"] in (0, 1)
    assert cli(*LOWRANK, *TINY, "-p", shared).status == 0
    assert bytes_of(shared) == bytes_of(alone)


def test_shares_of_another_recipe_are_no_part_of_it(cli: Cli, studies: tuple[Path, Path]) -> None:
    alone, shared = studies
    assert cli(*LOWRANK, *TINY, "-p", alone).status == 0
    assert cli(*LOWRANK, *TINY, "--seed", 7, "-p", shared, "--shard", "1/1").status == 0
    assert cli(*LOWRANK, *TINY, "-p", shared, "--shard", "1/2").status == 0
    assert cli(*LOWRANK, *TINY, "-p", shared).status == 0
    assert bytes_of(shared) == bytes_of(alone)


@pytest.mark.parametrize("case", ["joint", "per slot", "aligned", "brain"])
def test_shares_of_an_embedding_give_the_bytes_of_one_process(
    cli: Cli, joined: Path, tmp_path: Path, case: str
) -> None:
    sources = [word for pair in zip(CASES[case], CASES[case][1:], strict=False) if pair[0] == "--from" for word in pair]
    base = Path(shutil.copytree(joined, tmp_path / "base"))
    assert cli(*LOWRANK, *CASES[case], "--name", "base", "-p", base).status == 0
    alone, shared = (Path(shutil.copytree(base, tmp_path / name)) for name in ("alone", "shared"))
    onto = ("cut", *sources, "--onto", "cut/base", "--name", "made", "-q", "-p")
    assert cli(*onto, alone).status == 0
    left = [cli(*onto, shared, "--shard", job, "--json").object["left"] for job in ("1/3", "3/3")]
    assert left[1] > 0
    assert cli(*onto, shared).status == 0
    for study in (alone, shared):
        (study / "cut" / "base.safetensors").unlink()
    assert bytes_of(shared) == bytes_of(alone)


def test_a_dry_run_tells_tasks_bytes_and_the_memory_of_a_worker(cli: Cli, studies: tuple[Path, Path]) -> None:
    study, _ = studies
    nodes = 2 * 20 * 101

    def told(*argv: object) -> dict[str, int]:
        dry = cli(*argv, "--dry-run", "--json", "-p", study).object
        assert all(one["count"] > 0 for one in dry.get("counts", ()))
        return {one["what"]: one["count"] for one in dry.get("counts", ())}

    counts = told(*LOWRANK, *TINY, "--shard", "1/1")
    tasks = {"pilot": 1, "project": 4, "sum": 1, "gram": 4, "rotation": 1, "rows": 4}
    assert {what: n for what, n in counts.items() if what.startswith("tasks")} == {
        f"tasks of {name}": n for name, n in tasks.items()
    }
    assert counts["bytes read"] == nodes * (2 * 64 + 2 * (4 * COUNT + 2 * (COUNT + 8)))
    assert told(*LOWRANK, *TINY, "--shard", "2/4")["tasks of rows"] == 1
    assert told(*LOWRANK, *TINY) == {}
    assert cli(*LOWRANK, *TINY, "-p", study).status == 0
    onto = ("cut", "--from", "tiny", "--onto", "made", "--name", "again", "-q")
    counts = told(*onto, "--shard", "1/1")
    assert counts["tasks of embed"] == 4 and counts["bytes read"] == nodes * (2 * 64 + 4 * COUNT)
    assert not list((study / "cut").glob(".*"))


REFUSED: dict[str, tuple[object, ...]] = {
    "the solver exact": (*TINY, "--solver", "exact"),
    "the solver nystrom": (*TINY, "--solver", "nystrom"),
    "--refine works": (*TINY, "--solver", "lowrank", "--refine", 1),
    "--bootstrap works": (*TINY, "--solver", "lowrank", "--bootstrap", 10),
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_has_no_shares_is_refused(cli: Cli, joined: Path, told: str) -> None:
    command = ("cut", *REFUSED[told], "-p", joined, "--json")
    assert told in refused(cli(*command, "--shard", "1/2"), 2, "no-shards")["message"]
    assert not (joined / "cut").exists()


def test_opening_the_sweeps_reads_and_writes_nothing(
    cli: Cli, studies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker opens them again for each artifact."""
    from alignedcut_cli.commands.cut.asked import Asked
    from alignedcut_cli.frame.output import Output
    from alignedcut_cli.frame.run import Frame
    from alignedcut_cli.nodes import rows

    def never(*given: Any) -> Any:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(rows.GraphRows, "__init__", never)
    study, _ = studies
    before = sorted(study.rglob("*"))
    asked = Asked(
        project=study, source=("tiny",), layers="4,5", solver="lowrank", nodes=40, eigenvectors=COUNT, name="made"
    )
    ((recipe, sweeps),) = open_sweeps(Frame(Project(study), Output("cut", quiet=True), ("cut",)), asked)
    assert (recipe.kind, recipe.name) == ("cut", "made")
    assert [sweep.name for sweep in sweeps] == ["pilot", "project", "sum", "gram", "rotation", "rows"]
    assert sorted(study.rglob("*")) == before


def test_two_workers_give_the_bytes_of_one_process(
    cli: Cli, joined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is run: 140,000 nodes in one pass over two ranges, and their embedding in the cut."""
    pytest.importorskip("distributed")
    from alignedcut_cli.frame import cluster_crew

    monkeypatch.undo()
    monkeypatch.setattr(cluster_crew, "WORKERS_SECONDS", 600)  # they load torch, beside other tests
    monkeypatch.setattr(test_space, "GRID", (50, 70))
    study, ran = tmp_path / "study", tmp_path / "ran"
    project = Project(joined)
    test_space.write_features(Project(study), project.header("features", "tiny"), "many", {0: 8, 1: 8})
    shutil.copytree(study, ran)
    for argv in (LOWRANK, ("cut", "--onto", "cut/made", "--name", "again", "-q")):
        assert cli(*argv, "-p", study).status == 0
        run = cli(*argv, "-p", ran, "--cluster", "local:2")
        assert run.status == 0, run.err
    for name in ("made", "again"):
        one, other = (folder / "cut" / f"{name}.safetensors" for folder in (study, ran))
        assert one.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in (ran / "cut").iterdir()) == ["again.safetensors", "made.safetensors"]
