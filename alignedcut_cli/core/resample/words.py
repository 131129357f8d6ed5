"""How intervals are described in words; imports nothing heavy, as help texts use it."""

from __future__ import annotations

__all__ = ["LEVEL", "stated", "stated_error"]

LEVEL = 0.95


def stated(units: str, draws: int, kind: str = "percentile", level: float = LEVEL) -> str:
    """The description of an interval, such as "95% percentile interval, 1000 draws of images"."""
    return f"{level:.0%} {kind} interval, {draws} draws of {units}"


def stated_error(units: str, level: float = LEVEL) -> str:
    """Likewise, of `from_error`."""
    return f"{level:.0%} t interval, {units} being independent"
