"""Concepts on the page: those of patches, activations of figure, ground and classes by area, how they were made."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from alignedcut_cli.core.groups.concept_names import LARGEST_P
from alignedcut_cli.report.flat import Panel, flat_figure, flat_of, has_surface
from alignedcut_cli.report.page.html import Safe, joined, tag, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section, finite
from alignedcut_cli.report.page.lens import Lens, View, patch_rows, tokens
from alignedcut_cli.report.page.pictures import data_uri
from alignedcut_cli.report.segments import class_colours

__all__ = ["KIND"]

UNDEFINED = -2.0


def _methods(given: Given) -> str:
    params, axes = given.header.params, given.header.axes
    told = (
        f"{params['concepts']} concepts of each of {axes['S']['size']} slots are balls in the t-SNE, and their meaning is "
        f"the predicted activation of {axes['R']['size']} areas, averaged over patches"
    )
    return told + (", with standard errors over photographs." if "contrast" in given.arrays else ".")


def _groups(given: Given) -> list[dict[str, Any]]:
    """The mean activation of each area for each group of patches in each slot, where the group has patches."""
    mean, nodes, se = (given.arrays[f"group.{name}"] for name in ("mean", "nodes", "se"))
    axes = given.header.axes
    slots, groups, rois = axes["S"]["slots"], axes["G"]["labels"], axes["R"]["labels"]
    return [
        {
            "model": slots[s]["model"], "layer": slots[s]["layer"], "group": groups[g], "area": rois[r],
            "mean": float(mean[s, g, r]),
            "standard error": None if se[s, g, r] == UNDEFINED else finite(se[s, g, r]),
        }
        for s, g, r in np.ndindex(*mean.shape)
        if nodes[s, g]
    ]  # fmt: skip


def _sections(given: Given) -> Sequence[Section]:
    return [*_names(given), *_meaning(given)]


def _names(given: Given) -> Sequence[Section]:
    """The nearest word of each concept, where words were given."""
    if "name.word" not in given.arrays:
        return []
    arrays, axes = given.arrays, given.header.axes
    words = axes["W"]["labels"]
    rows = [
        {
            "model": axes["S"]["slots"][s]["model"],
            "layer": axes["S"]["slots"][s]["layer"],
            "concept": int(k),
            "nearest word": words[arrays["name.word"][s, k]],
            "cosine": float(arrays["name.cosine"][s, k, arrays["name.word"][s, k]]),
            "p (Holm)": float(arrays["name.p.holm"][s, k]),
            "same word in draws": None if arrays["name.same"][s, k] == UNDEFINED else float(arrays["name.same"][s, k]),
        }
        for s, k in np.argwhere(arrays["name.word"] >= 0)
    ]
    named = [row for row in rows if row["p (Holm)"] <= LARGEST_P]
    space = f"{len(words)} words in {axes['W']['space']}"
    told = f"{len(named)} of {len(rows)} concepts are nearer to one of {space} than by chance:"
    lines = [
        tag("li", f"{one['model']} layer {one['layer']} concept {one['concept']}: {one['nearest word']}")
        for one in named
    ]
    body = joined([tag("p", told), tag("ul", *lines), twin("nearest word of each concept", rows)])
    return [Section("meaning", f"Names of concepts in {given.reference}", body)]


def _meaning(given: Given) -> Sequence[Section]:
    """Figure and ground by area, if there were masks."""
    if "group.mean" not in given.arrays:
        return []
    axes, contrast, se = given.header.axes, given.arrays["contrast"], given.arrays["contrast.se"]
    rois = axes["R"]["labels"]
    rows = [
        {
            "model": slot["model"],
            "layer": slot["layer"],
            "area": rois[r],
            "figure - ground": float(contrast[s, r]),
            "in standard errors": float(contrast[s, r] / se[s, r]) if se[s, r] > 0 else None,
        }
        for s, slot in enumerate(axes["S"]["slots"])
        for r in range(len(rois))
    ]
    known = [row for row in rows if row["in standard errors"] is not None and row["area"] != "all"]
    parts = []
    for slot in axes["S"]["slots"]:
        mine = [row for row in known if (row["model"], row["layer"]) == (slot["model"], slot["layer"])]
        mine.sort(key=lambda row: -row["in standard errors"])
        if mine:
            above = ", ".join(f"{row['area']} {row['in standard errors']:+.1f}" for row in mine[:4])
            below = ", ".join(f"{row['area']} {row['in standard errors']:+.1f}" for row in mine[:-4:-1])
            parts.append(tag("li", f"{slot['model']} layer {slot['layer']}: {above}; least {below}"))
    told = tag("p", "Areas that figures activate most against ground, in standard errors over photographs:")
    tables = [twin("figure against ground by area", rows), twin("activation of groups by area", _groups(given))]
    body = joined([told, tag("ul", *parts), _flat(given), *tables])
    return [Section("meaning", f"Figure and ground in {given.reference}", body)]


def _flat(given: Given) -> Safe:
    """The contrast on the flattened cortex in the last layer of each model, if vertices and the surface are known."""
    arrays, axes = given.arrays, given.header.axes
    if "contrast.voxel" not in arrays or not has_surface():
        return Safe("")
    last = {f"{slot['model']} · {slot['tap']}": number for number, slot in enumerate(axes["S"]["slots"])}
    panels = [
        [Panel(np.asarray(arrays["contrast.voxel"][n]), f"{model} layer {axes['S']['slots'][n]['layer']}")]
        for model, n in last.items()
    ]
    held = io.BytesIO()
    flat_figure("figure - ground", flat_of(arrays, axes), panels).savefig(held, format="png", dpi=90)
    alt = f"Flat map of the cortex, figure against ground, in {', '.join(last)}; the table by area says the same"
    return tag("img", src=data_uri(Image.open(held), "PNG"), alt=alt, cls="flat")


def _views(given: Given, lens: Lens) -> Sequence[View]:
    """The concept of each patch, in the slots that the artifact has."""
    axes = given.header.axes
    total = axes["B"]["size"]
    starts = np.cumsum([0, *(total * tokens(slot) for slot in axes["S"]["slots"])])
    own = {_key(slot): (int(start), slot) for start, slot in zip(starts, axes["S"]["slots"], strict=False)}
    if (
        len(lens.parts) != 1
        or total != lens.parts[0].total
        or not any(_key(slot) in own for slot in lens.parts[0].slots)
    ):
        return []
    if not any(given.made_of(part.cut) for part in lens.parts):
        return []
    found = []
    for slot in lens.parts[0].slots:
        rows = patch_rows(slot, lens.images)
        start = own[_key(slot)][0] if _key(slot) in own else None
        found.append(np.full(len(rows), -1, np.int16) if start is None else given.arrays["concept"][start + rows])
    count = given.header.params["concepts"]
    names = [f"concept {number}" for number in range(count)]
    title = f"Concepts ({given.reference})"
    return [View("labels", title, np.concatenate(found), names, class_colours(count, None))]


def _key(slot: Any) -> tuple[str, str, int]:
    return slot["model"], slot["tap"], slot["layer"]


def group_means(given: Given) -> dict[str, Any]:
    """The reference for the bars of a patch: names of groups and areas, and means by model, tap and layer."""
    if "group.mean" not in given.arrays:
        return {}
    axes = given.header.axes
    mean, nodes = given.arrays["group.mean"], given.arrays["group.nodes"]
    rows = []
    for s, slot in enumerate(axes["S"]["slots"]):
        known = [[finite(value) for value in mean[s, g]] if nodes[s, g] else None for g in range(mean.shape[1])]
        rows.append({**dict(zip(("model", "tap", "layer"), _key(slot), strict=True)), "means": known})
    return {"groups": axes["G"]["labels"], "areas": axes["R"]["labels"], "slots": rows}


KIND = Kind(_methods, lambda given: ("yang2024alignedcut",), _sections, _views)
