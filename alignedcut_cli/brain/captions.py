"""Captions of images: csv, tsv or jsonl, with one or several per image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alignedcut_cli.brain.delimited import IMAGE_COLUMNS, image_columns, open_delimited
from alignedcut_cli.brain.encoding import read_lines
from alignedcut_cli.brain.matching import match_images
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.store.canonical import digest

__all__ = ["CAPTION_COLUMNS", "Captions", "of_images", "read_captions"]

CAPTION_COLUMNS = ("caption", "captions", "text", "sentence", "description")
"""Accepted names of a column of captions, in order of precedence."""
_LINES = (".jsonl", ".ndjson")
_CELLS = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Captions:
    """Each image's captions, in the order of the file or of given images."""

    images: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path | None, ...]:
        return (None,) * len(self.images)

    @property
    def identity(self) -> str:
        """sha256 of the captions, image by image, without the names of images."""
        return digest([list(texts) for texts in self.texts])

    @property
    def count(self) -> int:
        return sum(map(len, self.texts))


def read_captions(path: Path, most: int | None = None) -> Captions:
    """The captions of a file, at most the first `most` of each image, images in order of first appearance.

    A csv or tsv has a column of image names and one of captions, a jsonl one object per line with the same keys, whose
    captions may be a list. Raises InputMissingError for a missing file, UsageError for another file type, DataError,
    naming the line, for an unreadable line, an empty caption, or no captions.
    """
    if not path.is_file():
        raise InputMissingError("captions-missing", f"--captions {path} does not exist", "Check the path")
    suffix = path.suffix.lower()
    if suffix not in (*_LINES, *_CELLS):
        told = ", ".join((*_CELLS, *_LINES))
        raise UsageError("bad-captions", f"--captions {path} is of no kind that is read", f"Give one of: {told}")
    found: dict[str, list[str]] = {}
    for line, image, text in (_from_lines if suffix in _LINES else _from_cells)(path):
        if not image.strip() or not text.strip():
            what = "names no image" if not image.strip() else "has an empty caption"
            raise DataError("caption-empty", f"{path}, line {line} {what}", "Complete the line, or remove it")
        found.setdefault(image.strip(), []).append(text.strip())
    if not found:
        raise DataError("captions-none", f"{path} holds no captions", "Give a line for each caption")
    fewer = [image for image, texts in found.items() if most and len(texts) < most]
    notes = [f"{len(fewer)} images have fewer than {most} captions: {few(fewer)}"] if fewer else []
    return Captions(tuple(found), tuple(tuple(texts[:most]) for texts in found.values()), tuple(notes))


def _from_cells(path: Path) -> Iterator[tuple[int, str, str]]:
    table = open_delimited(path)
    images = image_columns(table.header)
    called = [name.strip().lower() for name in table.header]
    texts = [called.index(name) for name in CAPTION_COLUMNS if name in called]
    for places, what, names in ((images, "image names", IMAGE_COLUMNS), (texts, "captions", CAPTION_COLUMNS)):
        if not places:
            told = f"{path} has no column of {what} (it has {few(table.header)})"
            raise DataError("captions-column", told, f"Call it {names[0]}")
    for line, cells in table.rows():
        if cells:
            yield line, cells[images[0]], cells[texts[0]]


def _from_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    lines, _ = read_lines(path)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        image, texts = _parsed(path, number, line)
        for text in texts:
            yield number, image, text


def _parsed(path: Path, number: int, line: str) -> tuple[str, list[str]]:
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if isinstance(entry, dict):
        image = next((entry[key] for key in IMAGE_COLUMNS if key in entry), None)
        given = next((entry[key] for key in CAPTION_COLUMNS if key in entry), None)
        texts = [given] if isinstance(given, str) else given
        if isinstance(image, str) and isinstance(texts, list) and all(isinstance(text, str) for text in texts):
            return image, texts
    raise DataError(
        "captions-line",
        f"{path}, line {number} is no object with image and caption",
        'Write {"image": …, "caption": …}',
    )


def of_images(captions: Captions, images: Sequence[dict[str, Any]]) -> Captions:
    """The captions of these images, in their order, matched as responses are. Raises DataError for images without any."""
    matching = match_images(captions, images)
    if matching.unmatched_images:
        raise DataError(
            "captions-missing",
            f"{len(matching.unmatched_images)} of {len(images)} images have no caption: {few(matching.unmatched_images)}",
            "Complete the captions, or leave out these images",
        )
    rows = [int(row) for row in matching.rows[matching.places.argsort()]]
    left = len(matching.unmatched_rows)
    more = (f"captions of {left} other images are left out: {few(matching.unmatched_rows)}",) if left else ()
    chosen = tuple(captions.texts[row] for row in rows)
    return replace(
        captions, images=tuple(image["path"] for image in images), texts=chosen, notes=(*captions.notes, *more)
    )
