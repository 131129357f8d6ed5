"""A probe on the page: its scores, and how they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignedcut_cli.report.page.html import joined, tag, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section, finite

__all__ = ["KIND"]


def _methods(given: Given) -> str:
    params, axes = given.header.params, given.header.axes
    what = "classes" if params["what"] == "classify" else "responses of the brain"
    return (
        f"{axes['Q']['size']} queries in words were probed for what they tell of {what}, beside the embedding itself."
    )


def _rows(given: Given) -> list[dict[str, Any]]:
    axes, arrays = given.header.axes, given.arrays
    if given.header.params["what"] == "classify":
        ends = arrays["accuracy.interval"]
        return [
            {
                "features": kind,
                "accuracy": float(arrays["accuracy"][n]),
                "low": finite(ends[n, 0]),
                "high": finite(ends[n, 1]),
            }
            for n, kind in enumerate(axes["E"]["labels"])
        ]
    return [
        {"area": target["region"], "subject": target["subject"]}
        | {
            f"{measure} {kind}": finite(arrays["score"][e, c, m])
            for e, kind in enumerate(axes["E"]["labels"])
            for m, measure in enumerate(axes["M"]["labels"])
        }
        for c, target in enumerate(axes["C"]["targets"])
    ]


def _sections(given: Given) -> Sequence[Section]:
    rows = _rows(given)
    told = tag("p", f"Scores of the embedding and of the queries, {len(rows)} rows.")
    return [Section("measured", f"Words in {given.reference}", joined([told, twin("scores", rows)]))]


KIND = Kind(_methods, sections=_sections)
