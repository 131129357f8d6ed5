"""Figures of an alignment: losses, scores per ROI, and the similarity of the channels of slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alignedcut_cli.report.sheets import COMPRESSION
from alignedcut_cli.store.files import writing

__all__ = ["loss_figure", "roi_figure", "save_figure", "similarity_figure"]

DPI = 110
INK = "#333333"
BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#cbd5e0"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG atomically; the same figure gives the same bytes."""
    figure.set_dpi(DPI)
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)  # laid out as it is: with an engine, saving draws everything twice
    with writing(path, lasting=False) as temporary:
        quick = {"compress_level": COMPRESSION}
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None}, pil_kwargs=quick)


def loss_figure(losses: np.ndarray, labels: Sequence[str], heldout: np.ndarray, best: int) -> Figure:
    """The terms of the loss over steps (T, L), and held-out R^2 over epochs (H,) with the epoch that was kept."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("total", "brain", "eigen", "zero", "cov", "agree"):
        column = losses[:, list(labels).index(name)]
        if column.any():
            left.plot(np.arange(1, len(column) + 1), column, label=name, linewidth=1)
    left.set(xlabel="step", ylabel="loss", yscale="log", title="loss (Eq. 10) and its terms, unweighted")
    if len(losses):
        left.legend(frameon=False, fontsize=8)
    else:
        left.text(0.5, 0.5, "no gradient epochs", ha="center", transform=left.transAxes)
    right.plot(np.arange(len(heldout)), heldout, color=BLUE, marker="o", markersize=3)
    right.plot(
        best, heldout[best], color=ORANGE, marker="o", markersize=8, fillstyle="none", label=f"kept: epoch {best}"
    )
    right.set(xlabel="epoch (0: start)", ylabel="mean held-out R²", title="prediction of held-out images")
    right.legend(frameon=False, fontsize=8)
    return _plain(figure)


def roi_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Mean test R^2 of each ROI as a bar, in front of its noise ceiling if known."""
    figure = Figure(figsize=(max(5.0, 0.42 * len(rows) + 1.5), 3.8), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(rows))
    ceilings = [row["ceiling"] or 0.0 for row in rows]
    if any(ceilings):
        axis.bar(places, ceilings, color=GREY, width=0.8, label="noise ceiling")
    axis.bar(places, [row["r2.test"] for row in rows], color=BLUE, width=0.55, label="test R²")
    for place, row in zip(places, rows, strict=True):
        if row["share"] is not None:
            top = max(row["r2.test"], row["ceiling"], 0)
            axis.text(float(place), top + 0.008, f"{100 * row['share']:.0f}%", ha="center", fontsize=7, color=INK)
    axis.axhline(0, color=INK, linewidth=0.8)
    axis.set_xticks(places, [f"{row['roi']}\n{row['voxels']}" for row in rows], rotation=60, ha="right", fontsize=8)
    axis.set(ylabel="mean R² over voxels", title="brain score per ROI (number of voxels below; % of the ceiling above)")
    axis.margins(x=0.01)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    return _plain(figure)


def similarity_figure(before: np.ndarray, after: np.ndarray, slots: Sequence[Mapping[str, Any]]) -> Figure:
    """Channel similarity (S, S) of slots on the same images, before and after the transforms (Fig. 3)."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    names = [f"{slot['model']} {slot['layer']}" for slot in slots]
    panels = figure.subplots(1, 2)
    for axis, matrix, title in zip(panels, (before, after), ("own channels", "aligned channels"), strict=True):
        axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        size = 8 if len(names) <= 24 else 5
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        axis.set_yticks(range(len(names)), names if axis is panels[0] else [], fontsize=size)
        off = matrix[~np.eye(len(matrix), dtype=bool)]
        mean = f", mean off the diagonal {off.mean():.2f}" if len(off) else ""
        axis.set_title(f"{title}{mean}", fontsize=10)
    figure.suptitle("cosine similarity of channel activations on the same images", fontsize=11)
    figure.colorbar(panels[0].images[0], ax=panels, shrink=0.7)
    return figure


def _plain(figure: Figure) -> Figure:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure
