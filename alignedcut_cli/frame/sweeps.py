"""Sweeps: the work of a command as fixed lists of tasks, each of which writes one file, whoever runs it.

The files are the only state: a task that is done is never done again, and a command that was interrupted, or whose tasks
were shared among machines, goes on with those whose file is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import LockedError, UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweep import Sweep, run_here, run_tasks
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.locks import hold

__all__ = [
    "Sweep",
    "make_shard",
    "note_start",
    "parse_shard",
    "run_here",
    "run_shard",
    "run_sweeps",
    "share_of",
    "told_of_shard",
]


def run_sweeps(frame: Frame, asked: Any, sweeps: Sequence[Sweep], recipe: Recipe | None = None) -> None:
    """Do every task whose file is missing: here, or with --cluster on its workers.

    A command that makes several artifacts says by `recipe` whose sweeps they are. Raises UnavailableError (exit 69) for a
    cluster that cannot be used, or what a task ended with.
    """
    if asked.cluster is None:
        run_here(frame, sweeps)
    else:
        from alignedcut_cli.frame.cluster_run import run_on_cluster

        run_on_cluster(frame, asked, sweeps, recipe)


def make_shard(
    frame: Frame, recipe: Recipe, text: str, sweeps: Callable[[], Sequence[Sweep]]
) -> tuple[str, dict[str, Any]]:
    """Do a share of an artifact's tasks (--shard `text`): a line and an object that say what is left.

    `sweeps` gives them once it is known that the artifact is not there. Nothing is locked, as other jobs write beside this
    one. Raises UsageError, or OutputExistsError for an artifact of another recipe.
    """
    shard = parse_shard(text)
    if frame.existing(recipe, overwrite=False):
        return told_of_shard(recipe, text, None)
    note_start(frame, recipe)
    lock = frame.project.lock_path(recipe.kind, f"{recipe.name}.first")
    return told_of_shard(recipe, text, run_shard(frame, sweeps(), shard, lock))


def told_of_shard(recipe: Recipe, text: str, left: int | None) -> tuple[str, dict[str, Any]]:
    """A line and an object that say how many tasks a job, --shard `text`, left; None if the artifact was there already."""
    named, again = f"{recipe.kind}/{recipe.name}", "the same command without --shard finishes it"
    tasks = "1 task is" if left == 1 else f"{left} tasks are"
    told = f"{named}: {tasks} left; {again}" if left else f"{named}: {again}"
    return f"{named} is up to date" if left is None else told, {
        "kind": recipe.kind,
        "name": recipe.name,
        "recipe": recipe.identity,
        "shard": text,
        "left": left or 0,
        "made": False,
    }


def note_start(frame: Frame, recipe: Recipe) -> None:
    """Record the command that finishes the artifact, once for all jobs, so that `status` can tell it."""
    argv = [word for word in frame.argv if not word.startswith("--shard=")]
    if "--shard" in argv:
        at = argv.index("--shard")
        del argv[at : at + 2]
    last = frame.journal.last(recipe.kind, recipe.name)
    if last is None or (last["argv"], last.get("recipe")) != (argv, recipe.identity):
        frame.journal.note("start", recipe.kind, recipe.name, argv, recipe=recipe.identity)


def run_shard(frame: Frame, sweeps: Sequence[Sweep], shard: tuple[int, int], lock: Path) -> int:
    """Do what job i of n, `shard` = (i, n), has to do: every n-th task. The number of tasks that are missing after it.

    A sweep of one task is everybody's: the first job to come does it while the others wait, by the lock file, or, where
    it is the last, end. A later sweep begins only where the one before it is whole; what is left is done by the same
    command without --shard.
    """
    left = 0
    for sweep in sweeps:
        if len(sweep.sizes) == 1:
            with suppress(LockedError), hold(lock, sweep.name, wait=sweep is not sweeps[-1]):
                run_tasks(frame, sweep, sweep.missing())
        else:
            run_tasks(frame, sweep, share_of(sweep, shard))
        left = len(sweep.missing())
        if left:
            break
    return left


def share_of(sweep: Sweep, shard: tuple[int, int] | None) -> list[int]:
    """The tasks whose file is missing and that are for job i of n; of a sweep of one task, and without jobs, all."""
    job, jobs = shard if shard and len(sweep.sizes) > 1 else (1, 1)
    return [number for number in sweep.missing() if number % jobs == job - 1]


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of --shard i/n, 1 <= i <= n. Raises UsageError."""
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UsageError("bad-shard", f"--shard {text!r} is no share of the work", "Give i/n with i from 1 to n: 3/16")
    return int(first), int(last)
