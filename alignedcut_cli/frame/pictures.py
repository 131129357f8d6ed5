"""Pictures are derived: drawn once for what they show, and again where that changed or a file is gone."""

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
    """Let `draw` fill an artifact's emptied folder, unless it shows what is `wanted` and no file of it is gone.

    Under the artifact's lock; pictures that are there need none, nor a disk that can be written.
    """
    folder, wanted = project.pictures(header.kind, header.name), json.loads(json.dumps(wanted))
    if _shows(folder, wanted):
        return
    with project.writing(header.kind, header.name):
        if _shows(folder, wanted):  # drawn by another process in the meantime
            return
        remove(folder)
        draw()
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        writing_text(folder / MARKER, json.dumps({"wanted": wanted, "files": files}))


def _shows(folder: Path, wanted: Mapping[str, Any]) -> bool:
    marker = folder / MARKER
    try:
        found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else {}
    except ValueError:
        return False
    return found.get("wanted") == wanted and all((folder / name).is_file() for name in found["files"])


def file_stem(text: str) -> str:
    """Any text as the stem of a picture's file name: at most 120 letters, digits and "._+-"."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text)[:120]
