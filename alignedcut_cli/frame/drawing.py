"""Figures drawn in several processes: matplotlib draws in Python, of which threads run one at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from alignedcut_cli.core.embed.threads import thread_count

__all__ = ["Drawing", "draw_all"]

_MOST = 4
"""More processes would wait for the disk, and hold more memory."""
_NUMBER = 4
Drawing = Callable[[], object]


def draw_all(drawings: Sequence[Drawing], advance: Callable[[int], object] = lambda _: None) -> None:
    """Call all `drawings`, each of which writes a file of its own and computes nothing with torch; `advance` counts them.

    On Linux, in as many processes as torch uses threads, at most 4, forked from this one: each takes the next drawing that
    none has taken. The files do not depend on it. If a process fails, all is drawn again by this one, which raises the
    error. Elsewhere, and with one thread, one after another.
    """
    count = min(len(drawings), thread_count(), _MOST) if sys.platform == "linux" else 1
    done = _forked(drawings, count, advance) if count > 1 else 0
    if done < len(drawings):
        for number, draw in enumerate(drawings):
            draw()
            advance(int(number >= done))


def _forked(drawings: Sequence[Drawing], count: int, advance: Callable[[int], object]) -> int:
    """How many were drawn by this process and `count` - 1 others, which end with it."""
    queue, fill = os.pipe()
    drawn, tell = os.pipe()
    children: list[int] = []
    try:
        with contextlib.suppress(OSError):  # no memory for more processes: fewer draw
            children.extend(_fork(lambda: _take(drawings, queue, tell, fill)) for _ in range(count - 1))
        os.write(fill, b"".join(number.to_bytes(_NUMBER, "little") for number in range(len(drawings))))
        fill = _closed(fill)
        _take(drawings, queue, tell)
        tell = _closed(tell)
        done = 0
        while told := os.read(drawn, len(drawings)):
            advance(len(told))
            done += len(told)
        return done
    except BaseException:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        raise
    finally:
        for end in (queue, fill, drawn, tell):
            _closed(end)
        for child in children:
            os.waitpid(child, 0)


def _take(drawings: Sequence[Drawing], queue: int, tell: int, other: int = -1) -> None:
    """Draw what is next in the queue until it is empty, and tell of each."""
    _closed(other)
    while number := os.read(queue, _NUMBER):
        drawings[int.from_bytes(number, "little")]()
        os.write(tell, b".")


def _fork(work: Callable[[], None]) -> int:
    """The id of a new process that does `work` and ends; Ctrl-C is left to this one, which stops it by SIGTERM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of libraries: those of torch are not used there
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work()
        status = 0
    finally:
        os._exit(status)


def _closed(end: int) -> int:
    """-1, after closing an end of a pipe that is not yet."""
    if end >= 0:
        os.close(end)
    return -1
