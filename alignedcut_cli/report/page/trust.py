"""The provenance chapter of the page: commands, the graph of artifacts, versions, methods in sentences, references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alignedcut_cli.report.page.html import Safe, data_table, joined, tag
from alignedcut_cli.report.page.references import BIBTEX
from alignedcut_cli.store.canonical import short
from alignedcut_cli.store.header import Header

__all__ = ["Made", "trust_chapter"]

_WIDE, _HIGH, _STEP = 168, 34, 210
_LONGEST = 24


@dataclass(frozen=True)
class Made:
    """One artifact behind the page: its header, its state in the project, and a sentence on how it was made."""

    header: Header
    state: str
    reason: str
    methods: str
    references: Sequence[str]
    warnings: Sequence[str] = ()

    @property
    def reference(self) -> str:
        return f"{self.header.kind}/{self.header.name}"


def trust_chapter(made: Sequence[Made], script: str) -> Safe:
    """The chapter, artifacts in the order of the chain."""
    parts = [*_states(made), *_warnings(made), tag("h3", "Methods"), *_methods(made)]
    keys = list(dict.fromkeys(key for one in made for key in one.references))
    parts += [
        tag("h3", "Commands"),
        tag("p", "What made these artifacts, as a shell script that can be run again."),
        tag("button", "Copy the script", type="button", id="copy-script"),
        tag("pre", script, id="script", tabindex="0"),
        tag("h3", "Graph of artifacts"),
        _graph(made),
        _table(made),
        tag("h3", "References"),
        tag("pre", "\n\n".join(BIBTEX[key] for key in keys), tabindex="0"),
    ]
    return joined(parts)


def _states(made: Sequence[Made]) -> list[Safe]:
    bad = [one for one in made if one.state != "fresh"]
    if not bad:
        return [tag("p", f"All {len(made)} artifacts behind this page were fresh when it was made.")]
    told = [tag("li", f"{one.reference} is {one.state}: {one.reason}") for one in bad]
    return [tag("p", f"{len(bad)} of {len(made)} artifacts were not fresh when this page was made:"), tag("ul", *told)]


def _warnings(made: Sequence[Made]) -> list[Safe]:
    told = [tag("li", f"{one.reference}: {warning}") for one in made for warning in one.warnings]
    return [tag("p", "Warnings:"), tag("ul", *told)] if told else [tag("p", "No warnings.")]


def _methods(made: Sequence[Made]) -> list[Safe]:
    """The sentences in order, each once, followed by the artifacts that it describes."""
    told: dict[str, list[str]] = {}
    for one in made:
        told.setdefault(one.methods, []).append(one.reference)
    return [tag("p", f"{sentence} [{', '.join(names)}]") for sentence, names in told.items()]


def _levels(made: Sequence[Made]) -> dict[str, int]:
    """The column of each artifact: one to the right of its rightmost input."""
    there = {one.reference: one for one in made}
    found: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in found:
            given = (f"{one.kind}/{one.name}" for one in there[name].header.inputs)
            found[name] = 1 + max((level(other) for other in given if other in there), default=-1)
        return found[name]

    for name in there:
        level(name)
    return found


def _graph(made: Sequence[Made]) -> Safe:
    """The artifacts as boxes, inputs to the left; stale ones are dashed and labelled so."""
    levels, places, heights = _levels(made), {}, {}
    for one in made:
        column = levels[one.reference]
        row = heights.setdefault(column, 0)
        heights[column] += 1
        places[one.reference] = (10 + column * _STEP, 10 + row * (_HIGH + 12))
    lines, boxes = [], []
    for one in made:
        x, y = places[one.reference]
        for given in one.header.inputs:
            if start := places.get(f"{given.kind}/{given.name}"):
                from_x, from_y, to_y = start[0] + _WIDE, start[1] + _HIGH / 2, y + _HIGH / 2
                bend = (from_x + x) / 2
                lines.append(tag("path", d=f"M{from_x} {from_y}C{bend} {from_y} {bend} {to_y} {x} {to_y}"))
        name = one.reference if len(one.reference) <= _LONGEST else one.reference[: _LONGEST - 1] + "…"
        mark = "" if one.state == "fresh" else f" ({one.state})"
        box = tag("rect", x=x, y=y, width=_WIDE, height=_HIGH, rx=5)
        words = tag("text", name, x=x + 8, y=y + (15 if mark else 21)), tag("text", mark, x=x + 8, y=y + 28)
        boxes.append(tag("g", box, *words[: 2 if mark else 1], cls="stale" if mark else None))
    width, height = 10 + (1 + max(levels.values())) * _STEP, 20 + max(heights.values()) * (_HIGH + 12)
    art = tag(
        "svg", *lines, *boxes, viewBox=f"0 0 {width} {height}", width=width, height=height, role="img",
        aria_label="Which artifact was made of which: the table below says the same",
    )  # fmt: skip
    return tag("div", art, cls="graph", tabindex="0")


def _table(made: Sequence[Made]) -> Safe:
    rows = [
        [
            one.reference,
            one.state,
            ", ".join(f"{given.kind}/{given.name}" for given in one.header.inputs) or "–",
            one.header.raw["tool"],
            _pairs(one.header.raw["numerics"]),
            one.header.params.get("seed"),
            short(one.header.recipe),
            short(one.header.content),
        ]
        for one in made
    ]
    head = ["artifact", "state", "made of", "alignedcut", "computed with", "seed", "recipe", "content"]
    table = data_table("artifacts behind this page", head, rows)
    parameters = [
        tag(
            "details",
            tag("summary", f"Parameters of {one.reference}"),
            tag("pre", "\n".join(_lines(one.header.params)), tabindex="0"),
        )
        for one in made
    ]
    return tag(
        "details", tag("summary", "Table: artifacts, versions, seeds, parameters"), table, *parameters, cls="twin"
    )


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _lines(params: Mapping[str, Any]) -> list[str]:
    return [f"{key}: {value}" for key, value in params.items()] or ["none"]
