"""Figures of scores: over depth, of best layers, against effective dimension, and RDMs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alignedcut_cli.core.resample.ranks import midranks

__all__ = ["best_figure", "depth_figure", "dimension_figure", "rdm_figure"]

NAMES = {"crsa": "cRSA", "ereg": "eReg", "ersa": "eRSA", "cka": "CKA"}
UNITS = {
    "crsa": "comparison of RDMs",
    "ereg": "mean r over voxels",
    "ersa": "comparison of RDMs",
    "cka": "unbiased CKA",
}
GREY, INK = "#e2e8f0", "#333333"
_MOST_COLUMNS = 6
_LONGEST = 44
_MANY = 200
Rows = Sequence[Mapping[str, Any]]


def _grid(count: int, width: float, height: float, *, legend: int = 0) -> tuple[Figure, list[Any]]:
    """A figure of `count` panels, and its axes, in rows of at most six."""
    columns = min(_MOST_COLUMNS, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(1.0 + width * columns, 0.8 + height * lines + 0.2 * legend), layout="constrained")
    axes = [figure.add_subplot(lines, columns, number + 1) for number in range(count)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _scale_alike(panels: Sequence[Any]) -> None:
    """The same scales for all panels, in rows of at most six, with numbers at the left and the lower edge alone.

    Axes that matplotlib shares give the same picture and take twice the time.
    """
    for letter, at_edge in (("x", set(panels[-_MOST_COLUMNS:])), ("y", set(panels[::_MOST_COLUMNS]))):
        low, high = np.array([getattr(axis, f"get_{letter}lim")() for axis in panels]).T
        ticks = MaxNLocator(5).tick_values(low.min(), high.max())
        for axis in panels:
            axis.set(**{f"{letter}ticks": ticks, f"{letter}lim": (low.min(), high.max())})
            if axis not in at_edge:
                axis.tick_params(axis=letter, labelbottom=False, labelleft=False)


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _legend(figure: Figure, axis: Any, models: Sequence[str]) -> None:
    handles, labels = axis.get_legend_handles_labels()
    wide = int(figure.get_figwidth() * 72 / (60 + 5 * max((len(label) for label in labels), default=1)))
    figure.legend(
        handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=max(1, min(len(models) + 1, wide))
    )


def depth_figure(metric: str, rows: Rows, split: str) -> Figure:
    """Scores over depth, a panel per region and a line per model, with 95 % intervals; the noise ceiling is a grey band.

    A ring marks the layer chosen on training images. `rows` are those of the long table, of one metric and split.
    """
    regions, models = (list(dict.fromkeys(row[key] for row in rows)) for key in ("region", "model"))
    figure, panels = _grid(
        len(regions), 2.5 if len(regions) > 1 else 4.6, 2.1 if len(regions) > 1 else 3.2, legend=len(models)
    )
    for axis, region in zip(panels, regions, strict=True):
        mine = [row for row in rows if row["region"] == region]
        lower, upper = mine[0]["ceiling_low"], mine[0]["ceiling"]
        if upper is not None:
            label = "noise ceiling"
            if upper - lower > 1e-6:
                axis.axhspan(lower, upper, color=GREY, linewidth=0, label=label)
            else:
                axis.axhline(upper, color="#94a3b8", linewidth=1.4, linestyle="--", label=label)
        for number, model in enumerate(models):
            _depth_line(axis, [row for row in mine if row["model"] == model], f"C{number % 10}", model)
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.set_title(region, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    _scale_alike(panels)
    for axis in panels[:: min(_MOST_COLUMNS, len(regions))]:
        axis.set_ylabel(UNITS[metric], fontsize=8)
    for axis in panels[-min(_MOST_COLUMNS, len(regions)) :]:
        axis.set_xlabel("depth", fontsize=8)
    _legend(figure, panels[0], models)
    band = "; band: 95 %" if any(row["low"] is not None for row in rows) else ""
    ring = "; ring: layer chosen on train" if any(row["best_on_train"] for row in rows) else ""
    figure.suptitle(f"{NAMES[metric]} over depth, {split} images{band}{ring}", fontsize=10)
    return figure


def _depth_line(axis: Any, rows: Rows, colour: str, model: str) -> None:
    if not rows:
        return
    depth, scores = [row["layer_depth"] for row in rows], [row["score"] for row in rows]
    axis.plot(depth, scores, color=colour, marker="o", markersize=2.5, linewidth=1.2, label=_shown(model))
    if all(row["low"] is not None for row in rows):
        axis.fill_between(
            depth, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, alpha=0.13, linewidth=0
        )
    for row in rows:
        if row["best_on_train"]:
            axis.plot(row["layer_depth"], row["score"], "o", color=colour, markersize=8, fillstyle="none")


def best_figure(rows: Rows) -> Figure:
    """The test score of each model's best layer with its interval, a panel per measure; grey: the noise ceiling."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    most = max(len({row["region"] for row in rows if row["metric"] == metric}) for metric in metrics)
    wide = max(3.0 if len(metrics) > 1 else 5.0, 0.9 + most * (0.22 + 0.13 * len(models)))
    figure = Figure(
        figsize=(1.0 + wide * min(len(metrics), 2), 0.9 + 2.7 * -(-len(metrics) // 2) + 0.2 * len(models)),
        layout="constrained",
    )
    panels = figure.subplots(-(-len(metrics) // 2), min(len(metrics), 2), squeeze=False).ravel()
    for axis in panels[len(metrics) :]:
        axis.set_visible(False)
    for axis, metric in zip(panels, metrics, strict=False):
        mine = [row for row in rows if row["metric"] == metric]
        regions = list(dict.fromkeys(row["region"] for row in mine))
        _ceilings(axis, mine, regions)
        bar = 0.8 / len(models)
        for number, model in enumerate(models):
            own = [row for row in mine if row["model"] == model]
            places = [regions.index(row["region"]) + (number - (len(models) - 1) / 2) * bar for row in own]
            axis.bar(places, [row["score"] for row in own], bar * 0.9, color=f"C{number % 10}", label=_shown(model))
            known = [(place, row) for place, row in zip(places, own, strict=True) if row["low"] is not None]
            for place, row in known:
                axis.plot([place, place], [row["low"], row["high"]], color=INK, linewidth=1)
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.set_xticks(range(len(regions)), regions, rotation=60, ha="right", fontsize=7)
        axis.set_title(NAMES[metric], fontsize=9)
        axis.set_ylabel(UNITS[metric], fontsize=8)
        axis.tick_params(axis="y", labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    _legend(figure, panels[0], models)
    figure.suptitle("layers chosen on train, scores on test images; grey: noise ceiling", fontsize=10)
    return figure


def _ceilings(axis: Any, rows: Rows, regions: Sequence[str]) -> None:
    for place, region in enumerate(regions):
        row = next(one for one in rows if one["region"] == region)
        if row["ceiling"] is not None:
            low = row["ceiling_low"] if row["ceiling"] - row["ceiling_low"] > 1e-6 else 0.0
            axis.bar(place, row["ceiling"] - low, 0.9, bottom=low, color=GREY, linewidth=0)


def dimension_figure(rows: Rows, relation: Rows) -> Figure:
    """Effective dimension of layers against test score, a panel per measure; their rank correlation in the title."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, panels = _grid(len(metrics), 3.3, 2.9, legend=len(models))
    for axis, metric in zip(panels, metrics, strict=True):
        mine = [row for row in rows if row["metric"] == metric]
        for number, model in enumerate(models):
            own = [row for row in mine if row["model"] == model]
            axis.scatter(
                [row["dimension"] for row in own],
                [row["score"] for row in own],
                s=8 + 30 * np.array([row["layer_depth"] for row in own]),
                color=f"C{number % 10}",
                alpha=0.75,
                linewidths=0,
                label=_shown(model),
            )
        found = next((row for row in relation if row["metric"] == metric and row["model"] == "all"), None)
        told = f"rank correlation {found['correlation']:.2f}" if found else ""
        told += f" ({found['low']:.2f} to {found['high']:.2f})" if found and found["low"] is not None else ""
        axis.set_title(f"{NAMES[metric]}, {mine[0]['region']}\n{told}", fontsize=8)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.set_xlabel("effective dimensionality", fontsize=8)
        axis.set_ylabel(UNITS[metric], fontsize=8)
        axis.tick_params(labelsize=7, which="both")
        axis.grid(alpha=0.25)
    _legend(figure, panels[0], models)
    figure.suptitle("effective dimensionality of layers and their test scores; larger dots: deeper", fontsize=10)
    return figure


def rdm_figure(titles: Sequence[str], rdms: Sequence[np.ndarray]) -> Figure:
    """RDMs (n, n) side by side, as ranks of distances, on which most comparisons of RDMs depend.

    Images are in their own order; if there are too many to tell apart, by the first principal coordinate of the first RDM.
    """
    order = np.arange(len(rdms[0]))
    if len(order) > _MANY and np.isfinite(rdms[0]).all():
        centred = rdms[0] - rdms[0].mean(0) - rdms[0].mean(1)[:, None] + rdms[0].mean()
        order = np.argsort(np.linalg.eigh(-centred)[1][:, -1], kind="stable")
    figure, panels = _grid(len(rdms), 2.9, 2.9)
    drawn: Any = None
    for axis, title, matrix in zip(panels, titles, rdms, strict=True):
        rows, columns = np.triu_indices(len(matrix), 1)
        ranks = midranks(matrix[rows, columns]) / max(1, len(rows))
        shown = np.full(matrix.shape, np.nan)
        shown[rows, columns] = shown[columns, rows] = ranks
        shown = shown[np.ix_(order, order)]
        drawn = axis.imshow(shown, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    bar = figure.colorbar(drawn, ax=panels, shrink=0.6)
    bar.set_label("rank of the distance", fontsize=8)
    if len(order) > _MANY:
        figure.suptitle("images in the order of the first principal coordinate of the first RDM", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure
