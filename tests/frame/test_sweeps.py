"""Sweeps: tasks that anyone may do, in any order, each once."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep, make_shard, parse_shard, run_here, run_shard
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.locks import hold
from alignedcut_cli.store.project import Project

LOCK = Path(tempfile.mkdtemp()) / "lock"
FRAME = Frame(Project(Path()), Output("cut", quiet=True), ("cut",))


def sweep_of(done: set[int], count: int, log: list[int] | None = None) -> Sweep:
    """A sweep whose files are the numbers in `done`."""

    def run(numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        for number in numbers:
            done.add(number)
            if log is not None:
                log.append(number)
            advance(1)

    def missing() -> list[int]:
        return [number for number in range(count) if number not in done]

    return Sweep("project", "cutting", "nodes", [1] * count, missing, run)


def test_what_is_there_is_not_done_again() -> None:
    log: list[int] = []
    run_here(FRAME, [sweep_of({1, 2}, 4, log)])
    assert log == [0, 3]


@given(st.integers(1, 20), st.integers(1, 7), st.randoms())
def test_the_shares_of_all_jobs_in_any_order_are_everything_once(count: int, jobs: int, random: Random) -> None:
    done: set[int] = set()
    log: list[int] = []
    order = list(range(1, jobs + 1))
    random.shuffle(order)
    left = [run_shard(FRAME, [sweep_of(done, count, log)], (job, jobs), LOCK) for job in order]
    assert sorted(log) == list(range(count))
    assert left[-1] == 0


def test_a_sweep_of_one_task_is_done_by_the_first_job_and_the_next_sweep_waits_for_a_whole_one(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "lock"
    pilot, project, rows = set[int](), set[int](), set[int]()
    sweeps = [sweep_of(pilot, 1), sweep_of(project, 5), sweep_of(rows, 5)]
    assert run_shard(FRAME, sweeps, (2, 2), lock) == 3
    assert (pilot, project, rows) == ({0}, {1, 3}, set())
    assert run_shard(FRAME, sweeps, (1, 2), lock) == 2  # its own share of the last sweep; the other job has gone
    assert (project, rows) == ({0, 1, 2, 3, 4}, {0, 2, 4})
    run_here(FRAME, sweeps)
    assert rows == {0, 1, 2, 3, 4}


def test_jobs_that_come_together_do_a_sweep_of_one_task_once(tmp_path: Path) -> None:
    done: set[int] = set()
    log: list[int] = []
    slow = sweep_of(done, 1, log)

    def run(numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        time.sleep(0.2)
        slow.run(numbers, advance)

    after = set[int]()
    sweeps = [replace(slow, run=run), sweep_of(after, 3)]
    jobs = [threading.Thread(target=run_shard, args=(FRAME, sweeps, (job, 3), tmp_path / "lock")) for job in (1, 2, 3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert log == [0] and after == {0, 1, 2}


def test_a_job_ends_where_another_does_the_last_task(tmp_path: Path) -> None:
    done: set[int] = set()
    with hold(tmp_path / "lock", "another job"):
        assert run_shard(FRAME, [sweep_of(done, 1)], (1, 2), tmp_path / "lock") == 1
    assert not done
    assert run_shard(FRAME, [sweep_of(done, 1)], (1, 2), tmp_path / "lock") == 0


def test_jobs_record_once_the_command_that_finishes_the_artifact(tmp_path: Path) -> None:
    done: set[int] = set()
    recipe = Recipe("cut", "a", 1, {})
    for job, words in ((1, ("--shard", "1/2")), (2, ("--shard=2/2",))):
        frame = Frame(Project(tmp_path), FRAME.output, ("cut", *words, "--name", "a"))
        told, value = make_shard(frame, recipe, f"{job}/2", lambda: [sweep_of(done, 4)])
        assert value["left"] == 4 - 2 * job and "the same command without --shard finishes it" in told
    assert [(one["event"], one["argv"]) for one in frame.journal.records()] == [("start", ["cut", "--name", "a"])]


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1.0/2"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no share"):
        parse_shard(text)


def test_a_share() -> None:
    assert parse_shard("3/16") == (3, 16)
