"""The course of one sweep over a Dask cluster: its tasks handed out a few at a time, each until it was done once."""

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
"""How often a task is done again, elsewhere, because a worker could not read or write the disk."""
SLOW, SLOW_SECONDS = 3.0, 5.0
"""A task is slow that takes this many times the median of those done, and at least these seconds."""
AHEAD = 3
"""Tasks handed out for each worker: one under way, the others at hand when it ends."""
TICK = 1.0
_OF_THE_DISK = (DiskError, InputMissingError, PermissionDeniedError)


@dataclass(frozen=True)
class _Task:
    """A task that is out: which, and the workers that may do it (empty: all)."""

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
        """Do these tasks; `advance` is told the units of each that is done. Raises what a task ended with."""
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
        """Give a task to the cluster, but not to workers that lost the disk, nor to those of `without`."""
        away = self._shunned.union(without)
        among = frozenset(self._since) - away if away else frozenset()
        self._handed += 1
        key = f"{self._job.command}-{self._sweep.name}-{self._job.token}-{self._handed}"
        future = self._crew.submit(self._job, self._sweep.name, number, key, sorted(among))
        self._out[key] = _Task(number, future, among)
        future.add_done_callback(lambda ended: self._ended.put(ended.key))

    def _taken(self, key: str) -> int | None:
        """The number of the task with a key, if it is done now; None if it is out again, or its twin was first."""
        task = self._out.pop(key, None)
        if task is None:
            return None
        answer = self._crew.answer(task.future)
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
        """Hand out a task again that failed by the disk of its worker; raise any other failure, and the last one."""
        error = error_from(answer["error"])
        if not isinstance(error, _OF_THE_DISK) or self._failed[number] >= RETRIES:
            raise error
        self._failed[number] += 1
        self._shunned.add(answer["worker"])
        if all(one.number != number for one in self._out.values()):
            self._hand_out(number)

    def _forget(self, keys: Sequence[str]) -> None:
        self._crew.cancel([self._out.pop(key).future for key in keys])

    def _look(self) -> None:
        """See who is there and who is slow; hand out again what waits for workers that are gone."""
        busy, now = self._crew.busy(), time.monotonic()
        idle = [worker for worker, keys in busy.items() if not keys]
        self._since = {worker: now if worker in idle else self._since.get(worker, now) for worker in busy}
        stranded = {key: one for key, one in self._out.items() if one.among and not one.among & busy.keys()}
        self._forget(list(stranded))
        for one in stranded.values():
            self._hand_out(one.number)
        if idle and self._seconds:
            self._make_twins(busy, len(idle), now - max(SLOW_SECONDS, SLOW * statistics.median(self._seconds)))

    def _make_twins(self, busy: Mapping[str, Sequence[str]], most: int, since: float) -> None:
        """Give what a worker has had since before a time to the others too: the first to finish counts."""
        for worker, keys in busy.items():
            tasks = [self._out[key] for key in keys if key in self._out] if self._since[worker] < since else []
            for one in tasks:
                if most > 0 and one.number not in self._twinned:
                    self._twinned.add(one.number)
                    self._hand_out(one.number, [worker])
                    most -= 1
