"""The figure of pathways: lines over layers, and bars where every cut is joint."""

from __future__ import annotations

from typing import Any

import pytest

from alignedcut_cli.report.pathways import pathway_figure

KEYS = ("value", "low", "high", "null mean", "null 95%", "p")


def row(graph: str, value: float, layer: int | None) -> dict[str, Any]:
    told = dict(zip(KEYS, (value, value - 0.1, value + 0.1, 0.0, 0.05, 0.01), strict=True))
    whole = {"dataset": told, "within": dict.fromkeys(KEYS)}
    about = {"cut": "c", "model": "m", "graph": graph, "layers": "0-3" if layer is None else str(layer), "layer": layer}
    return {**about, "class": whole, "position": whole}


def test_joint_cuts_alone_are_bars_of_their_own() -> None:
    figure = pathway_figure([row("vv", 0.5, None), row("qk", 0.2, None)])
    first = figure.axes[0]
    assert [bar.get_height() for bar in first.patches] == pytest.approx([0.5, 0.2])  # type: ignore[attr-defined]
    assert [label.get_text() for label in figure.axes[2].get_xticklabels()] == ["vv", "qk"]
    assert not first.lines and len(first.collections) == 4, "an interval and a null a bar"
    assert not figure.axes[2].patches and figure.axes[2].texts[0].get_text() == "not defined"


def test_beside_layers_joint_cuts_are_level_lines() -> None:
    figure = pathway_figure([row("vv", 0.4, 0), row("vv", 0.5, 1), row("qk", 0.2, None)])
    assert not figure.axes[0].patches
    assert any(list(line.get_ydata()) == [0.2, 0.2] for line in figure.axes[0].lines)  # type: ignore[arg-type]
