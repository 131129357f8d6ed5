"""An interrupted cut of graphs goes on with the layers that it had not finished, to the same bytes."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from alignedcut_cli.commands.cut import graph_sweeps
from alignedcut_cli.commands.cut.graph_plan import GraphLayer
from tests.conftest import Cli
from tests.helpers.forks import Forks

VV = ("cut", "--graph", "vv", "--from", "features/tiny-v", "-C", "4", "--name", "vv", "--no-pictures")


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks"), 8 << 20) as found:
        yield found


def parts(study: Path) -> list[Path]:
    return sorted((study / "cut" / ".vv.parts").glob("graphs-*"))


def undisturbed(cli: Cli, study: Path, *more: object) -> bytes:
    """The bytes of the cut made in one go, in a copy of the study."""
    other = Path(shutil.copytree(study, study.parent / "undisturbed"))
    run = cli(*VV, *more, "-p", other)
    assert run.status == 0, run.err
    assert not (other / "cut" / ".vv.parts").exists()
    return (other / "cut" / "vv.safetensors").read_bytes()


@pytest.mark.parametrize("more", [(), ("--heads",), ("--per-slot",)], ids=str)
def test_layers_that_are_finished_are_not_searched_again(
    cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    wanted, searched = undisturbed(cli, study, *more), []
    real = graph_sweeps.layer_graphs

    def breaking(plan: object, layer: GraphLayer, *rest: torch.Tensor) -> object:
        searched.append(layer.queries.layer)
        if searched == [0, 2]:
            raise KeyboardInterrupt
        return real(plan, layer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(graph_sweeps, "layer_graphs", breaking)
    assert cli(*VV, *more, "-p", study).status == 130
    assert [path.name for path in parts(study)] == ["graphs-00000-of-00003.safetensors"]
    assert not (study / "cut" / "vv.safetensors").exists()
    assert cli(*VV, *more, "-p", study).status == 0
    assert searched == [0, 2, 2, 4]
    assert (study / "cut" / "vv.safetensors").read_bytes() == wanted and parts(study) == []


def test_a_damaged_part_and_those_of_another_question_are_made_again(
    cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, real = undisturbed(cli, study), graph_sweeps.read_graphs

    def stopping(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("alignedcut_cli.commands.cut.graph_run.read_graphs", stopping)
    assert cli(*VV, "--neighbors", "7", "-p", study).status == 130 and len(parts(study)) == 3
    others = [path.read_bytes() for path in parts(study)]
    assert cli(*VV, "-p", study).status == 130
    assert all(path.read_bytes() != other for path, other in zip(parts(study), others, strict=True))
    parts(study)[1].write_bytes(parts(study)[1].read_bytes()[:-100])
    monkeypatch.setattr("alignedcut_cli.commands.cut.graph_run.read_graphs", real)
    assert cli(*VV, "-p", study).status == 0
    assert (study / "cut" / "vv.safetensors").read_bytes() == wanted


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_stopped_process_goes_on_to_the_same_bytes(
    cli: Cli, study: Path, forks: Forks, number: signal.Signals, status: int
) -> None:
    wanted, artifact = undisturbed(cli, study), study / "cut" / "vv.safetensors"
    first = study / "cut" / ".vv.parts" / "graphs-00000-*"
    ended = forks.run(*VV, "-p", study, kill=number, when=first)
    for _ in range(20):
        if ended.status:
            break
        artifact.unlink()  # it was done before the signal came
        ended = forks.run(*VV, "-p", study, kill=number, when=first)
    assert ended.status == status, ended.said
    kept = {path.name: path.stat().st_mtime_ns for path in parts(study)}
    assert "graphs-00000-of-00003.safetensors" in kept and not artifact.exists()
    again = forks.run(*VV, "-p", study)
    assert again.status == 0, again.said
    assert artifact.read_bytes() == wanted and parts(study) == []


def test_a_cut_that_cannot_be_leaves_nothing(cli: Cli, study: Path) -> None:
    run = cli(*VV, "--threshold", "0.999999", "-p", study)
    assert run.status == 65 and "cannot-cut" in run.err
    assert not (study / "cut" / ".vv.parts").exists()
