"""Delimited tables of responses: which columns are channels, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.decimals import Ambiguous, as_number, decimal_mark
from alignedcut_cli.brain.delimited import IMAGE_COLUMNS, SEPARATORS, Delimited, image_columns, open_delimited
from alignedcut_cli.brain.row_names import are_quoted, is_nameless, nameless_content
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError

__all__ = ["read_channels"]

_MARKS = {".": "decimal points", ",": "decimal commas"}


@dataclass(frozen=True)
class _Cells:
    """The non-blank rows of a table by column: numbers of the channels, text of the other columns.

    `lines` are their line numbers, `blank` those of blank rows, `grouped` the cells with thousands separators.
    """

    texts: dict[int, list[str]]
    numbers: list[np.ndarray]
    lines: list[int]
    blank: list[int]
    grouped: list[str]


def read_channels(path: Path) -> tuple[list[str] | None, np.ndarray, list[str]]:
    """The image of each row (None where no column names them), the values, float32 (rows, channels), and notes.

    Every column is a channel except those of image names (IMAGE_COLUMNS, the first in that order is used), and unnamed
    ones that are empty or hold row numbers or row names (`nameless_content`). Row names in the first column are image
    names if there is no such column. Raises DataError for a cell that is not a finite number, naming its line and column,
    for lines of another length, and if the decimal mark is ambiguous.
    """
    table = open_delimited(path)
    named = image_columns(table.header)
    nameless = [place for place, name in enumerate(table.header) if is_nameless(name)]
    taken = {*named, *nameless}
    channels = [place for place in range(len(table.header)) if place not in taken]
    mark = _mark(table, [*nameless, *channels])
    cells = _read(table, [*named[:1], *nameless], channels, mark)
    if not cells.lines:
        raise DataError("csv-empty", f"{path} has no rows below its header", "Give one line per image")
    held = {place: _content(table, place, cells.texts[place], mark) for place in nameless}
    names = cells.texts[named[0]] if named else cells.texts[0] if held.get(0) == "row names" else None
    added = [place for place, content in held.items() if content == "numbers" or (content == "row names" and not names)]
    notes = [*_form_notes(table, mark, cells), *_names_notes(table, named, names), *_nameless_notes(held, added, named)]
    notes += [f"{len(cells.blank)} empty lines are left out: {few(cells.blank)}"] if cells.blank else []
    return names, _with_columns(table, mark, cells, channels, added), notes


def _mark(table: Delimited, columns: Sequence[int]) -> str:
    """The decimal mark. Raises DataError if it is ambiguous."""
    try:
        return decimal_mark(
            lambda: ([cells[place] for place in columns] for _, cells in table.rows() if cells),
            either=table.separator == ";",
        )
    except Ambiguous as found:
        said = " and ".join(repr(cell[:40]) for cell in found.cells)
        several = "cannot be read with one decimal mark"
        why = several if len(found.cells) > 1 else "may have a decimal mark or one of thousands"
        raise DataError(
            "csv-decimal", f"{table.path}: {said} {why}", "Write all numbers with a decimal point"
        ) from None


def _read(table: Delimited, as_text: Sequence[int], channels: Sequence[int], mark: str) -> _Cells:
    """One pass over a table whose decimal mark is known."""
    found = _Cells({place: [] for place in as_text}, [], [], [], [])
    for line, cells in table.rows():
        if not cells:
            found.blank.append(line)
            continue
        found.lines.append(line)
        for place, texts in found.texts.items():
            texts.append(cells[place])
        found.numbers.append(_numbers(table, mark, line, {place: cells[place] for place in channels}, found.grouped))
    return found


def _numbers(table: Delimited, mark: str, line: int, cells: Mapping[int, str], grouped: list[str]) -> np.ndarray:
    """The numbers of one line's cells by column, float32 (channels,); cells with thousands separators go to `grouped`."""
    numbers = []
    for place, cell in cells.items():
        try:
            number, has_groups = as_number(cell, mark)
        except ValueError:
            raise _bad_cell(
                table, line, place, f"{cell[:40]!r} is no number",
                f"Give numbers in every column but the images', which must be called {' or '.join(IMAGE_COLUMNS)}",
            ) from None  # fmt: skip
        numbers.append(number)
        if has_groups:
            grouped.append(cell.strip())
    with np.errstate(over="ignore"):
        values = np.array(numbers, np.float32)
    if np.isinf(values).any():
        place = list(cells)[int(np.isinf(values).argmax())]
        what = f"{cells[place].strip()[:40]!r} is infinite, or too large for float32"
        raise _bad_cell(table, line, place, what, "Leave the cell empty if the value is missing")
    return values


def _bad_cell(table: Delimited, line: int, place: int, what: str, remedy: str) -> DataError:
    return DataError("csv-cell", f"{table.path}, line {line}, column {_called(table, place)}: {what}", remedy)


def _called(table: Delimited, place: int) -> str:
    name = table.header[place].strip()
    return repr(name) if name else f"{place + 1} (which has no name)"


def _content(table: Delimited, place: int, texts: Sequence[str], mark: str) -> str:
    """The content of an unnamed column; numbers that are quoted where others are not are row names."""
    content = nameless_content(texts, mark)
    if content == "numbers" and place == 0 and are_quoted(table.lines(), len(table.header)):
        return "row names"
    return content


def _with_columns(
    table: Delimited, mark: str, cells: _Cells, channels: Sequence[int], added: Sequence[int]
) -> np.ndarray:
    """The channels' values with those of unnamed columns inserted in order, float32 (rows, channels)."""
    numbers = np.stack(cells.numbers)
    if not added:
        return numbers
    rows = [
        _numbers(table, mark, line, {place: cells.texts[place][row] for place in added}, cells.grouped)
        for row, line in enumerate(cells.lines)
    ]
    return np.insert(numbers, np.searchsorted(channels, added), np.stack(rows), axis=1)


def _form_notes(table: Delimited, mark: str, cells: _Cells) -> list[str]:
    """Notes on the format, if it is not plain comma-separated UTF-8 with decimal points."""
    notes = []
    if table.called or table.separator != "," or mark != ".":
        between = SEPARATORS[table.separator]
        notes.append(f"read as {table.called or 'UTF-8'}, {between} between cells, {_MARKS[mark]}")
    if cells.grouped:
        first = cells.grouped[0]
        notes.append(
            f"{len(cells.grouped)} numbers have thousands marks: {first!r} is {as_number(first, mark)[0]:.12g}"
        )
    return notes


def _names_notes(table: Delimited, named: Sequence[int], names: list[str] | None) -> list[str]:
    if named[1:]:
        others = few([repr(table.header[place]) for place in named[1:]])
        return [f"column {table.header[named[0]]!r} names the images: {others} left out"]
    return ["column 1 has no name and holds text: it names the images"] if names and not named else []


def _nameless_notes(held: Mapping[int, str], added: Sequence[int], named: Sequence[int]) -> list[str]:
    """Notes on the columns without a name, numbered from 1."""
    notes = []
    for content in ("row numbers", "row names", "nothing"):
        names_images = content == "row names" and not named  # the first column, which is then kept
        places = [place for place, what in held.items() if what == content and place not in added]
        if left := places[names_images:]:
            notes.append(f"{_numbered(left, 'holds', 'hold')} {content}: left out")
    if added:
        notes.append(f"{_numbered(added, 'is', 'are')} read as {'channels' if added[1:] else 'a channel'}")
    return notes


def _numbered(places: Sequence[int], one: str, several: str) -> str:
    told = few([place + 1 for place in places])
    return f"columns {told} have no name and {several}" if places[1:] else f"column {told} has no name and {one}"
