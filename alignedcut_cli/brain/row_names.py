"""Columns without a name: row numbers or row names written by pandas and R, or empty columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from alignedcut_cli.brain.decimals import is_number

__all__ = ["are_quoted", "is_nameless", "nameless_content"]

_NAMELESS = re.compile(r"(Unnamed: \d+(\.\d+)*|\.\.\.\d+)?")
"""The headers of a column without a name: empty, or what pandas and R's readr write."""


def is_nameless(name: str) -> bool:
    return _NAMELESS.fullmatch(name.strip()) is not None


def nameless_content(texts: Sequence[str], mark: str) -> Literal["nothing", "row numbers", "row names", "numbers"]:
    """The content of a column without a name, in any order of rows.

    Row numbers are 0 to n - 1 or 1 to n; row names are text, none of them a number with the decimal mark `mark`.
    """
    stripped = [text.strip() for text in texts]
    if not any(stripped):
        return "nothing"
    if any(set(stripped) == {str(first + row) for row in range(len(stripped))} for first in (0, 1)):
        return "row numbers"
    return "numbers" if any(is_number(text, mark) for text in stripped) else "row names"


def are_quoted(lines: Iterable[str], columns: int) -> bool:
    """Whether the first cell of every line is quoted, and some other is not, as R writes row names and numbers."""
    return all(line.startswith('"') and line.count('"') < 2 * columns for line in lines if line.strip())
