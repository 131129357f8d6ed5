"""Child processes: what they are forked from, the cores that they share, and Ctrl-C, which this process handles."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from alignedcut_cli.core.numerics import cores
from alignedcut_cli.frame.rare_collection import rare_collection

__all__ = ["begin_loading", "environment", "loading", "thread_variables", "threads_of_each", "without_interrupts"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def begin_loading(module: str, variables: Mapping[str, str]) -> str:
    """Start the process that child processes will be forked from: it imports `module` while this one goes on.

    `variables` are added to its environment, and so to theirs. Returns the method of multiprocessing by which they start:
    "forkserver", or "spawn" where there is no such process: on other systems than Linux, and where the temporary folder's
    path is too long for its socket.
    """
    if sys.platform != "linux":
        return "spawn"
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.get_context("forkserver").set_forkserver_preload([module])
    try:
        resource_tracker.ensure_running()  # which lets interrupts through again
        with environment(variables), without_interrupts():
            forkserver.ensure_running()
    except OSError:
        return "spawn"
    return "forkserver"


@contextmanager
def loading() -> Iterator[None]:
    """The block imports what processes forked from this one share; none of them looks for garbage in it again."""
    with rare_collection():
        yield
    gc.freeze()


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Threads started in the block, and their child processes, ignore Ctrl-C, which this thread handles."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for child processes, restored after the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def thread_variables(count: int) -> dict[str, str]:
    """The environment of `count` processes that share the cores unless OMP_NUM_THREADS is set."""
    return dict.fromkeys(_THREADS, str(threads_of_each(count)))


def threads_of_each(count: int) -> int:
    """The threads of each of `count` processes."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else max(1, cores() // count)
