"""Figures of predicted responses: ROI bars of figure and ground, their contrast, classes, and a sheet of concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["class_figure", "concept_figure", "contrast_figure", "grid_of", "group_figure"]

INK = "#333333"
BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#a0aec0"
SCATTER = 4000
DPI = 110
Slots = Sequence[Mapping[str, Any]]


def group_figure(mean: np.ndarray, se: np.ndarray, rois: Sequence[str], slots: Slots) -> Figure:
    """Mean activation per ROI of figure and ground (S, 2, R) +- one standard error: a column per model, a row per layer."""
    places, columns, rows = grid_of(slots)
    figure = Figure(figsize=(max(8.0, 1.2 + max(3.4, 0.16 * len(rois)) * len(columns)), 1.3 + 1.35 * len(rows)))
    panels = _panels(figure, len(rows), len(columns), top=0.75, bottom=0.85)
    for number, (row, column) in enumerate(places):
        axis = panels[row, column]
        for group, colour, shift in ((0, ORANGE, -0.2), (1, BLUE, 0.2)):
            _bars(axis, np.arange(len(rois)) + shift, mean[number, group], se[number, group], colour, 2.4)
        axis.set_title(f"{columns[column]} · layer {rows[row]}", y=1, fontsize=8, pad=2)
    for axis in panels.flat:
        axis.set_visible(bool(axis.get_title()))
    _roi_labels(panels, rois)
    for colour, label in ((ORANGE, "foreground"), (BLUE, "background")):
        panels[0, 0].plot([], [], color=colour, linewidth=5, label=label)
    figure.legend(loc="upper right", ncols=2, frameon=False, fontsize=9)
    figure.suptitle(
        "brain-space activation, mean over patches ± standard error over images", fontsize=10, x=0.01, ha="left"
    )
    return figure


def contrast_figure(contrast: np.ndarray, se: np.ndarray, rois: Sequence[str], slots: Slots) -> Figure:
    """(foreground - background) / standard error (S, R) as colours: red where an ROI responds more to the figure."""
    figure = Figure(figsize=(2.6 + 0.3 * len(rois), 1.8 + 0.22 * len(slots)), layout="constrained")
    axis = figure.subplots()
    ratio = np.divide(contrast, se, out=np.full_like(contrast, np.nan), where=se > 0)
    picture = axis.imshow(ratio, cmap="RdBu_r", vmin=-8, vmax=8, aspect="auto")
    axis.set_xticks(range(len(rois)), rois, rotation=90, fontsize=8)
    axis.set_yticks(range(len(slots)), [f"{slot['model']} {slot['layer']}" for slot in slots], fontsize=8)
    for number in range(1, len(slots)):
        if slots[number]["model"] != slots[number - 1]["model"]:
            axis.axhline(number - 0.5, color=INK, linewidth=1)
    figure.colorbar(picture, ax=axis, label="difference / its standard error", extend="both")
    axis.set_title("foreground against background in brain space", y=1, fontsize=10)
    return figure


def class_figure(mean: np.ndarray, classes: Sequence[str], rois: Sequence[str], slots: Slots) -> Figure:
    """Mean activation (S, G, R) of each class in the slots of one model, each slot relative to its largest."""
    columns = min(3, len(slots))
    rows = -(-len(slots) // columns)
    width, height = columns * (0.3 + 0.15 * len(rois)) + 2.2, rows * (0.4 + 0.17 * len(classes)) + 1.6
    figure = Figure(figsize=(width, height))
    panels = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.8 / width, right=1 - 1 / width, top=1 - 0.65 / height, bottom=0.9 / height, wspace=0.06, hspace=0.25
    )
    for number, axis in enumerate(panels.flat):
        axis.set_visible(number < len(slots))
        axis.set_xticks([])
        axis.set_yticks([])
    for axis, slot, values in zip(panels.flat, slots, mean, strict=False):
        largest = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 1.0
        axis.imshow(values / (largest or 1.0), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axis.set_title(f"layer {slot['layer']} (largest {largest:.2g})", y=1, fontsize=8)
    for axis in panels[:, 0]:
        axis.set_yticks(range(len(classes)), classes, fontsize=7)
    _roi_labels(panels, rois)
    bar = figure.add_axes((1 - 0.85 / width, 0.25, 0.15 / width, 0.5))
    figure.colorbar(panels[0, 0].images[0], cax=bar)
    figure.suptitle(f"{slots[0]['model']} · {slots[0]['tap']}: mean brain-space activation of each class", fontsize=10)
    return figure


def concept_figure(
    title: str,
    labels: Sequence[tuple[str, str]],
    rois: tuple[np.ndarray, np.ndarray],
    names: Sequence[str],
    voxels: tuple[np.ndarray, np.ndarray],
    strips: Sequence[np.ndarray],
) -> Figure:
    """One slot: for each concept its mean +- deviation per ROI (k, R), deviation against mean per voxel (k, N), and patches.

    `labels` are the titles of the bars and the dots; `strips` are the example patches, pictures (height, width, 3) uint8.
    """
    count, wide = len(labels), max(strip.shape[1] for strip in strips)
    width, height = max(1050, 745 + wide), 170 * (count + 1)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    grid = figure.add_gridspec(
        count, 2, width_ratios=(2.6, 1), wspace=0.16, hspace=0.42,
        left=55 / width, right=725 / width, top=1 - 70 / height, bottom=100 / height,
    )  # fmt: skip
    chosen = np.linspace(0, voxels[0].shape[1] - 1, min(SCATTER, voxels[0].shape[1])).astype(int)
    bars = np.array([[figure.add_subplot(grid[row, 0])] for row in range(count)])
    for row, (label, told) in enumerate(labels):
        _bars(bars[row, 0], np.arange(len(names)), rois[0][row], rois[1][row], ORANGE, 5)
        bars[row, 0].set_title(label, y=1, fontsize=8, loc="left", pad=3)
        dots = figure.add_subplot(grid[row, 1])
        dots.plot(voxels[0][row, chosen], voxels[1][row, chosen], ".", color=BLUE, markersize=1.2)
        dots.axvline(0, color=GREY, linewidth=0.6)
        dots.tick_params(labelsize=6)
        dots.spines[["top", "right"]].set_visible(False)
        dots.set_title(told, y=1, fontsize=7, pad=3)
        middle = dots.get_position().y0 + dots.get_position().y1
        figure.figimage(strips[row], 740, round(height * middle / 2 - strips[row].shape[0] / 2))
    _roi_labels(bars, names)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", y=1 - 18 / height)
    return figure


def grid_of(slots: Slots) -> tuple[list[tuple[int, int]], list[str], list[int]]:
    """(row, column) of each slot's panel, the models as columns, and the layers as rows."""
    models = list(dict.fromkeys(f"{slot['model']} · {slot['tap']}" for slot in slots))
    layers = sorted({slot["layer"] for slot in slots})
    found = [(layers.index(slot["layer"]), models.index(f"{slot['model']} · {slot['tap']}")) for slot in slots]
    return found, models, layers


