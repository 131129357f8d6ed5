"""A sweep: the work of a command as a fixed list of tasks, each of which writes one file, on any machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alignedcut_cli.frame.run import Frame

__all__ = ["Sweep", "run_here", "run_tasks"]


Run = Callable[[Sequence[int], Callable[[int], None]], None]


@dataclass(frozen=True)
class Sweep:
    """A list of independent tasks, numbered from 0.

    name        its name among the sweeps of its artifact, such as "project"
    what        the activity, for the progress, such as "cutting"
    unit        the unit counted, such as "nodes"
    sizes       the number of units of each task
    missing     returns the numbers of the tasks whose file is missing
    run         does some of the tasks in this process, and calls its second argument with the count of units done
    by_threads  whether the last digits of what its tasks write depend on the number of threads
    """

    name: str
    what: str
    unit: str
    sizes: Sequence[int]
    missing: Callable[[], list[int]]
    run: Run
    by_threads: bool = False

    def count(self, numbers: Sequence[int]) -> int:
        """The units in some of the tasks."""
        return sum(self.sizes[number] for number in numbers)


def run_here(frame: Frame, sweeps: Sequence[Sweep]) -> None:
    """Do in this process, sweep after sweep, every task whose file is missing."""
    for sweep in sweeps:
        run_tasks(frame, sweep, sweep.missing())


def run_tasks(frame: Frame, sweep: Sweep, numbers: Sequence[int], run: Run | None = None) -> None:
    """Do some tasks, in this process or by another `run`, with the progress of the whole sweep."""
    total = sweep.count(range(len(sweep.sizes)))
    with frame.output.progress(sweep.what, total, sweep.unit, total - sweep.count(numbers)) as advance:
        if numbers:
            (run or sweep.run)(numbers, advance)
