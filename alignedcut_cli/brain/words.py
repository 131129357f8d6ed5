"""Abbreviated lists of names for one-line messages."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any

__all__ = ["few"]


def few(names: Collection[Any], most: int = 5) -> str:
    """The first names and the count of the others: a, b, c and 7 more."""
    told = ", ".join(str(name) for name in islice(names, most))
    return f"{told} and {len(names) - most} more" if len(names) > most else told
