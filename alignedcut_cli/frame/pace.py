"""The rate of work and the time left, once they can be estimated."""

from __future__ import annotations

from collections import deque
from time import monotonic

__all__ = ["Pace", "format_seconds"]

FEWEST, SHORTEST, RECENT = 3, 2.0, 30.0
"""The fewest reports and the shortest time between first and last for an estimate; the seconds that it looks back."""
_APART = 0.1


def format_seconds(seconds: float) -> str:
    """A duration in readable units: 42 s, 3 min 5 s, 2 h 1 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Pace:
    """The rate over the last half minute. Time before the first report is start-up and does not count.

    `done` units were done in an earlier run.
    """

    def __init__(self, done: int = 0) -> None:
        self.done = done
        self.now = monotonic()
        self._reports: deque[tuple[float, int]] = deque()

    def count(self, count: int) -> None:
        """Report that `count` more units are done."""
        self.done += count
        self.now = monotonic()
        if not self._reports or self.now - self._reports[-1][0] >= _APART:
            self._reports.append((self.now, self.done))
        while len(self._reports) > FEWEST and self.now - self._reports[0][0] > RECENT:
            self._reports.popleft()

    @property
    def speed(self) -> float | None:
        """Units per second, or None while unknown."""
        if len(self._reports) < FEWEST:
            return None
        (began, before), (ended, after) = self._reports[0], self._reports[-1]
        return (after - before) / (ended - began) if ended - began >= SHORTEST else None

    def told(self, total: int, unit: str) -> str:
        """The rate and the time left, such as `61.3 images/s, 12 s left`; empty while unknown."""
        if not self.speed:
            return ""
        return f"{self.speed:.3g} {unit}/s, {format_seconds((total - self.done) / self.speed)} left"
