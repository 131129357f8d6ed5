"""A comparison on the page: the similarity of two artifacts, slot by slot, with intervals, and how it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.report.page.html import joined, tag, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section, finite

__all__ = ["KIND"]

_MEASURES = {
    "cut": ("error", "projector error"),
    "color": ("procrustes", "Procrustes"),
}


def _methods(given: Given) -> str:
    params = given.header.params
    how = {
        "cut": "the projectors onto their eigenvectors",
        "color": "their t-SNE spaces after the best rotation and scale",
        "align": "the features of slots before and after alignment, by CKA and Procrustes",
    }[params["of"]]
    names = [f"{one.kind}/{one.name}" for one in given.header.inputs if one.kind == params["of"]]
    boots = f", with 95 % intervals of {params['bootstrap']} draws of photographs" if params["bootstrap"] else ""
    return f"{' and '.join(names)} were compared by {how}{boots}, seed {params['seed']}."


def _rows(given: Given) -> list[dict[str, Any]]:
    axes, arrays, of = given.header.axes, given.arrays, given.header.params["of"]
    if of != "align":
        tensor, name = _MEASURES[of]
        rows = zip(axes["A"]["labels"], np.asarray(arrays[tensor]), strict=True)
        return [{"slot": slot, **_ends(name, ends)} for slot, ends in rows if np.isfinite(ends[0])]
    rows = [
        {"measure": measure, "pairs": pairs, "state": state, **_ends("mean" if state == "before" else "gain", ends)}
        for measure in ("cka", "procrustes")
        for pairs, found in zip(axes["W"]["labels"], np.asarray(arrays[f"{measure}.gain"]), strict=True)
        for state, ends in zip(axes["K"]["labels"], found, strict=True)
    ]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key) for key in keys} for row in rows]


def _ends(name: str, ends: np.ndarray) -> dict[str, Any]:
    return {name: finite(ends[0]), "low": finite(ends[1]), "high": finite(ends[2])}


def _sections(given: Given) -> Sequence[Section]:
    rows = _rows(given)
    lines = []
    if given.header.params["of"] == "align":
        for slot, ends in zip(given.header.axes["S"]["slots"], given.arrays.get("between", ()), strict=False):
            lines.append(tag("li", f"{slot['model']} layer {layer_name(slot)}: CKA of both alignments {ends[0]:.2f}"))
    told = tag("p", f"{given.header.params['of']} artifacts compared, {len(rows)} rows.")
    body = joined([told, *([tag("ul", *lines)] if lines else []), twin("comparison", rows)])
    return [Section("measured", f"Comparison {given.reference}", body)]


KIND = Kind(_methods, sections=_sections)
