"""The figure of a tree: its splits coloured by support, the first ones labelled with how their sides differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

__all__ = ["tree_figure"]

INK, GREY = "#333333", "#a0aec0"


def tree_figure(joins: np.ndarray, rows: Sequence[Mapping[str, Any]], sizes: np.ndarray, shown: int) -> Figure:
    """The tree from left to right (joins (L - 1, 4)): stable splits are green, dissolved ones red.

    `rows` are the splits from the top. The first `shown` are labelled with the number of clusters after them, and their
    sides' classes, or else areas.
    """
    leaves = len(joins) + 1
    places, depth = _places(joins), np.concatenate([np.zeros(leaves), joins[:, 2]])
    figure = Figure(figsize=(13, max(4.0, 0.17 * leaves + 1)), layout="constrained")
    axis = figure.subplots()
    colours = matplotlib.colormaps["RdYlGn"]
    for number, (one, other, distance, _) in enumerate(joins):
        row = rows[len(joins) - 1 - number]
        colour = INK if row["support"] is None else colours(np.clip((row["support"] - 0.25) / 0.75, 0, 1))
        one, other = int(one), int(other)
        axis.plot(
            [depth[one], distance, distance, depth[other]],
            [places[one], places[one], places[other], places[other]],
            color=colour,
            linewidth=1.6,
        )
        if row["clusters"] <= shown + 1:
            below = places[leaves + number] - 0.1
            axis.text(distance, below, f" {row['clusters']}", fontsize=8, va="top", color=INK)
            for side, told in zip((one, other), _told(row), strict=True):
                axis.text((depth[side] + distance) / 2, places[side] + 0.1, told, fontsize=6, va="bottom", ha="center")
    axis.set_yticks(places[:leaves], [str(size) for size in sizes[:leaves]], fontsize=6)
    axis.yaxis.tick_right()
    axis.invert_xaxis()
    axis.set_xlabel("distance at which the sides join (Ward); right: nodes of each leaf")
    axis.spines[["top", "left"]].set_visible(False)
    if rows[0]["support"] is not None:
        figure.colorbar(
            ScalarMappable(Normalize(0.25, 1), colours),
            ax=axis,
            label="support",
            pad=0.02,
        )
    named = " or else ".join(key for key in ("classes", "areas") if key in rows[0])
    told = f"; above a branch, {named} higher there than on the other side" if named else ""
    axis.set_title(f"nested clusters: the number at a split is how many it makes{told}", fontsize=10, loc="left")
    return figure


def _told(row: Mapping[str, Any]) -> list[str]:
    key = next((key for key in ("classes", "areas") if key in row and any(row[key])), None)
    return [", ".join(side[:2]) for side in row[key]] if key else ["", ""]


def _places(joins: np.ndarray) -> np.ndarray:
    """The position of each clade: leaves in the order of the tree, joins midway between their sides."""
    leaves = len(joins) + 1
    found, order, stack = np.zeros(2 * leaves - 1), 0, [2 * leaves - 2]
    while stack:
        clade = stack.pop()
        if clade < leaves:
            found[clade], order = order, order + 1
        else:
            stack += [int(joins[clade - leaves, 1]), int(joins[clade - leaves, 0])]
    for number, (one, other, *_) in enumerate(joins):
        found[leaves + number] = (found[int(one)] + found[int(other)]) / 2
    return found
