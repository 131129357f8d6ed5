"""Pictures are derived: drawn once for what they show, and again where that changed or a file is gone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alignedcut_cli.store.files import remove, writing_text

__all__ = ["draw_once", "file_stem"]

MARKER = "drawn.json"


def draw_once(folder: Path, wanted: Mapping[str, Any], draw: Callable[[], None]) -> None:
    """Let `draw` fill the emptied `folder`, unless it shows what is `wanted` and all files of it are there and whole.

    Pictures are not synced one by one: what a power cut took from one is seen by its size.
    """
    marker, wanted = folder / MARKER, json.loads(json.dumps(wanted))
    try:
        found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else {}
    except ValueError:
        found = {}
    files = found.get("files")
    if found.get("wanted") == wanted and isinstance(files, dict) and files.items() <= _sizes(folder).items():
        return
    remove(folder)
    draw()
    writing_text(marker, json.dumps({"wanted": wanted, "files": _sizes(folder)}))


def _sizes(folder: Path) -> dict[str, int]:
    """The files in and below a folder, in order of their names, and their bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def file_stem(text: str) -> str:
    """Any text as the stem of a picture's file name: at most 120 letters, digits and "._+-"."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text)[:120]
