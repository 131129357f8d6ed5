"""Scores on the page: curves over depth with intervals and noise ceilings, and how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alignedcut_cli.report.page.chart import Line, chart, legend
from alignedcut_cli.report.page.html import Safe, joined, tag, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section, finite, listed

__all__ = ["KIND"]

_NAMES: dict[str, str] = {"ereg": "encoding", "ersa": "encoding RSA", "crsa": "classical RSA", "cka": "CKA"}
_ON = ("test", "all")


def _methods(given: Given) -> str:
    params, axes = given.header.params, given.header.axes
    measures = listed([_name(one) for one in params["metrics"]])
    told = f"{axes['S']['size']} layers were scored against {axes['C']['size']} targets by {measures}"
    told += f", split {params['split']}"
    boots = params.get("bootstrap")
    told += f", with 95 % intervals of {boots} bootstrap samples of images" if boots else ""
    return told + f", seed {params['seed']}."


def _name(measure: str) -> str:
    return _NAMES.get(measure, measure)


def _rows(given: Given) -> list[dict[str, Any]]:
    """A row for each layer and target: its score on test images, or on all if nothing is fitted."""
    axes, arrays = given.header.axes, given.arrays
    best = np.asarray(arrays["best"]) if "best" in arrays else None
    rows = []
    for c, target in enumerate(axes["C"]["targets"]):
        for s, slot in enumerate(axes["S"]["slots"]):
            scores = (float(np.mean(arrays["test"][s, c])), float(arrays["every"][s, c]))
            on = next((n for n, score in enumerate(scores) if np.isfinite(score)), None)
            if on is None:
                continue
            low, high = arrays["interval"][s, c, on]
            rows.append(
                {
                    "measure": target["metric"], "area": target["region"], "subject": target["subject"],
                    "model": slot["model"], "layer": slot["name"], "depth": float(slot["depth"]), "images": _ON[on],
                    "score": scores[on], "low": finite(low), "high": finite(high), "p": finite(arrays["p"][s, c, on]),
                    "ceiling low": finite(arrays["ceiling"][c, on, 0]), "ceiling": finite(arrays["ceiling"][c, on, 1]),
                    "chosen on train": bool(best is not None and (best[:, c] == s).any()),
                }
            )  # fmt: skip
    return rows


def _sections(given: Given) -> Sequence[Section]:
    rows = _rows(given)
    found = []
    for measure in dict.fromkeys(row["measure"] for row in rows):
        mine = [row for row in rows if row["measure"] == measure]
        subject = mine[0]["subject"]
        models = list(dict.fromkeys(row["model"] for row in mine))
        areas = list(dict.fromkeys(row["area"] for row in mine))
        panels = [
            _panel(area, [row for row in mine if row["area"] == area and row["subject"] == subject], models)
            for area in areas
        ]
        told = tag(
            "p",
            f"Subject {subject}; bands are 95 % intervals, rings the layers chosen on train images, grey the noise ceiling.",
        )
        keys = [(model, style) for style, model in enumerate(models)]
        name = _name(measure)
        body = joined([told, tag("div", *panels, cls="panels"), legend(keys), twin(f"{name} scores", mine)])
        found.append(Section("measured", f"{name[:1].upper()}{name[1:]} scores of {given.reference}", body))
    return found


def _panel(area: str, rows: Sequence[dict[str, Any]], models: Sequence[str]) -> Safe:
    lines = []
    for style, model in enumerate(models):
        mine = sorted((row for row in rows if row["model"] == model), key=lambda row: row["depth"])
        if mine:
            band = [(row["low"], row["high"]) for row in mine] if all(row["low"] is not None for row in mine) else None
            rings = [n for n, row in enumerate(mine) if row["chosen on train"]]
            lines.append(Line(model, [(row["depth"], row["score"]) for row in mine], band, rings, style))
    low, high = rows[0]["ceiling low"], rows[0]["ceiling"]
    known = None if high is None else (high if low is None else low, high, "noise ceiling")
    return chart(area, lines, x="depth", y="score", reference=known)


KIND = Kind(_methods, sections=_sections)
