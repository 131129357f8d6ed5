"""Writing on a thread of its own, while what comes next is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["write_behind"]


def write_behind(writes: Iterable[Callable[[], None]]) -> None:
    """Do each write while the next is being computed. A signal waits for the one that is on its way."""
    pending: Future[None] | None = None
    with ThreadPoolExecutor(1) as disk:
        for write in writes:
            if pending:
                pending.result()
            pending = disk.submit(write)
        if pending:
            pending.result()
