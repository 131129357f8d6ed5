"""Rows, or items, divided among threads, for compiled loops and products that release the GIL."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from alignedcut_cli.core.numerics import cores

__all__ = ["Threads", "in_threads", "thread_count"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST = 4
"""More threads would wait for the GIL, and hold more memory."""


def thread_count() -> int:
    """Torch's number of threads; where it is not loaded, the cores there are, at most OMP_NUM_THREADS."""
    if "torch" in sys.modules:
        return sys.modules["torch"].get_num_threads()
    told = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores(), int(told)) if told.isdecimal() and int(told) else cores()


class Threads:
    """As many threads as torch uses, started when first needed and ended with the context."""

    def __init__(self) -> None:
        self.count = thread_count()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._pool:
            self._pool.shutdown()

    def share(self, total: int, work: Callable[[int, int], None], *, large: bool = True) -> None:
        """Call `work(first, last)` on ranges that cover range(total), one per thread if `large`, else one.

        The calling thread takes the first range. An error is raised here, after all have ended.
        """
        if self.count == 1 or not large:
            work(0, total)
            return
        self._pool = self._pool or ThreadPoolExecutor(self.count - 1)
        (_, own), *others = pairwise(np.linspace(0, total, self.count + 1).astype(int).tolist())
        begun = [self._pool.submit(work, first, last) for first, last in others]
        try:
            work(0, own)
        finally:
            wait(begun)
        for one in begun:
            one.result()


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], advance: Callable[[int], object] = lambda _: None
) -> list[Result]:
    """The results of `work` for each item, in the order of the items: as many at a time as torch uses threads, at most 4.

    Each has one thread for its products, so that the number of threads changes no bit. `advance` counts items, in their
    order, from this thread. The error of the first item that has one is raised, and no further item begun.
    """
    found = []
    with ThreadPoolExecutor(min(_MOST, thread_count())) as pool, threadpool_limits(1):
        begun = [pool.submit(work, item) for item in items]
        try:
            for one in begun:
                found.append(one.result())
                advance(1)
            return found
        except BaseException:
            for one in begun:
                one.cancel()
            raise
