"""Class ids and their names from lines of text: the ids given, or else the line numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

__all__ = ["Entry", "NotUnderstoodError", "as_id", "by_place", "named_lines", "numbered"]

Entry = tuple[str, int, str]
"""The position of a name, its id, and the name."""

_ID = r"""["'(]?(?P<id>-?[0-9]{1,18})["')]?"""
_FIRST = re.compile(rf"{_ID}(?:\s*(?:[,;:=|]|\.(?![0-9])|->|=>|-\s)\s*|\s+)(?P<name>\S.*)")
_LAST = re.compile(rf"(?P<name>[^,;:=|\t]*[^,;:=|\s])\s*(?:[,;:=|\t]|->|=>)\s*{_ID}")
_LAST_WORD = re.compile(r"(?P<name>\S.*?)\s+(?P<id>[0-9]{1,18})")
_ID_HEADS = (
    "id", "ids", "idx", "index", "class_id", "classid", "category_id", "label_id", "labelid", "class_index", "number",
    "value", "code", "class", "label", "category",
)  # fmt: skip
_NAME_HEADS = ("name", "names", "class_name", "classname", "category_name", "label_name", "category", "class", "label")

Lines = Sequence[tuple[str, str]]
"""The position of each line, and the stripped line."""


class NotUnderstoodError(ValueError):
    """A position in a file of names that cannot be parsed, and why."""


def as_id(value: object) -> int | None:
    """A class id from a whole number or its digits, None for anything else."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def named_lines(text: str) -> Iterator[Entry]:
    """Each line's id and name: `3 dog`, `3: dog`, `dog,3` and the like, or a table with a header such as `id,name`.

    If no line has an id, each line is a name and its index the id. Empty lines and those that begin with # are
    skipped. Raises NotUnderstoodError for a line without an id among others that have one.
    """
    lines = [(f"line {number}", line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(where, line) for where, line in lines if line and not line.startswith("#")]
    if lines and (columns := _columns(lines[0][1])):
        return _table(lines[1:], *columns)
    forms = [form for form in (_FIRST, _LAST) if any(form.fullmatch(line) for _, line in lines)]
    if forms or _distinct(lines):
        return _matched(lines, _form(lines) or (forms[0] if forms else _LAST_WORD))
    return by_place(lines)


def by_place(lines: Lines) -> Iterator[Entry]:
    """Each line as a name, its index from 0 as the id."""
    return ((where, place, line) for place, (where, line) in enumerate(lines))


def numbered(lines: Lines) -> Iterator[Entry] | None:
    """The ids and names of lines that all have an id in the same form; else None."""
    form = _form(lines)
    return form and _matched(lines, form)


def _form(lines: Lines) -> re.Pattern[str] | None:
    return next((form for form in (_FIRST, _LAST) if lines and all(form.fullmatch(line) for _, line in lines)), None)


def _distinct(lines: Lines) -> bool:
    """Whether all lines end in a number (`dog 3`), with no number and no name repeated."""
    words = [match for _, line in lines if (match := _LAST_WORD.fullmatch(line))]
    return bool(words) and all(len({match[part] for match in words}) == len(lines) for part in ("id", "name"))


def _matched(lines: Lines, form: re.Pattern[str]) -> Iterator[Entry]:
    for where, line in lines:
        match = form.fullmatch(line)
        if match is None:
            unlike = next((f", but {at} has: {one!r}" for at, one in lines if form.fullmatch(one)), "")
            raise NotUnderstoodError(f"{where}: {line!r} has no class id{unlike}")
        yield where, int(match["id"]), _unquoted(match["name"])


def _unquoted(name: str) -> str:
    name = name.rstrip(",; \t")
    return name[1:-1] if len(name) > 2 and name[0] == name[-1] and name[0] in "\"'" else name


def _columns(head: str) -> tuple[str | None, int, int] | None:
    """(separator, column of ids, column of names) if a line is the header of a table, else None."""
    separator = next((one for one in "\t,;|" if one in head), None)
    words = [word.strip(" \"'").lower() for word in head.split(separator)]
    number = next((words.index(word) for word in _ID_HEADS if word in words), None)
    name = next((words.index(word) for word in _NAME_HEADS if word in words and words.index(word) != number), None)
    if number is None or name is None or (separator is None and len(words) != 2):
        return None
    return separator, number, name


def _table(lines: Lines, separator: str | None, number: int, name: int) -> Iterator[Entry]:
    if separator is None:
        yield from _matched(lines, _FIRST if number < name else _LAST_WORD)
        return
    for where, line in lines:
        try:
            cells = next(csv.reader([line], delimiter=separator))
        except csv.Error:
            cells = []
        found = as_id(cells[number]) if len(cells) > max(number, name) else None
        if found is None or not cells[name].strip():
            raise NotUnderstoodError(f"{where}: {line!r} has no class id and name where the head has them")
        yield where, found, cells[name].strip()
