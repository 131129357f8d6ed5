"""A segmentation on the page: the classes of patches, curves of mIoU over layers, and how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.report.page.chart import Line, chart, legend
from alignedcut_cli.report.page.html import Safe, joined, tag, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section
from alignedcut_cli.report.page.lens import Lens, View
from alignedcut_cli.report.segments import class_colours

__all__ = ["KIND"]


def _methods(given: Given) -> str:
    header = given.header
    params, axes = header.params, header.axes
    if params["method"] == "agnostic":
        return (
            f"Masks of no class were made of {params['eigenvectors']} eigenvectors by k-means at several numbers of "
            f"clusters, their connected components and merge tree; {axes['b']['size']} photographs have a ground truth."
        )
    how = {
        "oracle": "each node took the class of the nearest class centre, at the threshold that scores best (an upper bound)",
        "kway": "nodes were clustered, and clusters matched to classes",
    }.get(params["method"], f"by the method {params['method']}")
    told = (
        f"Segments were made of {params.get('eigenvectors', 'all')} eigenvectors: {how}; mean intersection over union is "
        f"over all pixels of {axes['b']['size']} photographs with masks"
    )
    boots = params.get("bootstrap")
    return told + (f", with 95 % intervals of {boots} bootstrap samples of photographs." if boots else ".")


def _slots(given: Given, target: str) -> list[dict[str, Any]]:
    """One row per slot: its scores at its best threshold."""
    header, arrays = given.header, given.arrays
    names = [one.name for one in header.inputs]
    best = np.asarray(arrays[f"{target}.best"])
    miou = np.asarray(arrays[f"{target}.miou"])[np.arange(len(best)), best]
    interval = arrays.get(f"{target}.interval") if header.axes["b"]["size"] > 1 else None
    return [
        {
            "cut": names[slot["cut"]],
            "model": slot["model"],
            "layer": layer_name(slot),
            "mIoU": float(miou[n]),
            "low": None if interval is None else float(interval[n][0]),
            "high": None if interval is None else float(interval[n][1]),
            "accuracy": float(arrays[f"{target}.accuracy"][n]),
        }
        for n, slot in enumerate(header.axes["S"]["slots"])
    ]


def _masks(given: Given) -> list[dict[str, Any]]:
    """One row per slot: the number of class-agnostic masks of an image, and their scores."""
    header, arrays = given.header, given.arrays
    names = [one.name for one in header.inputs]
    slot_of = np.asarray(arrays["proposals"])[:, 1]
    rows = []
    for n, slot in enumerate(header.axes["S"]["slots"]):
        row = {"cut": names[slot["cut"]], "model": slot["model"], "layer": layer_name(slot)}
        row |= {"masks an image": float((slot_of == n).sum() / header.axes["B"]["size"])}
        if "values" in arrays:
            row |= dict(zip(header.axes["Z"]["labels"], map(float, arrays["values"][n]), strict=True))
        rows.append(row)
    return rows


def _lines(rows: Sequence[dict[str, Any]]) -> list[Line]:
    """A line per model and cut; joint cuts of several layers are points at their first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["cut"]), []).append(row)
    lines = []
    for style, ((model, cut), mine) in enumerate(groups.items()):
        mine = sorted(mine, key=lambda row: _first(row["layer"]))
        points = [(_first(row["layer"]), row["mIoU"]) for row in mine]
        band = [(row["low"], row["high"]) for row in mine] if mine[0]["low"] is not None else None
        top = int(np.argmax([row["mIoU"] for row in mine]))
        lines.append(Line(f"{model} ({cut})", points, band, (top,), style))
    return lines


def _first(layers: str) -> int:
    return int(layers.replace("-", ",").split(",")[0])


def _sections(given: Given) -> Sequence[Section]:
    if given.header.params["method"] == "agnostic":
        told = tag(
            "p", "Masks an image, and where a ground truth is given the best IoU with its regions and their recall."
        )
        return [Section("measured", f"Masks of {given.reference}", joined([told, twin("masks", _masks(given))]))]
    panels: list[Safe] = []
    tables: list[Safe] = []
    names: list[tuple[str, int]] = []
    for target in given.header.axes["targets"]["labels"]:
        rows = _slots(given, target)
        lines = _lines(rows)
        panels.append(chart(target, lines, x="layer", y="mIoU", span=(0, 1)))
        tables.append(twin(f"mIoU of {target}", rows))
        names = [(line.name, line.style) for line in lines]
    told = tag("p", "Bands are 95 % intervals over photographs; a ring is the best layer of its line.")
    body = joined([told, tag("div", *panels, cls="panels"), legend(names), *tables])
    return [Section("measured", f"Segments of {given.reference}", body)]


def _views(given: Given, lens: Lens) -> Sequence[View]:
    header = given.header
    sizes = [0] * len(header.inputs)
    for slot in header.axes["S"]["slots"]:
        rows, columns = slot["grid"]
        sizes[slot["cut"]] += header.axes["B"]["size"] * (rows * columns + slot["class_token"])
    starts = np.cumsum([0, *sizes])
    contents = [one.content for one in header.inputs]
    placed = {n: contents.index(part.cut.content) for n, part in enumerate(lens.parts) if part.cut.content in contents}
    found = []
    for target in header.axes["targets"]["labels"] if placed else []:
        values = {n: given.arrays[f"{target}.predicted"][starts[cut] + lens.parts[n].rows] for n, cut in placed.items()}
        axis = header.axes[f"K.{target}"]
        colours = class_colours(len(axis["labels"]), axis["background"])
        found.append(
            View("labels", f"Segments: {target} ({header.name})", lens.gathered(values, -1), axis["labels"], colours)
        )
    return found


KIND = Kind(_methods, sections=_sections, views=_views)
