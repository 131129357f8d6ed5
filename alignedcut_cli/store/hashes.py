"""The hash cache: what files held when they were last read, so that unchanged files are not read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.project import MACHINE, Project

__all__ = ["HashCache"]


class HashCache:
    """Facts about files in `.alignedcut/hashes.json`, each good while path, size and times of change stay."""

    def __init__(self, project: Project) -> None:
        self._path = project.root / MACHINE / "hashes.json"
        try:
            found = json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        except (ValueError, RecursionError):
            found = {}
        self._facts: dict[str, Any] = found if isinstance(found, dict) else {}
        self._changed = False

    def get(self, path: Path) -> dict[str, Any] | None:
        """The facts stored about a file, or None if there are none or it has changed."""
        entry = self._facts.get(str(path.absolute()))
        if not isinstance(entry, dict) or not entry.get("stamp") or entry["stamp"] != _stamp(path):
            return None
        return entry["facts"] if isinstance(entry.get("facts"), dict) else None

    def put(self, path: Path, facts: dict[str, Any]) -> None:
        self._facts[str(path.absolute())] = {"stamp": _stamp(path), "facts": facts}
        self._changed = True

    def save(self) -> None:
        """Write the cache, if there is anything new in it."""
        if self._changed:
            writing_text(self._path, json.dumps(self._facts))
            self._changed = False


def _stamp(path: Path) -> list[int] | None:
    """What tells that a file has changed; of a path inside a file (HDF5) that file's; None where there is none."""
    try:
        found = path.stat()
    except NotADirectoryError:
        return _stamp(path.parent)
    except FileNotFoundError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
