"""What a command says of its progress: no estimate before there can be one, then one of the speed of late."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.pace import Pace
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.store.project import Project


class Clock:
    """The time of day, as the test says."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("alignedcut_cli.frame.pace.monotonic", made)
    return made


def test_start_up_is_no_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 units in 21 s, of which the first takes 5: the first line has no estimate, the second a true one."""
    with Output("cut").progress("cutting", 1000, "graphs") as advance:
        for number in range(1000):
            clock.time += 5.0 if number == 0 else 1 / 64
            advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "alignedcut cut: cutting: 1/1000 graphs",
        "alignedcut cut: cutting: 321/1000 graphs, 64 graphs/s, 11 s left",
        "alignedcut cut: cutting: 641/1000 graphs, 64 graphs/s, 6 s left",
        "alignedcut cut: cutting: 961/1000 graphs, 64 graphs/s, 1 s left",
    ]


def test_an_estimate_takes_three_reports_and_two_seconds(clock: Clock) -> None:
    pace = Pace()
    wanted = {60: "", 120: "", 180: "0.0167 graphs/s, 9 min 0 s left", 181: "0.0328 graphs/s, 4 min 4 s left"}
    for time, told in wanted.items():
        clock.time = time
        pace.count(1)
        assert pace.told(12, "graphs") == told
    quick = Pace()
    for _ in range(19):
        clock.time += 0.1
        quick.count(1)
    assert quick.speed is None


def test_the_speed_is_that_of_late(clock: Clock) -> None:
    """A job that slows down tenfold is soon told to be slow; work that was done before the run counts for nothing."""
    pace = Pace(done=500)
    for _ in range(100):
        clock.time += 1
        pace.count(10)
    assert pace.speed == pytest.approx(10)
    for _ in range(35):
        clock.time += 1
        pace.count(1)
    assert pace.speed == pytest.approx(1)
    assert pace.told(1635, "images") == "1 images/s, 1 min 40 s left"


def test_a_bar_says_the_same(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    with Output("cut").progress("cutting", 100, "graphs", 20) as advance:
        for seconds in (5.0, 1.0, 1.0):
            clock.time += seconds
            advance(1)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "23/100 1 graphs/s, 1 min 17 s left" in plain


def test_a_dry_run_names_an_input_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A feature set may be read in two roles, as `concepts` reads its source and the embeddings of --words."""
    described = DryRun(["cut/joint", "features/clip", "features/clip"], [("out", 2048)], 1 << 20)
    Frame(Project(Path()), Output("concepts"), ()).dry_run(described)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["reads", "cut/joint"],
        ["reads", "features/clip"],
        ["writes", "out", "2.0", "KiB"],
        ["needs", "main", "memory", "1.0", "MiB"],
    ]
    Frame(Project(Path()), Output("concepts", as_json=True), ()).dry_run(described)
    assert json.loads(capsys.readouterr().out)["inputs"] == ["cut/joint", "features/clip"]
