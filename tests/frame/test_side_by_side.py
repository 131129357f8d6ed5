"""Command lines side by side: each as soon as what it reads is there, and nothing left running or half written."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alignedcut_cli.core.numerics import cores
from alignedcut_cli.errors import AlignedcutError, InputMissingError, Stopped
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.side_by_side import Line, run_side_by_side
from alignedcut_cli.main import main

ROOT = Path(__file__).parents[2]
Child = multiprocessing.process.BaseProcess
several_cores = pytest.mark.skipif(cores() < 2, reason="on one core nothing runs before the first is made")
LOUD, SILENT = Output("demo"), Output("demo", quiet=True)


def line(makes: str, *argv: object, needs: tuple[str, ...] = ()) -> Line:
    return Line(tuple(map(str, argv)), makes, frozenset(needs))


def at_once(threads: int, tend: Callable[[], object]) -> None:
    """What needs no time of its own."""


@pytest.fixture
def begun() -> Callable[[], set[Child]]:
    """What gives the child processes that run and that began in the test."""
    before = set(multiprocessing.active_children())
    return lambda: set(multiprocessing.active_children()) - before


@pytest.fixture
def study(photos: Path, tiny_weights: Path, tmp_path: Path) -> Line:
    """The line that makes features/tiny in the project `study`."""
    source = ("--weights", tiny_weights, "--name", "tiny", "-p", tmp_path / "study")
    return line("tiny", "extract", photos, "-m", "test_vit", *source)


@several_cores
def test_each_line_begins_when_what_it_needs_is_there(
    study: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("-p", tmp_path / "study")
    cut = ("cut", "--from", "features/tiny", *place)
    lines = [
        line("late", "status", *place, needs=("first", "one")),
        line("one", *cut, "--per-slot", "--name", "one", needs=("tiny",)),
        line("other", *cut, "--name", "other", needs=("tiny",)),
        study,
    ]
    seen = []

    def make_first(threads: int, tend: Callable[[], object]) -> None:
        assert threads >= 1
        while not list(tmp_path.glob("study/features/tiny*")):
            seen.append(tend())
            time.sleep(0.01)

    steps = run_side_by_side(LOUD, lines, "first", make_first)
    assert any(seen)
    told = [step.command.split()[1:4] for step in steps]
    assert told[0][0] == "extract" and told[-1][0] == "status" and len(steps) == 4
    assert "one" in steps[-1].out and "other" in {step.command.split("--name ")[1].split()[0] for step in steps[1:3]}
    err = capsys.readouterr().err
    assert err.count("alignedcut demo: $ alignedcut") == err.count(" s: alignedcut") == 4
    assert err.index("$ alignedcut cut") > err.index(" s: alignedcut extract")
    assert "features/tiny" in err  # what extract printed
    again = run_side_by_side(LOUD, lines, "first", at_once)
    assert capsys.readouterr().err.count("is up to date") == 3 and len(again) == 4
    assert run_side_by_side(SILENT, lines, "first", at_once) and capsys.readouterr() == ("", "")


def test_they_make_the_bytes_of_the_same_lines_alone(study: Line, tmp_path: Path) -> None:
    place = str(tmp_path / "alone")
    cut = ("cut", "--from", "features/tiny", "--per-slot")
    lines = [study, line("cut", *cut, "-p", tmp_path / "study", needs=("tiny",))]
    run_side_by_side(SILENT, lines, "first", at_once)
    for one in lines:
        assert main([*one.argv[:-1], place, "-q"]) == 0
    for path in sorted((tmp_path / "alone/features").rglob("*.safetensors")):
        assert path.read_bytes() == (tmp_path / "study" / path.relative_to(place)).read_bytes()
    assert (tmp_path / "study/cut/tiny-per-slot.safetensors").is_file()


def test_the_first_failure_is_raised_and_what_still_runs_is_stopped(
    study: Line, tmp_path: Path, begun: Callable[[], set[Child]]
) -> None:
    missing = line("cut", "cut", "--from", "features/none", "-p", tmp_path / "study", needs=("first",))
    with pytest.raises(InputMissingError) as failure:
        run_side_by_side(LOUD, [study, missing], "first", at_once)
    assert failure.value.exit_status == 66
    assert not begun()
    assert run_side_by_side(SILENT, [study], "first", at_once)
    assert main(["check", "--deep", "--exit-code", "-p", str(tmp_path / "study")]) == 0


def test_a_question_answered_no_ends_the_chain_after_its_answer_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AlignedcutError, match="ended with 1") as failure:
        run_side_by_side(LOUD, [line("none", "models", "--filter", "no such model", "--json")], "first", at_once)
    assert failure.value.code == "step-failed"
    assert '"schema": "alignedcut.models/' in capsys.readouterr().err


@several_cores
def test_a_killed_process_is_told_and_the_same_lines_run_again(study: Line, begun: Callable[[], set[Child]]) -> None:
    def kill(_: int, tend: Callable[[], object]) -> None:
        while not tend():
            time.sleep(0.01)
        for child in begun():
            os.kill(child.pid or 0, signal.SIGKILL)

    with pytest.raises(AlignedcutError, match=r"alignedcut extract .* was killed \(exit -9\)") as failure:
        run_side_by_side(SILENT, [study], "first", kill)
    assert failure.value.code == "step-failed" and not begun()
    assert run_side_by_side(SILENT, [study], "first", at_once)


@several_cores
def test_a_stop_ends_all_and_says_that_what_is_done_is_kept(study: Line, begun: Callable[[], set[Child]]) -> None:
    def stop(_: int, tend: Callable[[], object]) -> None:
        while not tend():
            time.sleep(0.01)
        raise Stopped(signal.SIGINT)

    with pytest.raises(Stopped) as stopped:
        run_side_by_side(SILENT, [study], "first", stop)
    assert stopped.value.remedy == "What is done is kept; run the same command again"
    assert not begun()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_ctrl_c_ends_the_demo_and_every_process_of_it(tmp_path: Path, seconds: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "alignedcut_cli", "demo", tmp_path / "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1].startswith("alignedcut demo: stopped by SIGINT. What is done is kept"), err
    assert "Traceback" not in err
    until = time.monotonic() + 20
    while left := running(process.pid):  # those that wait for the end of the command see it a moment later
        assert time.monotonic() < until, left
        time.sleep(0.05)


def running(session: int) -> list[str]:
    """The processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
            found += [path.parent.name] if int(of) == session and state != "Z" else []
    return found
