"""An interrupted alignment keeps its last epoch, says how to go on, and then has the bytes of an undisturbed one."""

from __future__ import annotations

import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from alignedcut_cli.core.align.loss import Losses, total_loss
from alignedcut_cli.main import main
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.status import project_states
from tests.conftest import Cli, Run
from tests.frame.test_command_line import require_error
from tests.helpers.aligning import make_world

EPOCHS = 4


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up world."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def undisturbed(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an undisturbed run writes."""
    world = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("undisturbed") / "world"))
    assert main([str(word) for word in command(world)]) == 0
    return artifact(world).read_bytes()


@pytest.fixture
def world(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world, where every epoch is kept, however fast it was."""
    monkeypatch.setattr("alignedcut_cli.frame.keep.EVERY", 0.0)
    return Path(shutil.copytree(fresh, tmp_path / "world"))


def command(world: Path) -> tuple[object, ...]:
    place = ("-p", world / "study", "--name", "w", "--no-pictures")
    return ("align", "--brain", world / "responses.csv", "--from", "first", "--epochs", EPOCHS, *place)


def align(cli: Cli, world: Path, *options: object) -> Run:
    return cli(*command(world), *options)


def stop_in(
    cli: Cli, world: Path, epoch: int, number: signal.Signals = signal.SIGINT, options: tuple[object, ...] = ()
) -> Run:
    """A run to which a signal comes in the first step of an epoch (there is one step an epoch)."""
    steps = 0

    def stop(*given: Any) -> Losses:
        nonlocal steps
        steps += 1
        if steps == epoch:
            signal.raise_signal(number)
        return total_loss(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignedcut_cli.core.align.train.total_loss", stop)
        return align(cli, world, *options)


def kept(world: Path) -> Path:
    return world / "study/.alignedcut/kept/align-w.safetensors"


def artifact(world: Path) -> Path:
    return world / "study/align/w.safetensors"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_fit_goes_on_to_the_same_bytes(
    cli: Cli, world: Path, undisturbed: bytes, number: signal.Signals, status: int
) -> None:
    told = require_error(stop_in(cli, world, 3, number, ("-q",)).err, status, "stopped", "align")
    assert not artifact(world).exists()
    assert kept(world).is_file()
    assert list(check_project(Project(world / "study"), deep=True)) == []
    (state,) = [one for one in project_states(Project(world / "study")) if one.kind == "align"]
    assert (state.name, state.state, state.reason) == ("w", "partial", "interrupted, what it has is kept")
    assert told["do"].startswith("The start and 2 epochs are kept; go on with: ")
    assert told["do"].endswith(state.repair)
    words = shlex.split(state.repair)
    again = cli(*[word for word in words[words.index("alignedcut") + 1 :] if word != "-q"])
    assert again.status == 0, again.err
    assert "align/w: the start and 2 epochs are there; going on" in again.err
    assert artifact(world).read_bytes() == undisturbed
    assert not kept(world).exists()
    assert {one.state for one in project_states(Project(world / "study"))} == {"fresh"}


def test_a_fit_that_is_interrupted_twice(cli: Cli, world: Path, undisturbed: bytes) -> None:
    """The second time before anything new was kept."""
    assert "The start and 1 epochs are kept" in stop_in(cli, world, 2).err
    assert "The start and 1 epochs are kept" in stop_in(cli, world, 1).err
    assert align(cli, world).status == 0
    assert artifact(world).read_bytes() == undisturbed


def test_what_is_kept_is_for_the_same_question_alone(cli: Cli, world: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(world, tmp_path / "other"))
    assert align(cli, other, "--seed", 1).status == 0
    assert stop_in(cli, world, 3).status == 130
    run = align(cli, world, "--seed", 1)
    assert "align/w: what an interrupted run kept is not used: it is of other parameters" in run.err
    assert artifact(world).read_bytes() == artifact(other).read_bytes()
    assert not kept(world).exists()


@pytest.mark.parametrize("damage", ["altered", "cut off", "foreign"])
def test_what_is_kept_and_damaged_is_not_used(cli: Cli, world: Path, undisturbed: bytes, damage: str) -> None:
    assert stop_in(cli, world, 3).status == 130
    content = kept(world).read_bytes()
    if damage == "foreign":
        save_file(load_file(kept(world)), kept(world))
    else:
        cut, last = content[:-9], content[-8:]
        kept(world).write_bytes(cut if damage == "cut off" else cut + bytes([content[-9] ^ 1]) + last)
    run = align(cli, world)
    assert "align/w: what an interrupted run kept is not used" in run.err
    assert artifact(world).read_bytes() == undisturbed


def test_a_short_run_keeps_nothing(cli: Cli, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alignedcut_cli.frame.keep.EVERY", 10.0)
    run = stop_in(cli, world, 3)
    assert "Nothing was written; run the same command again" in run.err
    assert not kept(world).parent.exists()
