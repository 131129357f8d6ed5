"""A report in the store: one HTML file with its own provenance header, by which it can be verified anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import DataError, InputMissingError
from alignedcut_cli.store.canonical import canonical_json
from alignedcut_cli.store.files import disk_errors, writing
from alignedcut_cli.store.header import Header, Recipe, header_from, header_object

__all__ = ["page_content", "read_page", "write_page"]

_BEGIN = b'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><script type="application/json" id="header">\n'
_END = b"\n</script>\n"
_LONGEST_HEADER = 100_000_000
_CHUNK = 1 << 20


def write_page(
    path: Path, recipe: Recipe, rest: str, *, axes: Mapping[str, Any], numerics: Mapping[str, Any],
    parents: Sequence[Header], **more: Any,
) -> Header:  # fmt: skip
    """Write a page atomically and return its header. `rest` is the HTML from the head's further elements to the end."""
    body = rest.encode("utf-8")
    content = hashlib.blake2b(body, digest_size=32).hexdigest()
    made = header_object(
        recipe, content, axes=axes, tensors={}, numerics=numerics, parents=parents, bytes=len(body), **more
    )
    text = canonical_json(made).replace("<", "\\u003c").encode("ascii")
    with writing(path) as temporary:
        temporary.write_bytes(_BEGIN + text + _END + body)
    return header_from(made, str(path))


def read_page(path: Path) -> Header:
    """The checked provenance header of a page; the rest is not read. Raises DataError or InputMissingError."""
    with disk_errors(path):
        if not path.is_file():
            told = "Check the name with alignedcut status"
            raise InputMissingError("artifact-missing", f"{path} does not exist", told)
        with path.open("rb") as stream:
            began = stream.read(len(_BEGIN)) == _BEGIN
            text = stream.readline(_LONGEST_HEADER) if began else b""
            closed = stream.read(len(_END) - 1) == _END[1:]
        size = path.stat().st_size
    if not (began and closed):
        told = f"{path} is no report of alignedcut, or its header is cut off"
        raise DataError("artifact-foreign", told, "Make it again")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("artifact-corrupt", f"{path}: the header is no JSON", "Make it again") from None
    header = header_from(raw, str(path))
    length = header.raw.get("bytes")
    whole = _start(text) + (length if isinstance(length, int) else -1)
    if size != whole:
        code, told = ("artifact-truncated", "is cut off") if size < whole else ("artifact-corrupt", "is too long")
        raise DataError(code, f"{path} {told}: {size} of {whole} bytes", "Make it again")
    return header


def _start(text: bytes) -> int:
    """The offset of the page itself, after the header's line."""
    return len(_BEGIN) + len(text) + len(_END) - 1


def page_content(path: Path) -> str:
    """The content id of a page: 256 bits of BLAKE2b over all bytes after its header."""
    state = hashlib.blake2b(digest_size=32)
    with disk_errors(path), path.open("rb") as stream:
        stream.seek(len(_BEGIN))
        stream.seek(_start(stream.readline(_LONGEST_HEADER)))
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
