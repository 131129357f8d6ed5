"""One sweep on a Dask cluster: its tasks are submitted a few at a time, each until it is done once."""

from __future__ import annotations

import queue
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import DiskError, InputMissingError, PermissionDeniedError, error_from
from alignedcut_cli.frame.cluster_crew import Crew
from alignedcut_cli.frame.cluster_task import Job
from alignedcut_cli.frame.sweep import Sweep

if TYPE_CHECKING:
    from distributed import Future

__all__ = ["RETRIES", "Course"]

RETRIES = 3
"""Retries of a task on other workers, after one could not read or write the disk."""
SLOW, SLOW_SECONDS = 3.0, 5.0
"""A task is slow if it takes this multiple of the median of finished ones, and at least these seconds."""
AHEAD = 3
"""Tasks submitted per worker: one running, the others queued."""
TICK = 1.0
_OF_THE_DISK = (DiskError, InputMissingError, PermissionDeniedError)


@dataclass(frozen=True)
class _Task:
    """A submitted task: its number, and the workers allowed to do it (empty: all)."""

    number: int
    future: Future
    among: frozenset[str]


class Course:
    """One sweep. Use: `run`."""

    def __init__(self, crew: Crew, job: Job, sweep: Sweep, say: Callable[[str], None]) -> None:
        self._crew, self._job, self._sweep, self._say = crew, job, sweep, say
        self._out: dict[str, _Task] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._seconds: list[float] = []
        self._since: dict[str, float] = {}
        self._shunned: set[str] = set()
        self._failed: Counter[int] = Counter()
        self._twinned: set[int] = set()
        self._handed = 0

    def run(self, numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        """Do these tasks; `advance` is called with the units of each finished one. Raises the error of a failed task."""
        waiting, left = deque(numbers), set(numbers)
        looked = 0.0
        while left:
            if time.monotonic() - looked > TICK:
                self._look()
                looked = time.monotonic()
            while waiting and len(self._out) < AHEAD * max(1, len(self._since)):
                self._hand_out(waiting.popleft())
            try:
                done = self._taken(self._ended.get(timeout=TICK))
            except queue.Empty:
                continue
            if done is not None:
                left.discard(done)
                advance(self._sweep.sizes[done])

    def _hand_out(self, number: int, without: Sequence[str] = ()) -> None:
        """Submit a task to the cluster, except to workers without the disk and those in `without`."""
        away = self._shunned.union(without)
        among = frozenset(self._since) - away if away else frozenset()
        self._handed += 1
        key = f"{self._job.command}-{self._sweep.name}-{self._job.token}-{self._handed}"
        future = self._crew.submit(self._job, self._sweep.name, number, key, sorted(among))
        self._out[key] = _Task(number, future, among)
        future.add_done_callback(lambda ended: self._ended.put(ended.key))

    def _taken(self, key: str) -> int | None:
        """The number of the task with a key, if it is done; None if it was resubmitted, or its duplicate finished first."""
        if key not in self._out:
            return None
        task = self._out[key]
        answer = self._crew.answer(task.future)
        if answer is None:
            return self._once_more([key])
        del self._out[key]
        self._since[answer["worker"]] = time.monotonic()
        for note in answer["notes"]:
            self._say(note)
        if answer["error"]:
            self._again(task.number, answer)
            return None
        self._seconds.append(answer["seconds"])
        self._forget([other for other, one in self._out.items() if one.number == task.number])
        return task.number

    def _again(self, number: int, answer: Mapping[str, Any]) -> None:
        """Resubmit a task that failed by the disk of its worker; raise any other failure, or that of the last retry."""
        error = error_from(answer["error"])
        if not isinstance(error, _OF_THE_DISK) or self._failed[number] >= RETRIES:
            raise error
        self._failed[number] += 1
        self._shunned.add(answer["worker"])
        if all(one.number != number for one in self._out.values()):
            self._hand_out(number)

    def _once_more(self, keys: Sequence[str]) -> None:
        """Hand out again what nobody will answer."""
        numbers = [self._out[key].number for key in keys]
        self._forget(keys)
        for number in numbers:
            self._hand_out(number)

    def _forget(self, keys: Sequence[str]) -> None:
        self._crew.cancel([self._out.pop(key).future for key in keys])

    def _look(self) -> None:
        """Check for lost and slow workers; resubmit tasks that were queued for lost ones."""
        busy, now = self._crew.busy(), time.monotonic()
        idle = [worker for worker, keys in busy.items() if not keys]
        self._since = {worker: now if worker in idle else self._since.get(worker, now) for worker in busy}
        stranded = [key for key, one in self._out.items() if one.among and not one.among & busy.keys()]
        self._once_more(stranded)
        if idle and self._seconds:
            self._make_twins(busy, len(idle), now - max(SLOW_SECONDS, SLOW * statistics.median(self._seconds)))

    def _make_twins(self, busy: Mapping[str, Sequence[str]], most: int, since: float) -> None:
        """Submit duplicates of tasks started before a time to other workers: the first to finish counts."""
        for worker, keys in busy.items():
            tasks = [self._out[key] for key in keys if key in self._out] if self._since[worker] < since else []
            for one in tasks:
                if most > 0 and one.number not in self._twinned:
                    self._twinned.add(one.number)
                    self._hand_out(one.number, [worker])
                    most -= 1
