"""Figures of a bootstrapped cut: the stability of eigenvectors, and the intervals of eigenvalues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

__all__ = ["stability_figure"]

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#a0aec0"


def stability_figure(found: Mapping[str, Any], kept: np.ndarray, matches: np.ndarray, title: str) -> Figure:
    """Mean and 90 % range over replicates of the cosines (R, C), and the eigenvalues from the second on."""
    count = kept.shape[1]
    places = np.arange(1, count + 1)
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    told = (
        (kept, BLUE, f"with the span of the replicate's {count}"),
        (matches, ORANGE, "with its best match, one to one"),
    )
    for draws, colour, label in told:
        left.fill_between(places, *np.quantile(draws, [0.05, 0.95], axis=0), color=colour, alpha=0.18, linewidth=0)
        left.plot(places, draws.mean(0), color=colour, marker="o", markersize=4, label=label)
    left.axhline(found["least"], color=GREY, linewidth=0.8, linestyle=":")
    left.axvspan(0.5, found["stable"] + 0.5, color=GREY, alpha=0.12, linewidth=0)
    left.set(
        xlabel="eigenvector", ylabel="cosine", ylim=(0, 1.02), xlim=(0.5, count + 0.5),
        title=f"{found['stable']} of {count} are stable (grey): mean and 90% of replicates",
    )  # fmt: skip
    left.legend(frameon=False, fontsize=8, loc="lower left")
    values, ends = np.array(found["eigenvalues"]), np.array(found["intervals"])
    if count > 1:
        right.vlines(places[1:], ends[1:, 0], ends[1:, 1], color=BLUE, linewidth=2)
        right.plot(places[1:], values[1:], "o", color=BLUE, markersize=4)
        right.set_yscale("log")
    right.set(xlabel="eigenvector", ylabel="eigenvalue / first", title="eigenvalues and 95% intervals")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xticks(places if count <= 25 else places[:: count // 20])
        axis.title.set_fontsize(10)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure
