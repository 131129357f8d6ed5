"""The hash cache: facts about file contents, so that unchanged files are not read again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import AlignedcutError
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.project import MACHINE, Project

__all__ = ["SHARDS", "HashCache", "stamp"]

SHARDS = "shards.json"
"""The cache for shards of features, separate from that of images, which can be large."""


class HashCache:
    """Facts about files in `.alignedcut/hashes.json`, valid while path, size, inode and modification times do not change."""

    def __init__(self, project: Project, file: str = "hashes.json") -> None:
        self._path = project.root / MACHINE / file
        try:
            found = json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        except (OSError, ValueError, RecursionError):
            found = {}
        self._facts: dict[str, Any] = found if isinstance(found, dict) else {}
        self._changed = False

    def get(self, path: Path) -> dict[str, Any] | None:
        """The facts stored about a file, or None if there are none or it has changed."""
        entry = self._facts.get(str(path.absolute()))
        if not isinstance(entry, dict) or not entry.get("stamp") or entry["stamp"] != stamp(path):
            return None
        return entry["facts"] if isinstance(entry.get("facts"), dict) else None

    def put(self, path: Path, facts: dict[str, Any], when: list[int] | None = None) -> None:
        """Store facts about a file in the state of the stamp `when` (None: its present state)."""
        self._facts[str(path.absolute())] = {"stamp": when or stamp(path), "facts": facts}
        self._changed = True

    def save(self) -> None:
        """Write the cache if it has changed; if that fails, files are read again next time."""
        if self._changed:
            with contextlib.suppress(AlignedcutError):
                writing_text(self._path, json.dumps(self._facts))
            self._changed = False


def stamp(path: Path) -> list[int]:
    """Size, modification times and inode of a file, which change with its content.

    For a path inside an HDF5 file or a video, those of that file; empty if there is no file.
    """
    try:
        found = path.stat()
    except NotADirectoryError:
        return stamp(path.parent)
    except FileNotFoundError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
