"""The table of pathways: one row per slot, with its clusters' information about classes, positions and instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alignedcut_cli.frame.output import table
from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.store.header import Header

__all__ = ["flat_rows", "result_rows", "result_table"]


def result_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per slot, joint cuts last: the slot's description, and {measure: {scope: {statistic: number or None}}}."""
    measures, scopes, statistics = (header.axes[axis]["labels"] for axis in "XYZ")
    names = [given["name"] for given in header.raw["inputs"]]
    rows = []
    for slot, values in zip(header.axes["S"]["slots"], tensors["information"], strict=True):
        row = {"cut": names[slot["cut"]], "model": slot["model"], "graph": slot["tap"], "layers": layer_name(slot)}
        row |= {"layer": None if "layers" in slot else slot["layer"]}
        for x, measure in enumerate(measures):
            row[measure] = {
                scope: {key: _told(number) for key, number in zip(statistics, values[x, y], strict=True)}
                for y, scope in enumerate(scopes)
            }
        rows.append(row)
    return sorted(rows, key=lambda row: row["layer"] is None)


def _told(number: np.float32) -> float | None:
    return None if np.isnan(number) else float(number)


def flat_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows for a csv: one column per measure, scope and statistic."""
    plain = ("cut", "model", "graph", "layers", "layer")
    return [
        {key: row[key] for key in plain}
        | {
            f"{measure} {scope} {statistic}": number
            for measure, scopes in row.items()
            if isinstance(scopes, Mapping)
            for scope, found in scopes.items()
            for statistic, number in found.items()
        }
        for row in rows
    ]


def result_table(header: Header, rows: Sequence[Mapping[str, Any]]) -> str:
    """Values with their intervals; a value not above the null's 95% quantile stands in brackets."""
    columns = [
        (measure, scope)
        for scope in header.axes["Y"]["labels"]
        for measure in header.axes["X"]["labels"]
        if any(row[measure][scope]["value"] is not None for row in rows)
    ]
    head = ["cut", "graph", "layer"]
    for measure, scope in columns:
        head.append(f"{measure}{' within' if scope == 'within' else ''}")
        if header.params["bootstrap"]:
            head.append("95%")
    body = []
    for row in rows:
        cells = [row["cut"], row["graph"], row["layers"]]
        for measure, scope in columns:
            found = row[measure][scope]
            cells.append(_value(found))
            if header.params["bootstrap"]:
                cells.append("-" if found["low"] is None else f"{found['low']:.2f}-{found['high']:.2f}")
        body.append(cells)
    return table([head, *body])


def _value(found: Mapping[str, float | None]) -> str:
    value, null = found["value"], found["null 95%"]
    if value is None:
        return "-"
    return f"({value:.2f})" if null is not None and value <= null else f"{value:.2f}"
