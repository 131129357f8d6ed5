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
    """Let `draw` fill the emptied `folder`, unless it shows what is `wanted` and no file of it is gone."""
    marker, wanted = folder / MARKER, json.loads(json.dumps(wanted))
    try:
        found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else {}
        drawn = found["wanted"] == wanted and all((folder / name).is_file() for name in found["files"])
    except (ValueError, LookupError, TypeError, RecursionError):
        drawn = False
    if drawn:
        return
    remove(folder)
    draw()
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    writing_text(marker, json.dumps({"wanted": wanted, "files": files}))


def file_stem(text: str) -> str:
    """Any text as the stem of a picture's file name: at most 120 letters, digits and "._+-"."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text)[:120]
