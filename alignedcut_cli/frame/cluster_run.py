"""Running sweeps on the workers of a Dask cluster, from the client's side."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alignedcut_cli.core.numerics import torch_threads
from alignedcut_cli.errors import DataError, Stopped
from alignedcut_cli.frame.cluster_course import Course
from alignedcut_cli.frame.cluster_crew import Crew
from alignedcut_cli.frame.cluster_open import connecting, local_threads
from alignedcut_cli.frame.cluster_task import Job, open_sweeps_of, versions
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweep import Sweep, run_here, run_tasks
from alignedcut_cli.store.files import abandoned, remove, temporary_path, writing_text
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import MACHINE

__all__ = ["for_workers", "run_on_cluster"]

SETTLE_SECONDS = 60.0
"""Seconds until another machine's file must appear on a shared disk."""


def run_on_cluster(frame: Frame, asked: Any, sweeps: Sequence[Sweep], recipe: Recipe | None = None) -> None:
    """Run every task whose file is missing on the workers at `asked.cluster`, sweep by sweep.

    `recipe` is that of the artifact; None: of the only one that the command makes. Workers of local:N leave a sweep of one
    task to this process, unless it has a GPU: it has the threads of all, or of one where digits depend on them, and does the
    first such sweeps while the workers start. Raises UsageError, UnavailableError, DataError or the error of a failed task.
    """
    if not any(sweep.missing() for sweep in sweeps):
        return
    plain = for_workers(asked)
    recipe = recipe or _only(open_sweeps_of(frame, plain))
    gpu = str(getattr(plain, "device", "")).startswith("cuda")
    of_one, of_all = (0, 0) if gpu else local_threads(asked.cluster)
    told: set[str] = set()

    def say_once(note: str) -> None:
        if note not in told:
            told.add(note)
            frame.output.note(note)

    with (
        _told_when_stopped(frame, recipe, sweeps),
        _token(frame) as token,
        connecting(asked.cluster, gpu=gpu) as client,
    ):
        job, crew = Job(frame.output.command, plain, recipe.identity, str(Path.cwd()), token, versions()), None
        for sweep in sweeps:
            if of_one and len(sweep.sizes) == 1:
                with torch_threads(of_one if sweep.by_threads else of_all):
                    run_here(frame, [sweep])
                continue
            crew = crew or _examined(Crew(client(), asked.cluster, gpu=gpu), job, say_once)
            run_tasks(frame, sweep, sweep.missing(), Course(crew, job, sweep, say_once).run)
            _settle(sweep, 0.0 if crew.local else SETTLE_SECONDS)


def _examined(crew: Crew, job: Job, say: Callable[[str], None]) -> Crew:
    """The crew, once its workers are known to match the client."""
    if silent := crew.examine(job):
        say(f"{len(silent)} workers have not answered yet, such as {silent[0]}: going on without them")
    return crew


def for_workers(asked: Any) -> Any:
    """The options sent to workers: without cluster and shard, and with `auto` resolved to the device of this machine."""
    device = getattr(asked, "device", None)
    resolved = {"device": resolve_device("auto").type} if device == "auto" else {}
    return dataclasses.replace(asked, cluster=None, shard=None, **resolved)


def _only(found: Sequence[tuple[Recipe, Sequence[Sweep]]]) -> Recipe:
    (recipe, _), *others = found
    if others:
        raise ValueError("a command that makes several artifacts says whose sweeps are run")
    return recipe


def _settle(sweep: Sweep, seconds: float) -> None:
    """Wait until the files written by others are visible here. Raises DataError if they do not appear."""
    until = time.monotonic() + seconds
    while left := sweep.missing():
        if time.monotonic() >= until:
            raise DataError(
                "cluster-parts-missing",
                f"the workers did all of {sweep.name!r}, but {len(left)} of {len(sweep.sizes)} files do not count here",
                "Give them the same kind of device as this command (--device), and one disk with it",
            )
        time.sleep(0.2)


@contextmanager
def _token(frame: Frame) -> Iterator[str]:
    """The name of a file in the project during the block, by which workers check that they share its disk."""
    folder = frame.project.create().root / MACHINE
    for left in abandoned(folder):
        remove(left)
    path = temporary_path(folder / f"cluster-{secrets.token_hex(4)}")
    writing_text(path, path.name)
    try:
        yield path.name
    finally:
        remove(path)


@contextmanager
def _told_when_stopped(frame: Frame, recipe: Recipe, sweeps: Sequence[Sweep]) -> Iterator[None]:
    """If a signal stops the block, its message says how much is saved and how to resume."""
    try:
        yield
    except Stopped as stopped:
        planned = sum(len(sweep.sizes) for sweep in sweeps)
        kept = planned - sum(len(sweep.missing()) for sweep in sweeps)
        again = frame.journal.command(recipe.kind, recipe.name, overwrite=False)
        stopped.remedy = f"{kept} of {planned} tasks are kept; go on with: {again}"
        raise
