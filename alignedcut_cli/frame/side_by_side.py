"""Command lines run side by side, each as soon as what it reads is there, in processes that share the cores.

A command uses two cores for little more than half of its time: two at a time, each on one core, end sooner than one after
the other on both.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from alignedcut_cli.core.numerics import cores
from alignedcut_cli.errors import AlignedcutError, Stopped, error_from
from alignedcut_cli.frame.chain import Step, run_line, typed
from alignedcut_cli.frame.child_processes import begin_loading, environment, thread_variables, threads_of_each
from alignedcut_cli.frame.freed_memory import keep_freed_memory
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.quiet import quiet_libraries
from alignedcut_cli.frame.rare_collection import rare_collection

__all__ = ["Line", "run_side_by_side"]

_MOST = 3
"""More commands at a time would wait for each other, and hold more memory."""


@dataclass(frozen=True)
class Line:
    """A command line, the name of what it makes, and the names of what must be there before it."""

    argv: tuple[str, ...]
    makes: str
    needs: frozenset[str] = frozenset()


def run_side_by_side(
    output: Output, lines: Sequence[Line], first: str, make_first: Callable[[int, Callable[[], object]], None]
) -> list[Step]:
    """Run command lines in processes that share the cores; their steps, in the order in which they began.

    Of the lines that could begin, the earliest begins. Meanwhile this process makes what is called `first`, in place of one
    of them: `make_first` gets the number of threads of each, and a function that it calls often. The first error is raised,
    and what still runs is stopped.
    """
    count = min(_MOST, cores())
    try:
        with _processes(count, output) as (processes, wait_for_all):
            board = _Board(output, list(lines), processes)
            make_first(threads_of_each(count), functools.partial(board.tend, count - 1))
            board.there.add(first)
            wait_for_all()
            while board.tend(count):
                wait([one.connection for one in processes if one.line])
            return [board.steps[line.makes] for line in board.begun]
    except Stopped as stopped:
        stopped.remedy = "What is done is kept; run the same command again"
        raise


@dataclass
class _Process:
    """A process that runs command lines, the one that it runs, and when that began."""

    child: Any
    connection: Connection
    line: Line | None = None
    began: float = 0.0

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Convert the errors of a connection whose other end was closed."""
        try:
            yield
        except (EOFError, OSError):
            self.child.join()
            told = f"{typed(self.line.argv if self.line else ())} was killed (exit {self.child.exitcode})"
            raise AlignedcutError("step-failed", told, "Run that command alone, then this one again") from None


@dataclass
class _Board:
    """The lines still to run, what is there already, the lines that began, and the steps that ended."""

    output: Output
    waiting: list[Line]
    processes: Sequence[_Process]
    there: set[str] = field(default_factory=set)
    begun: list[Line] = field(default_factory=list)
    steps: dict[str, Step] = field(default_factory=dict)

    def tend(self, most: int) -> bool:
        """Hear what the processes say, and have at most `most` of them run a line; whether any does."""
        for one in self.processes:
            while one.line and one.connection.poll():
                self._hear(one, one.line)
        for one in self.processes[:most]:
            ready = next((line for line in self.waiting if line.needs <= self.there), None)
            if ready and not one.line:
                self.waiting.remove(ready)
                self.begun.append(ready)
                self.output.note(f"$ {typed(ready.argv)}")
                one.line, one.began = ready, time.monotonic()
                with one.alive():
                    one.connection.send(ready.argv)
        return any(one.line for one in self.processes)

    def _hear(self, one: _Process, line: Line) -> None:
        """Take one message: a remark, which is shown, the result of a line, or its failure, which is raised."""
        with one.alive():
            kind, told = one.connection.recv()
        if kind == "remark":
            sys.stderr.write(told)
            sys.stderr.flush()
            return
        one.line = None
        if kind == "failure":
            raise error_from(told)
        seconds = round(time.monotonic() - one.began, 1)
        self.steps[line.makes] = Step(typed(line.argv), told, seconds)
        self.there.add(line.makes)
        self.output.note(f"{seconds:.1f} s: {typed(line.argv)}")


@contextmanager
def _processes(count: int, output: Output) -> Iterator[tuple[list[_Process], Callable[[], object]]]:
    """Processes that share the cores, started by another thread, and a function that waits until all `count` are there.

    Those that still run when the block ends are stopped, as by SIGTERM.
    """
    variables, begun = thread_variables(count), []
    context: Any = multiprocessing.get_context(begin_loading(f"{__package__}.side_by_side_load", variables))

    def begin() -> None:
        with environment(variables):
            for _ in range(count):
                here, there = multiprocessing.Pipe()
                child = context.Process(target=_serve, args=(there, output.quiet, output.verbose))
                child.start()
                there.close()
                begun.append(_Process(child, here))

    try:
        with ThreadPoolExecutor(1) as thread:
            yield begun, thread.submit(begin).result
    finally:
        for one in begun:
            one.connection.close()
            if one.line:
                one.child.terminate()
        for one in begun:
            one.child.join()


class _Remarks(io.TextIOBase):
    """A stream that sends what is written to the process that shows it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):  # nobody listens any more
            self._connection.send(("remark", text))
        return len(text)


def _serve(connection: Connection, quiet: bool, verbose: bool) -> None:
    """Run the command lines that arrive, one after the other, until there will be no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that sends the lines handles it
    main = importlib.import_module("alignedcut_cli.main")
    signal.signal(signal.SIGTERM, main.stop)
    keep_freed_memory()
    with contextlib.suppress(EOFError, OSError, Stopped), quiet_libraries(), rare_collection():
        while argv := connection.recv():
            with contextlib.redirect_stderr(_Remarks(connection)):
                answer = _answer(main, argv, quiet, verbose)
            connection.send(answer)


def _answer(main: Any, argv: Sequence[str], quiet: bool, verbose: bool) -> tuple[str, Any]:
    """The result of a command line, or the failure as an object."""
    try:
        return "result", run_line(main.app, argv, quiet=quiet)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        return "failure", main.failure_of(error).as_object()
