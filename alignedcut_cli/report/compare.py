"""Figures of a comparison: matrices of slots before and after alignment, and the agreement of two cuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alignedcut_cli.nodes.slots import layer_name

__all__ = ["agreement_figure", "matrix_figure"]

INK, BLUE = "#333333", "#2b6cb0"
MOST_NUMBERS = 9


def matrix_figure(axes: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Figure:
    """CKA above, Procrustes below: a matrix (S, S) for each state; values in the cells of small ones."""
    slots, states = axes["S"]["slots"], axes["K"]["labels"]
    names = [f"{slot['model']} {layer_name(slot)}" for slot in slots]
    size = max(3.2, 0.24 * len(slots) + 1.2)
    figure = Figure(figsize=(size * len(states) + 1.2, 2 * size + 0.6), layout="constrained")
    panels = figure.subplots(2, len(states), squeeze=False)
    told = (("cka", "unbiased CKA", "cka"), ("procrustes.slots", "Procrustes", "procrustes"))
    for line, (tensor, title, measure) in enumerate(told):
        for column, state in enumerate(states):
            axis, matrix = panels[line, column], tensors[tensor][column, ..., 0]
            axis.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
            font = 8 if len(names) <= 20 else 5
            axis.set_xticks(range(len(names)), names if line else [], rotation=90, fontsize=font)
            axis.set_yticks(range(len(names)), names if not column else [], fontsize=font)
            _part_models(axis, slots)
            axis.set_title(
                f"{title}, {state if column == 0 else f'aligned by {state}'}\n{_across(tensors, measure, column)}",
                fontsize=9,
            )
            if len(names) <= MOST_NUMBERS:
                for (row, place), value in np.ndenumerate(matrix):
                    colour = "white" if value < 0.6 else INK
                    axis.text(place, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
        figure.colorbar(panels[line, 0].images[0], ax=panels[line], shrink=0.8)
    return figure


def _part_models(axis: Any, slots: Any) -> None:
    for number in range(1, len(slots)):
        if slots[number]["model"] != slots[number - 1]["model"]:
            axis.axhline(number - 0.5, color="white", linewidth=1)
            axis.axvline(number - 0.5, color="white", linewidth=1)


def _across(tensors: Mapping[str, np.ndarray], measure: str, state: int) -> str:
    """Mean or gain of pairs across models (within the model if there is one), with its interval."""
    found = tensors[f"{measure}.gain"][:, state]
    kind = 1 if np.isfinite(found[1, 0]) else 0
    value, low, high, _ = found[kind]
    if not np.isfinite(value):
        return "one slot"
    where = ("within the model", "across models")[kind]
    ends = f" ({low:+.2f} to {high:+.2f})" if np.isfinite(low) else ""
    return f"{where} {value:.2f}{ends.replace('+', '')}" if state == 0 else f"{where} gain {value:+.2f}{ends}"


def agreement_figure(axes: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Figure:
    """The projector error of two cuts (or Procrustes of two colorings) over slots, and their principal cosines."""
    both = "cosines" in tensors
    ends = tensors["error" if both else "procrustes"]
    shown = np.flatnonzero(np.isfinite(ends[:, 0]))
    names, ends = [axes["A"]["labels"][place] for place in shown], ends[shown]
    height = 1.4 + 0.24 * len(names)
    figure = Figure(figsize=(11 if both else 6, max(3.0, height)), layout="constrained")
    panels = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    places = np.arange(len(names))
    panels[0].hlines(places, ends[:, 1], ends[:, 2], color=BLUE, linewidth=2)
    panels[0].plot(ends[:, 0], places, "o", color=BLUE, markersize=4)
    panels[0].set_yticks(places, names, fontsize=8)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    panels[0].set_xlim(0, 1)
    panels[0].spines[["top", "right"]].set_visible(False)
    panels[0].set_title(
        "projector error, 0: the same span" if both else "Procrustes, 1: the same shape after rotation", fontsize=10
    )
    if both:
        picture = panels[1].imshow(tensors["cosines"][shown], vmin=0, vmax=1, cmap="viridis", aspect="auto")
        count = tensors["cosines"].shape[1]
        panels[1].set_xticks(range(0, count, max(1, count // 10)), range(1, count + 1, max(1, count // 10)))
        panels[1].set_yticks([])
        panels[1].set_title("cosines of the principal angles, largest first", fontsize=10)
        figure.colorbar(picture, ax=panels[1])
    return figure
