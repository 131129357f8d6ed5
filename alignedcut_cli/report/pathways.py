"""The figure of pathways: what and where over layers, for every graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["pathway_figure"]

TITLES = {"class": "what: classes", "position": "where: positions", "instance": "which: instances"}
SCOPES = {"dataset": "over the data set", "within": "within images"}
COLOURS = {"vv": "C3", "kk": "C2", "qk": "C0", "attn": "C4"}
STYLES = ("-", "--", ":", "-.")


def pathway_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Adjusted mutual information over layers: columns are measures, rows scopes, colours graphs, dashes models.

    Per-slot cuts are lines with 95% intervals, joint cuts horizontal lines; thin lines are the 95% quantile of the null.
    Where all cuts are joint, each is a bar with its interval, and a thin line across it is the 95% quantile of the null.
    """
    measures = [name for name in TITLES if name in rows[0]]
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(1.2 + 3.9 * len(measures), 6.6 + 0.2 * len(models)), layout="constrained")
    panels = figure.subplots(2, len(measures), sharex=True, sharey=True, squeeze=False)
    bars = all(row["layer"] is None for row in rows)
    for line, scope in enumerate(SCOPES):
        for column, measure in enumerate(measures):
            axis = panels[line, column]
            if bars:
                _bars(axis, rows, models, measure, scope)
            for key in () if bars else dict.fromkeys((row["model"], row["graph"]) for row in rows):
                mine = [row for row in rows if (row["model"], row["graph"]) == key]
                style = STYLES[models.index(key[0]) % len(STYLES)]
                _draw(axis, mine, measure, scope, COLOURS.get(key[1], "C7"), style)
            told = any(row[measure][scope]["value"] is not None for row in rows)
            axis.set_title(f"{TITLES[measure]}, {SCOPES[scope]}", fontsize=10)
            if not told:
                axis.text(0.5, 0.5, "not defined", ha="center", transform=axis.transAxes, color="#777777")
            axis.set(ylim=(min(-0.02, *axis.get_ylim()), 1) if column == 0 and line == 0 else None)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
            if not bars:
                axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in panels[-1]:
        axis.set_xlabel("cut" if bars else "layer")
    for axis in panels[:, 0]:
        axis.set_ylabel("adjusted mutual information")
    handles: dict[str, Any] = {}
    for axis in panels.flat:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    found = [row[measure][scope] for row in rows for measure in measures for scope in SCOPES]
    if any(one["null 95%"] is not None for one in found):
        handles["thin: by chance (95% quantile)"] = Line2D([], [], color="#777777", linewidth=1)
    if any(one["low"] is not None for one in found):
        mark = {"linewidth": 1.4, "color": "#333333"} if bars else {"linewidth": 6, "color": "#777777", "alpha": 0.3}
        handles["95% interval over images"] = Line2D([], [], **mark)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _draw(axis: Any, rows: Sequence[Mapping[str, Any]], measure: str, scope: str, colour: str, style: str) -> None:
    name = f"{rows[0]['model']} · {rows[0]['graph']}"
    layers = sorted((row for row in rows if row["layer"] is not None), key=lambda row: row["layer"])
    told = [(row["layer"], row[measure][scope]) for row in layers if row[measure][scope]["value"] is not None]
    if told:
        x = [layer for layer, _ in told]
        axis.plot(x, [one["value"] for _, one in told], style, color=colour, marker="o", markersize=3, label=name)
        if all(one["low"] is not None for _, one in told):
            axis.fill_between(
                x,
                [one["low"] for _, one in told],
                [one["high"] for _, one in told],
                color=colour,
                alpha=0.12,
                linewidth=0,
            )
        if all(one["null 95%"] is not None for _, one in told):
            axis.plot(x, [one["null 95%"] for _, one in told], style, color=colour, linewidth=0.6, alpha=0.7)
    for row in rows:
        value = row[measure][scope]["value"]
        if row["layer"] is None and value is not None:
            axis.axhline(
                value,
                0.0,
                1.0,
                linestyle=style,
                color=colour,
                linewidth=2.4,
                alpha=0.45,
                label=f"{name}, layers {row['layers']} in one cut",
            )


def _bars(axis: Any, rows: Sequence[Mapping[str, Any]], models: Sequence[str], measure: str, scope: str) -> None:
    """A bar per joint cut, hatched by model, with its 95% interval and the 95% quantile of the null."""
    hatches = ("", "//", "..", "xx")
    for place, row in enumerate(rows):
        found, colour = row[measure][scope], COLOURS.get(row["graph"], "C7")
        if found["value"] is None:
            continue
        name = f"{row['model']} · {row['graph']}, layers {row['layers']} in one cut"
        hatch = hatches[models.index(row["model"]) % len(hatches)]
        axis.bar(place, found["value"], 0.7, color=colour, alpha=0.55, hatch=hatch, edgecolor="white", label=name)
        if found["low"] is not None:
            axis.vlines(place, found["low"], found["high"], color="#333333", linewidth=1.4)
        if found["null 95%"] is not None:
            axis.hlines(found["null 95%"], place - 0.42, place + 0.42, color=colour, linewidth=1.2)
    axis.set_xticks(range(len(rows)), [row["graph"] for row in rows])
    axis.set_xlim(-0.6, len(rows) - 0.4)
