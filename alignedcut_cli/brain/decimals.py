"""The number format of a table: its decimal mark and thousands separator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

__all__ = ["Ambiguous", "as_number", "decimal_mark", "is_number"]

MISSING = frozenset({"", "na", "n/a", "nan", "-nan", "null", "none", "<na>", "#n/a", "#na", "#n/a n/a"})
"""Missing values as R, pandas, SQL and Excel write them, in lower case."""
_SHAPE = (
    r"[+-]?(?:\d+|[1-9]\d{0,2}(?P<group>[%s'’ \u00a0\u202f])\d{3}(?:(?P=group)\d{3})*)?(?:[%s]\d*)?(?:[eE][+-]?\d+)?"
)
_SHAPES = {".": re.compile(_SHAPE % (",", ".")), ",": re.compile(_SHAPE % (".", ","))}
_DIGIT = re.compile(r"[+-]?[.,]?\d")


class Ambiguous(ValueError):
    """The decimal mark of a table is ambiguous; `cells` are one or two examples."""

    def __init__(self, *cells: str) -> None:
        super().__init__(*cells)
        self.cells = cells


def decimal_mark(rows: Callable[[], Iterable[Sequence[str]]], *, either: bool) -> str:
    """The decimal mark of a table, point or comma: the one with which all of its numbers can be read.

    A point if no cell has a comma, unless `either` says that a point may separate thousands (in semicolon-separated
    tables, which are usual where the comma is the decimal mark). Raises Ambiguous if both are possible (1,234 and nothing
    else), or neither is (1.5 and 1,5).
    """
    if not either and not any("," in cell for cells in rows() for cell in cells):
        return "."
    shown: dict[str, str] = {}
    both = ""
    for cells in rows():
        for cell in cells:
            if "," in cell or "." in cell:
                marks = [mark for mark in _SHAPES if _matches(cell.strip(), mark)]
                if len(marks) == 1:
                    shown.setdefault(marks[0], cell.strip())
                elif marks:
                    both = both or cell.strip()
    if len(shown) == 2:
        raise Ambiguous(*shown.values())
    if not shown and both:
        raise Ambiguous(both)
    return next(iter(shown), ".")


def as_number(cell: str, mark: str) -> tuple[float, bool]:
    """A cell's number, NaN for a missing value, and whether it had thousands separators. Raises ValueError."""
    text = cell.strip()
    if mark == "." and "_" not in text:  # which float() would accept
        try:
            return float(text), False
        except ValueError:
            pass
    if text.lower() in MISSING:
        return float("nan"), False
    found = _matches(text, mark)
    if not found:
        return _infinite(text), False
    group = found["group"] or ""
    return float(text.replace(group, "").replace(mark, ".")), bool(group)


def is_number(cell: str, mark: str) -> bool:
    """Whether a cell holds a number or a missing value."""
    try:
        as_number(cell, mark)
    except ValueError:
        return False
    return True


def _matches(text: str, mark: str) -> re.Match[str] | None:
    return _SHAPES[mark].fullmatch(text) if _DIGIT.match(text) else None


def _infinite(text: str) -> float:
    """Infinity, if the text spells it. Raises ValueError."""
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        return float("inf")
    raise ValueError(text)
