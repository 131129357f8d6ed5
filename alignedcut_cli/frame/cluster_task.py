"""The worker's side of a Dask cluster: one task of a sweep at a time, with small messages both ways.

A worker makes the command's plan again from its options, after checking that it matches the client: the same code and
torch, the same project on its disk, the same recipe.
"""

from __future__ import annotations

import functools
import importlib
import os
import platform
import threading
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

from alignedcut_cli import __version__
from alignedcut_cli.errors import AlignedcutError, DataError, UnavailableError
from alignedcut_cli.frame.freed_memory import keep_freed_memory
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.quiet import quiet_libraries
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweep import Sweep
from alignedcut_cli.store.canonical import digest, file_digest
from alignedcut_cli.store.files import disk_error
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import MACHINE, Project

__all__ = ["Job", "dask_setup", "examine", "open_sweeps_of", "run_task", "versions"]

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Job:
    """What all tasks of a run have in common.

    asked      the command's options: those of clusters and shares cleared, the device no longer `auto`
    recipe     the identity of the artifact's recipe
    folder     the client's working directory
    token      a file in the project's hidden folder while the client runs, which holds its own name
    versions   `versions()` of the client
    """

    command: str
    asked: Any
    recipe: str
    folder: str
    token: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Heard(Output):
    """A silent output that collects the notes for the client."""

    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def taken(self) -> list[str]:
        """The notes since the last call."""
        found = self.notes[:]
        self.notes.clear()
        return found


def run_task(job: Job, sweep: str, number: int) -> dict[str, Any]:
    """Do one task of a sweep: its `seconds`, `notes`, and as `error` its AlignedcutError, or None.

    Other exceptions are raised. A process does one task at a time, in the client's working directory.
    """
    with _ONE_AT_A_TIME:
        began = monotonic()
        error, notes = _tried(job, functools.partial(_run, sweep=sweep, number=number))
        return {"seconds": monotonic() - began, "notes": notes, "error": error, "worker": _address()}


def examine(job: Job) -> dict[str, Any]:
    """The `error` with which `run_task` would refuse any task on this worker, or None."""
    with _ONE_AT_A_TIME:
        error, _ = _tried(job, lambda _: None)
        return {"error": error, "worker": _address()}


def _run(opened: _Opened, sweep: str, number: int) -> None:
    opened.sweeps[sweep].run([number], lambda _: None)


def _tried(job: Job, work: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """The outcome of `work` on the opened sweeps of a job: its error as an object or None, and its notes."""
    opened = None
    try:
        with quiet_libraries(), _inside(job.folder):
            opened = _open(job)
            work(opened)
        error = None
    except AlignedcutError as failure:
        error = failure.as_object()
    except OSError as failure:
        error = disk_error(failure, Path(str(failure.filename or "?"))).as_object()
    return error, opened.output.taken() if opened else []


def _inside(folder: str) -> chdir[str]:
    if not Path(folder).is_dir():
        raise _no_project(f"does not see the working directory {folder}")
    return chdir(folder)


@dataclass(frozen=True)
class _Opened:
    """The sweeps of a job on this worker, by name, and the output with their notes."""

    output: _Heard
    sweeps: dict[str, Sweep]


@functools.lru_cache(maxsize=1)
def _open(job: Job) -> _Opened:
    """The sweeps of a job. Raises UnavailableError or DataError, naming the worker, if it does not match the client."""
    here = dict(versions())
    for what, wanted in job.versions:
        if here[what] != wanted:
            raise UnavailableError(
                "cluster-other-version",
                f"{_worker()} has {what} {here[what]}, this command {wanted}",
                "Start the workers in the same environment as the command",
            )
    token = Path(job.asked.project) / MACHINE / job.token
    if not token.is_file() or token.read_text(encoding="utf-8") != job.token:
        raise _no_project(f"does not see the project {job.asked.project} of {job.folder}")
    keep_freed_memory()
    output = _Heard(job.command, quiet=True)
    frame = Frame(Project(job.asked.project), output, (job.command,), getattr(job.asked, "verify", False))
    try:
        found = {recipe.identity: sweeps for recipe, sweeps in open_sweeps_of(frame, job.asked)}
    except AlignedcutError as error:
        raise type(error)(error.code, f"{_worker()}: {error.message}", error.remedy, **error.details) from None
    if job.recipe not in found:
        raise DataError(
            "cluster-other-recipe",
            f"{_worker()} plans another artifact from the same options: it sees other inputs, images or weights",
            "Give the workers the files that the command reads",
        )
    return _Opened(output, {sweep.name: sweep for sweep in found[job.recipe]})


def _no_project(fault: str) -> UnavailableError:
    return UnavailableError(
        "cluster-no-project", f"{_worker()} {fault}", "Put both on a disk that all machines mount at the same path"
    )


def open_sweeps_of(frame: Frame, asked: Any) -> list[tuple[Recipe, Sequence[Sweep]]]:
    """Each artifact of a command with its sweeps, planned from its options by `open_sweeps` of the command's package."""
    package = type(asked).__module__.rpartition(".")[0]
    return importlib.import_module(f"{package}.sweeps").open_sweeps(frame, asked)


@functools.cache
def versions() -> tuple[tuple[str, str], ...]:
    """The versions that the bytes of an artifact may depend on: this package, with a digest of its code, and torch."""
    return (("alignedcut", f"{__version__} ({_code()})"), ("torch", version("torch")))


def _code() -> str:
    """Eight digits that identify the sources of an installation."""
    folder = Path(__file__).parents[1]
    return digest({str(path.relative_to(folder)): file_digest(path) for path in sorted(folder.rglob("*.py"))})[:8]


def _address() -> str:
    from distributed import get_worker

    return get_worker().address


def _worker() -> str:
    return f"worker {_address()} on {platform.node()}"


def dask_setup(_: Any) -> None:
    """Silence a worker process on the client's own terminal."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
