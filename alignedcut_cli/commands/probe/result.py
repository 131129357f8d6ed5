"""The results of a probe: rows of scores and of queries, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alignedcut_cli.frame.output import table
from alignedcut_cli.store.header import Header

__all__ = ["query_rows", "score_rows", "told"]

_SHOWN = 8


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def score_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """classify: accuracy of both kinds of features; brain: scores of each region from both, and from random sets."""
    if header.params["what"] == "classify":
        return [
            {
                "features": kind,
                "accuracy": float(tensors["accuracy"][number]),
                "low": _number(tensors["accuracy.interval"][number, 0]),
                "high": _number(tensors["accuracy.interval"][number, 1]),
            }
            for number, kind in enumerate(header.axes["E"]["labels"])
        ]
    rows = []
    for c, target in enumerate(header.axes["C"]["targets"]):
        row: dict[str, Any] = dict(target)
        for number, kind in enumerate(header.axes["E"]["labels"]):
            for m, measure in enumerate(header.axes["M"]["labels"]):
                row[f"{measure}.{kind}"] = _number(tensors["score"][number, c, m])
            row[f"low.{kind}"], row[f"high.{kind}"] = map(_number, tensors["interval"][number, c])
        random = tensors["random"][:, c]
        whole = row["ereg.embedding"]
        row["share"] = row["ereg.queries"] / whole if whole and whole > 0 else None
        row |= {"random.mean": _number(random.mean()), "random.sd": _number(random.std())} if len(random) else {}
        row |= {"rank": int(tensors["rank"][c]), "of": len(random) + 1} if len(random) else {}
        rows.append(row)
    return rows


def query_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """A row per query: its coefficient for each class, or its importance to each region of each subject."""
    queries = header.axes["Q"]["labels"]
    if header.params["what"] == "classify":
        columns, values = header.axes["K"]["labels"], tensors["coefficients"]
    else:
        several = len({one["subject"] for one in header.axes["C"]["targets"]}) > 1
        targets = header.axes["C"]["targets"]
        columns = [f"{one['region']} of {one['subject']}" if several else one["region"] for one in targets]
        values = tensors["importance"]
    return [
        {"query": query, **{column: float(value) for column, value in zip(columns, row, strict=True)}}
        for query, row in zip(queries, values, strict=True)
    ]


def told(header: Header, rows: list[dict[str, Any]], queries: list[dict[str, Any]]) -> str:
    """The scores, and the most important queries for the first classes or regions, as text."""
    columns = [name for name in queries[0] if name != "query"]
    top = [["", "queries that matter most"]]
    for column in columns[:_SHOWN]:
        best = sorted(queries, key=lambda row: -abs(row[column]))[:3]
        top.append([column, ", ".join(f"{row['query']} {row[column]:+.3g}" for row in best)])
    if header.params["what"] == "classify":
        lines = [["features", "accuracy", "95 %"]]
        for row in rows:
            known = "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
            lines.append([row["features"], f"{row['accuracy']:.3f}", known])
        return "\n\n".join([table(lines), table(top)])
    lines = [["region", "subject", "embedding", "queries", "share", "random sets", "rank"]]
    for row in rows:
        lines.append(
            [
                row["region"],
                row["subject"],
                f"{row['ereg.embedding']:.3f}",
                f"{row['ereg.queries']:.3f}",
                "-" if row["share"] is None else f"{100 * row['share']:.0f} %",
                "-" if "rank" not in row else f"{row['random.mean']:.3f} ± {row['random.sd']:.3f}",
                "-" if "rank" not in row else f"{row['rank']} of {row['of']}",
            ]
        )
    return "\n\n".join([table(lines), table(top)])
