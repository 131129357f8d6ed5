"""Threads that work on the slices of a map in parallel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["Workers", "most_workers"]

_MOST = 4
Found = TypeVar("Found")


def most_workers(device: torch.device) -> int:
    """The number of threads that are useful on a device."""
    return min(_MOST, torch.get_num_threads()) if device.type == "cpu" else 1


class Workers:
    """`count` threads, each of which computes slices of a map on one core, as a context manager.

    Small products gain more from slices in parallel than from several cores on each.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> Workers:
        self._pool = ThreadPoolExecutor(self._count, initializer=torch.set_num_threads, initargs=(1,))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def ordered(self, count: int, work: Callable[[int], Found]) -> Iterator[Found]:
        """`work(number)` for each number below `count`, in order, at most `threads + 2` in flight."""
        if min(self._count, count) == 1:
            yield from map(work, range(count))
            return
        waiting: deque[Future[Found]] = deque()
        for number in range(count):
            waiting.append(self._pool.submit(work, number))
            if len(waiting) > self._count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
