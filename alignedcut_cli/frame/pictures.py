"""Pictures are derived data: drawn once, and redrawn if their content has changed or a file is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alignedcut_cli.store.files import remove, writing_text
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.project import Project

__all__ = ["draw_once", "file_stem"]

MARKER = "drawn.json"


def draw_once(project: Project, header: Header, wanted: Mapping[str, Any], draw: Callable[[], None]) -> None:
    """Call `draw` on an artifact's emptied folder, unless the folder is complete and shows what is `wanted`.

    Under the artifact's lock; complete pictures need neither the lock nor a writable disk. Files are not fsynced one by
    one: damage by a power failure shows in a file's size.
    """
    folder, wanted = project.pictures(header.kind, header.name), json.loads(json.dumps(wanted))
    if _shows(folder, wanted):
        return
    with project.writing(header.kind, header.name):
        if _shows(folder, wanted):  # drawn by another process in the meantime
            return
        remove(folder)
        draw()
        writing_text(folder / MARKER, json.dumps({"wanted": wanted, "files": _sizes(folder)}))


def _shows(folder: Path, wanted: Mapping[str, Any]) -> bool:
    marker = folder / MARKER
    try:
        found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else {}
    except (ValueError, RecursionError):
        return False
    found = found if isinstance(found, dict) else {}
    files = found.get("files")
    return found.get("wanted") == wanted and isinstance(files, dict) and files.items() <= _sizes(folder).items()


def _sizes(folder: Path) -> dict[str, int]:
    """The files in and below a folder, sorted by name, and their sizes in bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def file_stem(text: str) -> str:
    """Any text as the stem of a picture's file name: at most 120 letters, digits and "._+-"."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text)[:120]
