"""The interface of a kind of artifact to the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alignedcut_cli.report.page.html import Safe
from alignedcut_cli.report.page.lens import Lens, View
from alignedcut_cli.store.header import Header

__all__ = ["PLACES", "Given", "Kind", "Section", "finite", "listed"]

PLACES = {
    "meaning": "What it means",
    "goes": "Where it goes",
    "measured": "How well it does",
}
"""The chapters of the page below the photographs, in order."""


@dataclass(frozen=True)
class Given:
    """One artifact: its header, and its arrays, which are read on access."""

    header: Header
    arrays: Mapping[str, np.ndarray]

    @property
    def reference(self) -> str:
        return f"{self.header.kind}/{self.header.name}"

    def made_of(self, header: Header) -> bool:
        """Whether the artifact was made of another one, in its present state."""
        return any(given.content == header.content for given in self.header.inputs)


@dataclass(frozen=True)
class Section:
    """A part of a chapter: its title, and its markup."""

    place: str
    title: str
    body: Safe


@dataclass(frozen=True)
class Kind:
    """What a kind adds: a sentence or two on how it was made (with references), sections, views of a lens's nodes,
    and warnings."""

    methods: Callable[[Given], str]
    references: Callable[[Given], Sequence[str]] = lambda given: ()
    sections: Callable[[Given], Sequence[Section]] = lambda given: ()
    views: Callable[[Given, Lens], Sequence[View]] = lambda given, lens: ()
    warnings: Callable[[Given], Sequence[str]] = lambda given: ()


def finite(value: Any) -> float | None:
    """A number for a table; None if it is not finite."""
    return float(value) if np.isfinite(value) else None


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
