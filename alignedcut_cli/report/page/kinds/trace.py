"""A trace on the page: the map, concepts and foreground of patches, their transitions over layers, and divergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alignedcut_cli.report.page.chart import Line, chart, legend
from alignedcut_cli.report.page.html import Safe, joined, tag, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section
from alignedcut_cli.report.page.lens import Lens, View
from alignedcut_cli.report.segments import class_colours

__all__ = ["KIND"]


def _methods(given: Given) -> str:
    params, axes = given.header.params, given.header.axes
    how = (
        "balls around the farthest places of the map"
        if params["measure"] == "map"
        else "cells of a partition by k-means"
    )
    told = (
        f"Nodes were placed in one {params['dims']}-dimensional t-SNE of {params['eigenvectors']} eigenvectors (perplexity "
        f"{params['perplexity']:g}, {axes['m']['size']:,} nodes placed, seed {params['seed']}); {params['concepts']} "
        f"concepts a layer are {how}, and transitions count the nodes that pass from one to another"
    )
    if "p" not in given.arrays:
        return told + "."
    return told + (
        f". Figure and ground were compared within photographs, concept by concept, against {params['permutations']} "
        f"permutations of masks between photographs, over {params.get('maps', 1)} maps together; p-values are adjusted by "
        "Holm's rule."
    )


def _pairs(given: Given) -> list[dict[str, Any]]:
    return [{key: pair[key] for key in ("model", "from", "to")} for pair in given.header.axes["K"]["pairs"]]


def _sections(given: Given) -> Sequence[Section]:
    parts: list[Safe] = []
    if "p" in given.arrays:
        keys = ("matched", "matched.expected", "p", "p.holm")
        rows: list[dict[str, Any]] = [
            {**pair, **{key: float(given.arrays[key][k]) for key in keys}} for k, pair in enumerate(_pairs(given))
        ]
        apart = [row for row in rows if row["p.holm"] < 0.05]
        models = list(dict.fromkeys(row["model"] for row in rows))
        lines = []
        for style, model in enumerate(models):
            mine = [row for row in rows if row["model"] == model]
            rings = [n for n, row in enumerate(mine) if row["p.holm"] < 0.05]
            excess = [(row["to"], row["matched"] - row["matched.expected"]) for row in mine]
            lines.append(Line(model, excess, None, rings, style))
        told = (
            f"Figure and ground part in {len(apart)} of {len(rows)} steps between layers (rings: p < .05, Holm's rule)."
        )
        parts += [
            tag("p", told),
            chart("figure from ground, beyond chance", lines, x="layer reached", y="distance - chance"),
            legend([(line.name, line.style) for line in lines]),
            twin("how figure and ground part from layer to layer", rows),
        ]
    parts += [_steps(given), twin("transitions between concepts", _transitions(given))]
    return [Section("goes", f"Paths of {given.reference}", joined(parts))]


def _steps(given: Given) -> Safe:
    lengths, errors = given.arrays["steps"], given.arrays["steps.error"]
    rows = [
        pair | {"group": group, "length": float(lengths[k, h]), "standard error": float(errors[k, h])}
        for k, pair in enumerate(_pairs(given))
        for h, group in enumerate(given.header.axes["H"]["labels"])
    ]
    return twin("how far nodes move from layer to layer", rows)


def _transitions(given: Given) -> list[dict[str, Any]]:
    """The non-empty entries of all transition matrices, of all groups."""
    counts, shares, names = given.arrays["counts"], given.arrays["transitions"], given.header.axes["J"]["labels"]
    pairs = _pairs(given)
    groups = given.header.axes["H"]["labels"]
    return [
        pairs[k] | {"group": groups[h], "concept": names[i], "next": names[j], "nodes": int(counts[k, h, i, j]),
         "probability": float(shares[k, h, i, j])}
        for k, h, i, j in np.argwhere(np.asarray(counts)[:, :, :-1] > 0).tolist()
    ]  # fmt: skip


def _views(given: Given, lens: Lens) -> Sequence[View]:
    placed = [part for part in lens.parts if given.made_of(part.cut)]
    if len(lens.parts) != 1 or not placed:
        return []
    rows, arrays = placed[0].rows, given.arrays
    found = [View("map", f"{given.reference}, t-SNE", np.asarray(arrays["coordinates"][rows][:, :2], np.float32))]
    count = max(given.header.params["concepts"], 1 + int(arrays["concepts"].max(initial=-1)))
    names = [f"concept {number}" for number in range(count)]
    found.append(
        View("labels", f"Concepts ({given.reference})", arrays["concepts"][rows], names, class_colours(count, None))
    )
    if "labels" in arrays:
        sides = View(
            "labels", "Ground truth: figure", arrays["labels"][rows], ["ground", "figure"], class_colours(2, 0)
        )
        found.append(sides)
    return found


KIND = Kind(_methods, lambda given: ("maaten2008visualizing",), _sections, _views)
