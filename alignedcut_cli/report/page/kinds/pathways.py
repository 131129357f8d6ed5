"""Pathways on the page: the information of clusters about classes and positions, and how it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.report.page.html import joined, tag, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section, finite

__all__ = ["KIND"]


def _methods(given: Given) -> str:
    params = given.header.params
    told = "Clusters of each cut were compared with classes and with positions by adjusted mutual information"
    boots = params.get("bootstrap")
    return told + (f", with 95 % intervals of {boots} bootstrap samples of photographs." if boots else ".")


def _rows(given: Given) -> list[dict[str, Any]]:
    axes = given.header.axes
    measures, scopes, statistics = (axes[axis]["labels"] for axis in "XYZ")
    names = [one.name for one in given.header.inputs]
    rows = []
    for slot, values in zip(axes["S"]["slots"], given.arrays["information"], strict=True):
        about = {"cut": names[slot["cut"]], "model": slot["model"], "tap": slot["tap"], "layers": layer_name(slot)}
        for x, measure in enumerate(measures):
            for y, scope in enumerate(scopes):
                numbers = dict(zip(statistics, map(finite, values[x, y]), strict=True))
                rows.append({**about, "of": measure, "scope": scope, **numbers})
    return [row for row in rows if row["value"] is not None]


def _sections(given: Given) -> Sequence[Section]:
    rows = _rows(given)
    lines = [
        tag("li", f"{row['cut']}, layers {row['layers']}: {row['of']} {row['value']:.2f}"
            + (f" [{row['low']:.2f}, {row['high']:.2f}]" if row.get("low") is not None else ""))
        for row in rows if row["scope"] != "within"
    ]  # fmt: skip
    told = tag("p", "Adjusted mutual information of clusters with what is there and with where it is: 0 is chance.")
    return [
        Section(
            "measured",
            f"What and where in {given.reference}",
            joined([told, tag("ul", *lines), twin("pathways", rows)]),
        )
    ]


KIND = Kind(_methods, lambda given: ("zhang2023deciphering",), _sections)
