"""Comma-separated tables: an image column and one column a channel."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors

__all__ = ["IMAGE_COLUMNS", "read_comma_separated"]

IMAGE_COLUMNS = ("image", "images", "file", "filename", "stimulus")


def read_comma_separated(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """The image of each row (None without an image column) and the numbers, float32 (rows, channels).

    The image column is the first whose header is one of IMAGE_COLUMNS, in any case; an empty cell is NaN. Raises
    DataError for a cell that is no number, naming its line and column, and for lines of another length.
    """
    with disk_errors(path), path.open(encoding="utf-8-sig", newline="") as stream:
        lines = _lines(path, stream)
        header = next(lines, (0, []))[1]
        named = [place for place, name in enumerate(header) if name.strip().lower() in IMAGE_COLUMNS]
        names: list[str] = []
        rows: list[np.ndarray] = []
        for number, cells in lines:
            if len(cells) != len(header):
                raise DataError(
                    "csv-ragged",
                    f"{path}: line {number} has {len(cells)} cells, the header {len(header)}",
                    "Give every line as many cells as the header",
                )
            if named:
                names.append(cells[named[0]])
            rows.append(_numbers(path, number, header, cells, named[:1]))
    if not rows:
        raise DataError("csv-empty", f"{path} has no rows below its header", "Give one line per image")
    return (names if named else None), np.stack(rows)


def _lines(path: Path, stream: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of the lines that are not blank. Raises DataError if the file is no csv text."""
    reader = csv.reader(stream, strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except UnicodeDecodeError:
        raise DataError("csv-unreadable", f"{path} is no UTF-8 text", "Save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(
            "csv-unreadable", f"{path}, line {reader.line_num}: {error}", "Save it as comma-separated values"
        ) from None


def _numbers(path: Path, line: int, header: Sequence[str], cells: Sequence[str], skip: Sequence[int]) -> np.ndarray:
    """The channels of one line, float32 (channels,)."""
    numbers = []
    for column, cell in enumerate(cells):
        if column in skip:
            continue
        try:
            numbers.append(_number(cell))
        except ValueError:
            raise DataError(
                "csv-cell",
                f"{path}, line {line}, column {header[column]!r}: {cell[:40]!r} is no number",
                f"Give numbers in every column but the images', which must be called {' or '.join(IMAGE_COLUMNS)}",
            ) from None
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32)


def _number(cell: str) -> float:
    if "_" in cell:  # which float() would read past
        raise ValueError
    return float(cell) if cell.strip() else float("nan")
