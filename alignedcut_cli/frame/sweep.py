"""A sweep: the work of a command as a fixed list of tasks, each of which writes one file, whoever runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Sweep"]


@dataclass(frozen=True)
class Sweep:
    """A list of tasks, numbered from 0, that need nothing of one another.

    name      what the sweep is called among those of its artifact, such as "project"
    what      what it does, for the progress, such as "cutting"
    unit      what is counted, such as "nodes"
    sizes     how many of these each task has
    missing   the numbers of the tasks whose file is not there
    run       does some of the tasks in this process, and calls its second argument with a count of units done
    """

    name: str
    what: str
    unit: str
    sizes: Sequence[int]
    missing: Callable[[], list[int]]
    run: Callable[[Sequence[int], Callable[[int], None]], None]

    def count(self, numbers: Sequence[int]) -> int:
        """The units in some of the tasks."""
        return sum(self.sizes[number] for number in numbers)