def _panels(figure: Figure, rows: int, columns: int, top: float, bottom: float) -> np.ndarray:
    """Axes (rows, columns) that leave `top` and `bottom` inches free."""
    height, width = figure.get_figheight(), figure.get_figwidth()
    panels = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.5 / width, right=1 - 0.08 / width, top=1 - top / height, bottom=bottom / height, hspace=0.28, wspace=0.14
    )
    return panels


def _bars(axis: Axes, places: np.ndarray, mean: np.ndarray, error: np.ndarray, colour: str, width: float) -> None:
    """Bars from 0 to the mean with their errors, as one line collection: hundreds of separate bars are slow to draw."""
    there = np.isfinite(mean)
    error = np.nan_to_num(error)
    axis.vlines(places[there], 0, mean[there], color=colour, linewidth=width)
    axis.vlines(places[there], (mean - error)[there], (mean + error)[there], color=INK, linewidth=0.8)
    axis.axhline(0, color=INK, linewidth=0.6)
    axis.tick_params(labelsize=6)
    axis.spines[["top", "right"]].set_visible(False)


def _roi_labels(panels: np.ndarray, rois: Sequence[str]) -> None:
    """ROI names below the lowest visible panel of each column, and ticks without names above it."""
    for column in panels.T:
        seen = [axis for axis in column if axis.get_visible()]
        for axis in seen:
            margin = 0.5 if axis.images else 0.8
            axis.set_xlim(-margin, len(rois) - 1 + margin)
            axis.set_xticks([])
        seen[-1].set_xticks(range(len(rois)), rois, rotation=90, fontsize=6.5)
