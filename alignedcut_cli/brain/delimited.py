"""Delimited text: cells separated by commas, semicolons or tabs, and the format of a file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from alignedcut_cli.brain.encoding import find_encoding
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors

__all__ = ["IMAGE_COLUMNS", "SEPARATORS", "Delimited", "image_columns", "open_delimited"]

IMAGE_COLUMNS = (
    "image", "images", "image_name", "image_file", "file", "filename", "file_name", "stimulus", "stimulus_id",
)  # fmt: skip
"""Accepted names of a column of image names, in order of precedence."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_MOST_COLUMNS = 1 << 22
_LONGEST_LINE = 1 << 27
_DECLARED = re.compile(r'"?sep=(.)"?\s*')


def image_columns(header: Sequence[str]) -> list[int]:
    """The indices of the columns of image names, in any case and with spaces for underscores, by precedence."""
    called = [re.sub(r"[\s_-]+", "_", name.strip().lower()) for name in header]
    return [place for known in IMAGE_COLUMNS for place, name in enumerate(called) if name == known]


@dataclass(frozen=True)
class Delimited:
    """A file of delimited text: its encoding and that encoding's name for notes, its separator and header.

    `declared` says that the first line is Excel's `sep=;`.
    """

    path: Path
    encoding: str
    called: str
    separator: str
    header: tuple[str, ...]
    declared: bool

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of each row below the header, as many cells as the header has; none for a blank row.

        Extra blank cells are dropped. Raises DataError for a row of another length.
        """
        width = len(self.header)
        with _stream(self.path, self.encoding) as stream:
            lines = _records(self.path, stream, self.separator, self.declared)
            next(lines, None)
            for number, cells in lines:
                if not any(cell.strip() for cell in cells[width:]):
                    cells = cells[:width]
                if not any(cell.strip() for cell in cells):
                    yield number, []
                elif len(cells) == width:
                    yield number, cells
                else:
                    raise self._ragged(number, len(cells))

    def lines(self) -> Iterator[str]:
        """The unparsed lines below the first."""
        with _stream(self.path, self.encoding) as stream:
            next(stream, None)
            yield from stream

    def _ragged(self, number: int, cells: int) -> DataError:
        width = len(self.header)
        what = f"{self.path}: line {number} has {cells} cells, the header {width}"
        if self.separator == "," and cells == 2 * (width - 1) + 1:
            return DataError(
                "csv-ragged",
                f"{what}: commas seem to separate the cells and to mark decimals, too",
                "Save it with semicolons or tabs between the cells, or with decimal points",
            )
        return DataError("csv-ragged", what, "Give every line as many cells as the header")


def open_delimited(path: Path) -> Delimited:
    """A file's encoding, separator and header.

    The separator is what the first line declares (`sep=;`), else the one of comma, semicolon and tab that splits the
    header; of several, the one that yields a column of image names. R's write.table omits the header of the row names in
    the first column: an unnamed column is added. Raises DataError if several separators remain.
    """
    encoding, called = find_encoding(path)
    with _stream(path, encoding) as stream:
        declared = _DECLARED.fullmatch(stream.readline(100))
    if declared and declared[1] not in SEPARATORS:
        raise _unclear(path, f"says that {declared[1]!r} separates its cells")
    separator = declared[1] if declared else _separator(path, encoding)
    header, first = _beginning(path, encoding, separator, 2, declared=bool(declared))
    if separator != "," and len(first) == len(header) + 1 > 2 and first[-1].strip():
        header = ["", *header]
    return Delimited(path, encoding, called, separator, tuple(header), bool(declared))


def _separator(path: Path, encoding: str) -> str:
    headers: dict[str, list[str]] = {}
    refused: list[DataError] = []
    for separator in SEPARATORS:
        try:
            headers[separator] = _beginning(path, encoding, separator, 1)[0]
        except DataError as error:
            if error.code == "too-large":
                raise
            refused.append(error)
    parting = [separator for separator, header in headers.items() if len(header) > 1]
    if len(parting) > 1:
        parting = [separator for separator in parting if image_columns(headers[separator])]
        if len(parting) != 1:
            raise _unclear(path, f"has a header with {' and '.join(_held(headers))}, and either may separate its cells")
    if not parting and refused:
        raise refused[0]
    return parting[0] if parting else ","


def _held(headers: dict[str, list[str]]) -> list[str]:
    return [SEPARATORS[separator] for separator, header in headers.items() if len(header) > 1]


def _unclear(path: Path, what: str) -> DataError:
    return DataError(
        "csv-separator", f"{path} {what}", "Save it with commas, semicolons or tabs alone between the cells"
    )


def _beginning(path: Path, encoding: str, separator: str, count: int, *, declared: bool = False) -> list[list[str]]:
    """The cells of the first lines, including the header; none for missing lines."""
    with _stream(path, encoding) as stream:
        records = _records(path, stream, separator, declared)
        return [next(records, (0, []))[1] for _ in range(count)]


@contextmanager
def _stream(path: Path, encoding: str) -> Iterator[TextIO]:
    with disk_errors(path), path.open(encoding=encoding, newline="") as stream:
        yield stream


def _lines(path: Path, stream: TextIO) -> Iterator[str]:
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise _too_wide(path, f"a line of {_LONGEST_LINE} letters or more")
        yield line


def _too_wide(path: Path, what: str) -> DataError:
    return DataError(
        "too-large", f"{path} has {what}, and at most {_MOST_COLUMNS} columns are read", "Save it as npz or npy"
    )


def _records(path: Path, stream: TextIO, separator: str, declared: bool) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of the non-blank lines. Raises DataError if the file is not delimited text."""
    reader = csv.reader(_lines(path, stream), strict=True, delimiter=separator)
    try:
        for cells in reader:
            if len(cells) > _MOST_COLUMNS:
                raise _too_wide(path, f"{len(cells)} columns")
            if cells and not (declared and reader.line_num == 1):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            "csv-unreadable", f"{path}, line {reader.line_num}: {error}", "Save it as comma-separated values"
        ) from None
