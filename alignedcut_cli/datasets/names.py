"""File names in different Unicode forms."""

from __future__ import annotations

import unicodedata
from pathlib import Path

__all__ = ["find_in_any_form", "same_form"]


def same_form(name: str) -> str:
    """A name in Unicode's composed form (NFC), so that names that look the same compare equal. macOS writes NFD."""
    return unicodedata.normalize("NFC", name)


def find_in_any_form(path: Path) -> Path | None:
    """The path itself if it exists, else the one that differs only in its Unicode form; None if neither exists."""
    if path.exists() or path.is_symlink():
        return path
    parent = None if path.parent == path or str(path).isascii() else find_in_any_form(path.parent)
    if parent is None or not parent.is_dir():
        return None
    alike = [child for child in sorted(parent.iterdir()) if same_form(child.name) == same_form(path.name)]
    return alike[0] if alike else None
