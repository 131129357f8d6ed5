"""The encoding of a text file, guessed from its bytes."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from alignedcut_cli.brain.arrays import LARGEST
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors

__all__ = ["decoded", "find_encoding", "read_lines"]

_CHUNK = 1 << 20
_LONGEST_LIST = 1 << 30
_MARKS = {
    codecs.BOM_UTF8: ("utf-8-sig", "UTF-8 with a byte-order mark"),
    codecs.BOM_UTF32_LE: ("utf-32", "UTF-32"),  # before UTF-16's, which is its prefix
    codecs.BOM_UTF32_BE: ("utf-32", "UTF-32"),
    codecs.BOM_UTF16_LE: ("utf-16", "UTF-16"),
    codecs.BOM_UTF16_BE: ("utf-16", "UTF-16"),
}
_PLAIN = ("utf-8", "")
_WINDOWS = ("cp1252", "Windows-1252 (Latin-1)")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def find_encoding(path: Path, code: str = "csv-unreadable") -> tuple[str, str]:
    """The encoding of a text file, and its name for notes (empty for plain UTF-8).

    A byte-order mark decides; then zeros in every second of the first bytes (UTF-16); then whether all is UTF-8; then
    Windows-1252, which has all of Latin-1's letters, if that decodes to text. Raises DataError otherwise, with `code`.
    """
    with disk_errors(path):
        if path.stat().st_size > LARGEST:
            raise DataError("too-large", f"{path} is larger than {LARGEST >> 30} GiB", "Save it as npz or npy")
        with path.open("rb") as stream:
            head = stream.read(_CHUNK)
    for mark, found in _MARKS.items():
        if head.startswith(mark):
            return _require_text(path, code, *found)
    if len(head) > 1 and 0 in head:
        evens, odds = head[:64:2], head[1:64:2]
        if not any(odds) and all(evens):
            return _require_text(path, code, "utf-16-le", "UTF-16")
        if not any(evens) and all(odds):
            return _require_text(path, code, "utf-16-be", "UTF-16")
    return _PLAIN if _is_text(path, *_PLAIN) else _require_text(path, code, *_WINDOWS)


def _require_text(path: Path, code: str, encoding: str, called: str) -> tuple[str, str]:
    if _is_text(path, encoding, called):
        return encoding, called
    raise DataError(code, f"{path} is no text: neither UTF-8, UTF-16 nor Windows-1252 (Latin-1)", "Save it in UTF-8")


def _is_text(path: Path, encoding: str, called: str) -> bool:
    """Whether all bytes can be decoded, without control characters if the encoding is only a guess."""
    try:
        with disk_errors(path), path.open(encoding=encoding, newline="") as stream:
            while part := stream.read(_CHUNK):
                if called and _CONTROLS.search(part):
                    return False
    except UnicodeError:
        return False
    return True


def decoded(names: list[bytes]) -> list[str] | None:
    """Names as text: UTF-8, else all of them as Windows-1252; None if they are neither."""
    for encoding, _ in (_PLAIN, _WINDOWS):
        try:
            return [name.decode(encoding) for name in names]
        except UnicodeDecodeError:
            continue
    return None


def read_lines(path: Path) -> tuple[list[str], str]:
    """The lines of a list of names, without trailing blank ones, and the name of its encoding for notes."""
    encoding, called = find_encoding(path, "image-list-unreadable")
    with disk_errors(path):
        if path.stat().st_size > _LONGEST_LIST:
            raise DataError("too-large", f"{path} is longer than a list of names can be", "Check the file")
        lines = path.read_text(encoding=encoding).rstrip().splitlines()
    return lines, called
