"""Which worker gets which task when, on a cluster that is made up: no Dask, no processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from alignedcut_cli.errors import DataError, DiskError
from alignedcut_cli.frame import cluster_course
from alignedcut_cli.frame.cluster_course import AHEAD, RETRIES, Course
from alignedcut_cli.frame.sweep import Sweep

FULL = DiskError("disk-full", "no space is left", "Free some").as_object()


@dataclass
class Handed:
    """A task that was handed out, as Dask's future of it."""

    key: str
    number: int
    among: tuple[str, ...]
    status: str = "pending"
    answer: dict[str, Any] = field(default_factory=dict)
    told: Callable[[Handed], None] = lambda _: None

    def add_done_callback(self, told: Callable[[Handed], None]) -> None:
        self.told = told

    def end(self, worker: str, error: Any = None, status: str = "finished") -> None:
        self.status = status
        self.answer = {"seconds": 1.0, "notes": [], "error": error, "worker": worker}
        self.told(self)


class Made:
    """A cluster that is made up: `play` is called with the tasks that are out each time the course looks."""

    def __init__(self, workers: Sequence[str], play: Callable[[Made], None]) -> None:
        self.workers, self._play = list(workers), play
        self.handed: list[Handed] = []
        self.cancelled: list[Handed] = []
        self.most = 0

    @property
    def out(self) -> list[Handed]:
        return [one for one in self.handed if one.status == "pending" and one not in self.cancelled]

    def holders(self) -> dict[str, list[str]]:
        """The keys that each worker has: those meant for it, or its turn's."""
        found: dict[str, list[str]] = {worker: [] for worker in self.workers}
        for one in self.out:
            there = [worker for worker in one.among if worker in found] or self.workers
            found[there[one.number % len(there)]].append(one.key)
        return found

    def busy(self) -> dict[str, tuple[str, ...]]:
        self.most = max(self.most, len(self.out))
        self._play(self)
        return {worker: tuple(keys) for worker, keys in self.holders().items()}

    def submit(self, _: Any, __: str, number: int, key: str, among: Sequence[str] = ()) -> Handed:
        self.handed.append(Handed(key, number, tuple(among)))
        return self.handed[-1]

    def answer(self, future: Handed) -> dict[str, Any] | None:
        return future.answer if future.status == "finished" else None

    def cancel(self, futures: Sequence[Handed]) -> None:
        self.cancelled += futures


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_course, "TICK", 0.001)
    monkeypatch.setattr(cluster_course, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(cluster_course, "SLOW", 0.0)


def run(made: Made, count: int) -> list[int]:
    """The units that the progress was told while a course did all its tasks."""
    job: Any = type("Job", (), {"command": "toy", "token": "t"})()
    sweep = Sweep("rows", "cutting", "nodes", [10] * count, lambda: [], lambda *_: None)
    units: list[int] = []
    Course(made, job, sweep, lambda _: None).run(range(count), units.append)  # type: ignore[arg-type]
    return units


def all_end(made: Made) -> None:
    for one in made.out:
        one.end(one.among[0] if one.among else "a")


def test_every_task_is_done_once_and_few_are_out_at_a_time() -> None:
    made = Made(["a", "b"], all_end)
    assert run(made, 20) == [10] * 20
    assert sorted(one.number for one in made.handed) == list(range(20))
    assert 2 <= made.most <= 2 * AHEAD
    assert all(one.among == () for one in made.handed)


def test_a_task_whose_answer_was_lost_is_handed_out_again() -> None:
    def play(made: Made) -> None:
        for one in made.out:
            first = [other for other in made.handed if other.number == one.number] == [one]
            one.end("a", status="lost" if one.number == 1 and first else "finished")

    made = Made(["a", "b"], play)
    assert run(made, 4) == [10] * 4
    assert sorted(one.number for one in made.handed) == [0, 1, 1, 2, 3]


def test_a_worker_that_lost_the_disk_gets_no_further_task() -> None:
    def play(made: Made) -> None:
        for one in made.out:
            worker = one.among[0] if one.among else "a"
            one.end(worker, FULL if worker == "a" else None)

    made = Made(["a", "b", "c"], play)
    assert run(made, 20) == [10] * 20
    after = [one for one in made.handed if one.among]
    assert {worker for one in after for worker in one.among} == {"b", "c"}
    assert len(made.handed) - len(after) <= 3 * AHEAD


def test_what_waits_for_workers_that_are_gone_is_handed_out_again() -> None:
    def play(made: Made) -> None:
        for one in made.out:
            if not one.among:
                one.end("a", FULL if one.number == 0 else None)
            elif "b" in one.among:
                made.workers = ["c"]  # the only one that could is gone, and another came
            else:
                one.end("c")

    made = Made(["a", "b"], play)
    assert run(made, 3) == [10] * 3
    assert [one.among for one in made.handed if one.number == 0] == [(), ("b",), ("c",)]


def test_the_last_retry_raises_what_the_disk_said_and_any_other_failure_is_raised_at_once() -> None:
    made = Made([f"w{number}" for number in range(9)], lambda made: [one.end("w", FULL) for one in made.out] and None)
    with pytest.raises(DiskError, match="no space is left"):
        run(made, 1)
    assert len(made.handed) == RETRIES + 1
    bad = DataError("bad", "it is bad", "Give another").as_object()
    made = Made(["a"], lambda made: [one.end("a", bad) for one in made.out] and None)
    with pytest.raises(DataError, match="it is bad"):
        run(made, 1)
    assert len(made.handed) == 1


def test_a_slow_task_gets_one_twin_elsewhere_and_the_first_to_finish_counts() -> None:
    def play(made: Made) -> None:
        held = made.holders()
        for one in made.out:
            if not (one.key in held["a"] and one.number == 2):
                one.end("b")

    made = Made(["a", "b"], play)
    assert run(made, 4) == [10] * 4
    twins = [one for one in made.handed if one.number == 2]
    assert [one.among for one in twins] == [(), ("b",)]
    assert made.cancelled == twins[:1]
