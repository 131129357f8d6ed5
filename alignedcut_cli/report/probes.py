"""Figures of probes: scores from an embedding and from queries, and the coefficients of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

__all__ = ["classify_figure", "importance_figure"]

BLUE, ORANGE, INK = "#2b6cb0", "#dd6b20", "#333333"
_MOST = 40
Rows = Sequence[Mapping[str, Any]]


def classify_figure(rows: Rows, queries: Rows) -> Figure:
    """Accuracy from the embedding and from the queries, and the coefficient of each query for each class."""
    columns = [name for name in queries[0] if name != "query"]
    figure, (left, right) = _pair(len(queries), len(columns))
    left.bar(range(len(rows)), [row["accuracy"] for row in rows], color=[BLUE, ORANGE], width=0.6)
    for place, row in enumerate(rows):
        if row["low"] is not None:
            left.plot([place, place], [row["low"], row["high"]], color=INK, linewidth=1.2)
    left.set_xticks(range(len(rows)), [row["features"] for row in rows], fontsize=8)
    left.set(ylabel="accuracy on test images", ylim=(0, 1.02))
    _heat(figure, right, queries, columns, "coefficient")
    return figure


def importance_figure(rows: Rows, queries: Rows) -> Figure:
    """eReg of each region from the embedding, the queries and random sets; and the importance of each query."""
    columns = [name for name in queries[0] if name != "query"]
    figure, (left, right) = _pair(len(queries), len(columns), regions=len(rows))
    places = np.arange(len(rows))
    for shift, kind, colour in ((-0.2, "embedding", BLUE), (0.2, "queries", ORANGE)):
        left.bar(places + shift, [row[f"ereg.{kind}"] for row in rows], 0.36, color=colour, label=kind)
        known = [
            (place + shift, row) for place, row in zip(places, rows, strict=True) if row[f"low.{kind}"] is not None
        ]
        for place, row in known:
            left.plot([place, place], [row[f"low.{kind}"], row[f"high.{kind}"]], color=INK, linewidth=1)
    if "random.mean" in rows[0]:
        left.errorbar(
            places + 0.2,
            [row["random.mean"] for row in rows],
            [row["random.sd"] for row in rows],
            fmt="k_",
            markersize=7,
            linewidth=0.8,
            label="random sets",
        )
    left.axhline(0, color=INK, linewidth=0.6)
    left.set_xticks(places, [row["region"] for row in rows], rotation=60, ha="right", fontsize=7)
    left.set_ylabel("eReg: mean r over voxels")
    left.legend(frameon=False, fontsize=7)
    _heat(figure, right, queries, columns, "mean |coefficient|")
    return figure


def _pair(queries: int, columns: int, regions: int = 2) -> tuple[Figure, Any]:
    wide = 1.6 + 0.32 * regions, 3.0 + 0.24 * columns
    figure = Figure(figsize=(sum(wide) + 1.0, max(3.4, 1.2 + 0.16 * min(queries, _MOST))), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=wide)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _heat(figure: Figure, axis: Any, queries: Rows, columns: Sequence[str], label: str) -> None:
    """Queries by columns, largest values first; at most 40."""
    values = np.array([[row[column] for column in columns] for row in queries])
    order = np.argsort(-np.abs(values).max(1), kind="stable")[:_MOST]
    size = float(np.abs(values).max()) or 1.0
    signed = (values < 0).any()
    low, colours = (-size, "RdBu_r") if signed else (0.0, "viridis")
    drawn = axis.imshow(values[order], aspect="auto", cmap=colours, vmin=low, vmax=size, interpolation="nearest")
    axis.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(len(order)), [str(queries[place]["query"])[:40] for place in order], fontsize=7)
    bar = figure.colorbar(drawn, ax=axis, shrink=0.7)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
