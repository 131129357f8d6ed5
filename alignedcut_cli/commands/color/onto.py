"""`color --onto`: colour a cut by the coloring of another cut in the same eigenvectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.header import Header, Input
from alignedcut_cli.store.project import Project

__all__ = ["Base", "open_base"]

ROLE = "onto"


@dataclass(frozen=True)
class Base:
    """The base coloring and the cut that it colours."""

    given: Input
    header: Header
    cut: Header

    @property
    def params(self) -> Mapping[str, Any]:
        return self.header.params


def open_base(project: Project, reference: str, name: str, parent: Header) -> Base:
    """The base coloring for the cut `name` (header `parent`), from headers alone.

    Raises DataError (exit 65) if that coloring was itself made with --onto, if its cut has changed since, or if `parent` is
    neither that cut nor one embedded onto it, graph by graph and with enough eigenvectors; InputMissingError if the
    coloring or its cut is missing.
    """
    given, header = project.input(ROLE, "color", project.parse(reference, "color")[1])
    if any(one.role == ROLE for one in header.inputs):
        first = next(one.name for one in header.inputs if one.role == ROLE)
        raise DataError(
            "onto-derived", f"color/{given.name} has the colours of color/{first}", f"Give --onto color/{first}"
        )
    made_of = header.inputs[0]
    cut = project.header("cut", made_of.name)
    if cut.content != made_of.content:
        raise DataError(
            "onto-changed",
            f"cut/{made_of.name} has changed since color/{given.name} was made of it",
            f"Colour it again: alignedcut color --from cut/{made_of.name} --name {given.name} --overwrite",
        )
    _require_same_coordinates(given, cut, name, parent)
    _require_same_graphs(given, header, cut, name, parent)
    return Base(given, header, cut)


def _require_same_coordinates(given: Input, cut: Header, name: str, parent: Header) -> None:
    bases = [one.content for one in parent.inputs if one.kind == "cut"]
    if cut.content not in (parent.content, *bases):
        raise DataError(
            "onto-unrelated",
            f"cut/{name} is neither cut/{cut.name}, of which color/{given.name} was made, nor embedded onto it",
            f"Make it with alignedcut cut --onto cut/{cut.name}",
        )


def _require_same_graphs(given: Input, header: Header, cut: Header, name: str, parent: Header) -> None:
    count, needed = parent.axes["C"]["size"], header.params["eigenvectors"]
    if count < needed:
        raise DataError(
            "onto-too-few",
            f"cut/{name} has {count} eigenvectors, color/{given.name} uses {needed}",
            "Embed the new images with all eigenvectors of the cut",
        )
    before, after = (_graphs(one) for one in (cut, parent))
    if before != after:
        raise DataError(
            "onto-other-graphs",
            f"cut/{name} has {_told(after)}, cut/{cut.name} {_told(before)}: graphs must be the same, in order",
            f"Embed the same layers onto cut/{cut.name}",
        )


def _graphs(cut: Header) -> list[tuple[str, int]]:
    """What identifies each graph of a cut: its slot (model, layer); empty if one graph holds all slots."""
    per_slot = cut.params.get("per_slot", cut.axes["G"]["size"] > 1)
    return [(slot["model"], slot["layer"]) for slot in cut.axes["S"]["slots"]] if per_slot else []


def _told(graphs: list[tuple[str, int]]) -> str:
    return f"{len(graphs)} graphs, one a slot" if graphs else "one graph"
