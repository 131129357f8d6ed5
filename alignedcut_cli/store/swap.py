"""Committing an artifact that is a folder, or replacing another by it: renames that survive a kill between any two.

Work in progress is in `KIND/.NAME.partial`, which one rename turns into `KIND/NAME`. A replaced folder moves to
`KIND/.NAME.old` until then; a replaced file is hidden by the folder and then removed. The plan stays in the folder until
all this is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors, fsync_folder, remove
from alignedcut_cli.store.index import INDEX, is_shard_name, read_json

__all__ = [
    "PLAN",
    "finish_swap",
    "is_settled",
    "old_folder",
    "partial_folder",
    "partial_progress",
    "read_plan",
    "swap_in",
    "swap_out",
]

PLAN = "plan.json"


def partial_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def old_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def partial_progress(folder: Path) -> tuple[int, int] | None:
    """(finished, planned) shards of an unfinished artifact, or None."""
    plan = read_plan(folder)
    if plan is None:
        return None
    return sum((partial_folder(folder) / name).is_file() for name in plan["shards"]), len(plan["shards"])


def read_plan(folder: Path) -> Mapping[str, Any] | None:
    """The plan of an unfinished artifact; None if there is none, or it cannot be read."""
    return _plan_in(partial_folder(folder))


def _plan_in(folder: Path) -> Mapping[str, Any] | None:
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        plan = read_json(path)
    except DataError:
        return None
    return plan if _is_plan(plan) else None


def _is_plan(value: Any) -> bool:
    kinds = {"recipe": str, "params": dict, "external": dict, "shards": list}
    shaped = isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())
    return shaped and all(is_shard_name(name) for name in value["shards"])


def is_settled(folder: Path) -> bool:
    """Whether no commit is interrupted or in progress."""
    return not old_folder(folder).exists() and not (folder / PLAN).exists()


def swap_in(folder: Path, file: Path | None = None) -> None:
    """Replace the folder, or the `file` of that name, by the work in progress, whose index is written."""
    with disk_errors(folder):
        if folder.exists():
            folder.rename(old_folder(folder))
        partial_folder(folder).rename(folder)
        fsync_folder(folder.parent)
    finish_swap(folder, file)


def swap_out(folder: Path) -> None:
    """Replace a folder by the file of that name, already written but hidden by the folder, in one rename."""
    old = old_folder(folder)
    remove(old)
    with disk_errors(folder):
        folder.rename(old)
        fsync_folder(folder.parent)
    remove(old)


def finish_swap(folder: Path, file: Path | None = None) -> bool:
    """Complete an interrupted commit; True if there was one. `file` is the artifact's path as a single file.

    The folder holds its shards and index and nothing else: temporary files of killed runs are removed.
    """
    old, partial = old_folder(folder), partial_folder(folder)
    if is_settled(folder):
        return False
    is_there = folder.exists() or (file is not None and file.exists())
    if old.exists() and not is_there:
        (partial if (partial / INDEX).is_file() else old).rename(folder)
    if plan := _plan_in(folder):
        for path in folder.iterdir():
            if path.name not in {PLAN, INDEX, *plan["shards"]}:
                remove(path)
    hidden = [file] if file is not None and (folder / PLAN).exists() else []
    for path in (old, *hidden, folder / PLAN):
        remove(path)
    return True
