"""A tree on the page: the clusters of patches in some partitions, its splits with support, and how it was grown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alignedcut_cli.report.page.html import joined, tag, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section
from alignedcut_cli.report.page.lens import Lens, View
from alignedcut_cli.report.segments import class_colours

__all__ = ["KIND"]

PARTITIONS = (4, 16)
STANDS = 0.75
CLEAR = 2.0


def _methods(given: Given) -> str:
    params = given.header.params
    told = (
        f"A tree of {params['clusters']} leaves was grown over unit rows of {params['eigenvectors']} eigenvectors: cells of "
        "k-means, joined by Ward's method"
    )
    boots = f", with support over {params['bootstrap']} draws of photographs" if params["bootstrap"] else ""
    return f"{told}{boots}, seed {params['seed']}."


def _rows(given: Given) -> list[dict[str, Any]]:
    """The splits from the top: nodes, support of the worse side, and classes and areas that are higher on each side."""
    arrays, axes = given.arrays, given.header.axes
    joins, rows = np.asarray(arrays["joins"]), []
    for count, join in enumerate(range(len(joins) - 1, -1, -1), 2):
        sides = joins[join, :2].astype(int)
        worse = float(min(arrays["support"][side] for side in sides))
        row: dict[str, Any] = {
            "clusters": count,
            "nodes": " | ".join(str(int(arrays["sizes"][side])) for side in sides),
        }
        row["support"] = worse if given.header.params["bootstrap"] else None
        for name, axis in (("classes", "K"), ("areas", "R")):
            if name in arrays:
                row[name] = _telling(np.asarray(arrays[name][join]), axes[axis]["labels"])
        rows.append(row)
    return rows


def _telling(found: np.ndarray, names: Sequence[str]) -> str:
    """The names that are higher on the first | second side, by two standard errors at least, the largest first."""
    ratio = np.divide(found[:, 0], found[:, 1], out=np.zeros(len(found)), where=found[:, 1] > 0)
    sides: list[list[str]] = [
        [names[int(k)] for k in np.argsort(-sign * ratio)[:3] if sign * ratio[k] >= CLEAR] for sign in (1, -1)
    ]
    return " | ".join(", ".join(side) or "–" for side in sides)


def _sections(given: Given) -> Sequence[Section]:
    rows = _rows(given)
    known = [row for row in rows if row["support"] is not None]
    stand = sum(row["support"] > STANDS for row in known)
    told = f"{stand} of {len(known)} splits stand (support above {STANDS})." if known else f"{len(rows)} splits."
    body = joined([tag("p", told), twin("splits of the tree, from the top", rows)])
    return [Section("goes", f"Clusters of {given.reference}", body)]


def _views(given: Given, lens: Lens) -> Sequence[View]:
    if len(lens.parts) != 1 or not given.made_of(lens.parts[0].cut):
        return []
    leaves = np.asarray(given.arrays["leaf"])[lens.parts[0].rows].astype(int)
    nested = np.asarray(given.arrays["clusters"])
    found = []
    for count in sorted({min(count, len(nested)) for count in PARTITIONS}):
        names = [f"cluster {number}" for number in range(count)]
        title = f"{count} clusters ({given.reference})"
        found.append(View("labels", title, nested[count - 1][leaves], names, class_colours(count, None)))
    return found


KIND = Kind(_methods, sections=_sections, views=_views)
