"""The tensors of a tree and their meanings, and its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.frame.output import table
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.tree.plan import Plan

__all__ = ["MEANINGS", "axes_of", "flat_rows", "split_rows", "split_table"]

MEANINGS = {
    "nodes": ("M T", "image, slot, row, col of each node; row = col = -1 for the class token"),
    "leaf": ("M", "leaf of each node"),
    "joins": (
        "j J",
        "as SciPy has them: the two clades joined, their distance, leaves below; the last join is the top",
    ),
    "clusters": ("L L", "cluster of each leaf in the nested partitions into 1, 2, .. L clusters"),
    "sizes": ("c", "nodes of each clade: the leaves, then what each join makes"),
    "support": ("c", "mean overlap (IoU) of a clade with its best match over draws of images; -1 without draws"),
    "areas": (
        "j R D",
        "mean predicted response of the first side less the second, and its error over images; NaN: undefined",
    ),
    "classes": ("j K D", "share of a class in the first side less that in the second, and its error; NaN: undefined"),
}
TELLING, CLEAR = 3, 2.0
"""The most areas and classes named for each side, and the least difference in standard errors."""


def axes_of(plan: Plan, areas: Sequence[str]) -> dict[str, Any]:
    """The axes of the artifact."""
    cut, leaves = plan.cut.axes, plan.recipe.params["clusters"]
    axes: dict[str, Any] = {
        "M": {"size": cut["M"]["size"]},
        "B": dict(cut["B"]),
        "S": dict(cut["S"]),
        "T": {"size": 4, "labels": ["image", "slot", "row", "col"]},
        "L": {"size": leaves},
        "j": {"size": leaves - 1},
        "c": {"size": 2 * leaves - 1},
        "J": {"size": 4, "labels": ["first", "second", "distance", "leaves"]},
        "D": {"size": 2, "labels": ["difference", "standard error"]},
    }
    if areas:
        axes["R"] = {"size": len(areas), "labels": list(areas)}
    if plan.classes is not None:
        axes["K"] = {"size": len(plan.classes.names), "labels": list(plan.classes.names)}
    return axes


def split_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per split, from the top: the number of clusters after it, both sides' nodes and support, how they differ.

    The support of a split is that of its less supported side.
    """
    rows = []
    for count, join in enumerate(range(len(tensors["joins"]) - 1, -1, -1), 2):
        one, other = (int(side) for side in tensors["joins"][join, :2])
        support = [float(tensors["support"][side]) for side in (one, other)]
        row: dict[str, Any] = {
            "clusters": count,
            "nodes": [int(tensors["sizes"][side]) for side in (one, other)],
            "support": min(support) if header.params["bootstrap"] else None,
            "distance": float(tensors["joins"][join, 2]),
        }
        for tensor, axis in (("classes", "K"), ("areas", "R")):
            if tensor in tensors:
                row[tensor] = _telling(tensors[tensor][join], header.axes[axis]["labels"])
        rows.append(row)
    return rows


def flat_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with one value per key: the sides of a split as first | second."""
    return [
        {
            key: _sides(value)
            if key in ("classes", "areas")
            else " | ".join(map(str, value))
            if key == "nodes"
            else value
            for key, value in row.items()
        }
        for row in rows
    ]


def _telling(found: np.ndarray, names: Sequence[str]) -> list[list[str]]:
    """For each side the names that are significantly higher there, the largest difference first."""
    difference, error = found.T
    ratio = np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)
    sides = []
    for sign in (1, -1):
        order = np.argsort(-sign * ratio, kind="stable")[:TELLING]
        sides.append([names[place] for place in order if sign * ratio[place] >= CLEAR])
    return sides


def split_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The splits as a table; sides are written first | second."""
    head = ["clusters", "nodes", "support", *(key for key in ("classes", "areas") if key in rows[0])]
    cells = [
        [
            str(row["clusters"]),
            " | ".join(map(str, row["nodes"])),
            "-" if row["support"] is None else f"{row['support']:.2f}",
            *(_sides(row[key]) for key in ("classes", "areas") if key in row),
        ]
        for row in rows
    ]
    return table([head, *cells])


def _sides(sides: Sequence[Sequence[str]]) -> str:
    return " | ".join(", ".join(side) or "-" for side in sides)
