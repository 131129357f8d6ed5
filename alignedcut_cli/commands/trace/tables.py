"""The tables of a trace: bifurcation, transitions, steps, concepts and paths, as csv and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ALPHA", "TABLES", "bifurcations", "diverging_layers"]

ALPHA = 0.05
Tensors = Mapping[str, "np.ndarray"]
Row = dict[str, Any]


def _pairs(header: Header) -> list[Row]:
    """The pairs of layers, with columns in a fixed order (a stored header has its keys sorted)."""
    return [{key: pair[key] for key in ("model", "from", "to")} for pair in header.axes["K"]["pairs"]]


def bifurcations(header: Header, tensors: Tensors) -> list[Row]:
    """One row per pair of layers: how far foreground and background diverge, the expectation by chance, and the least and
    most of single maps; none without masks."""
    if "p" not in tensors:
        return []
    columns = ("variation", "matched", "matched.expected", "matched.images", "p", "p.holm")
    spreads = {"matched": tensors["maps.matched"], "p": tensors["maps.p"]}  # (K, Z)
    return [
        {
            **pair,
            **{column: tensors[column][number].item() for column in columns},
            "maps": len(tensors["maps.concepts"]),
            **{f"{kind}.least": float(each[number].min()) for kind, each in spreads.items()},
            **{f"{kind}.most": float(each[number].max()) for kind, each in spreads.items()},
        }
        for number, pair in enumerate(_pairs(header))
    ]


def diverging_layers(rows: Sequence[Row]) -> dict[str, Row | None]:
    """For each model the pair of layers where foreground and background diverge most; None if they diverge nowhere.

    That is the pair with the largest excess of `matched` over its expectation by chance, among those with p.holm < 0.05.
    """
    found: dict[str, Row | None] = {}
    for row in rows:
        best = found.setdefault(row["model"], None)
        if row["p.holm"] < ALPHA and (best is None or excess(row) > excess(best)):
            found[row["model"]] = row
    return found


def excess(row: Row) -> float:
    return row["matched"] - row["matched.expected"]


def transitions(header: Header, tensors: Tensors) -> list[Row]:
    """One row per matrix entry: its nodes, the nodes of its row, and its probability (empty for the row of no concept)."""
    counts, shares, names = tensors["counts"], tensors["transitions"], header.axes["J"]["labels"]
    return [
        {
            **pair,
            "group": group,
            "concept": names[i],
            "next": names[j],
            "nodes": int(counts[k, h, i, j]),
            "of": int(counts[k, h, i].sum()),
            "probability": float(shares[k, h, i, j]) if i < shares.shape[2] else None,
        }
        for k, pair in enumerate(_pairs(header))
        for h, group in enumerate(header.axes["H"]["labels"])
        for i in range(len(names))
        for j in range(len(names))
    ]


def steps(header: Header, tensors: Tensors) -> list[Row]:
    """One row per pair of layers and group: mean step length, its error and 95% t interval over images, its share of the
    model's whole path."""
    lengths, pairs = tensors["steps"], _pairs(header)
    whole: dict[tuple[str, int], float] = {}
    for k, pair in enumerate(pairs):
        for h in range(lengths.shape[1]):
            whole[pair["model"], h] = whole.get((pair["model"], h), 0.0) + float(lengths[k, h])
    return [
        {
            **pair,
            "group": group,
            "length": float(lengths[k, h]),
            "error": float(tensors["steps.error"][k, h]),
            **_ends(float(lengths[k, h]), float(tensors["steps.error"][k, h]), int(tensors["steps.images"][k, h])),
            "share": float(lengths[k, h]) / whole[pair["model"], h] if whole[pair["model"], h] else 0.0,
            "nodes": int(tensors["steps.nodes"][k, h]),
        }
        for k, pair in enumerate(pairs)
        for h, group in enumerate(header.axes["H"]["labels"])
    ]


def _ends(length: float, error: float, images: int) -> Row:
    """The ends of the 95% t interval over images; None for one image."""
    if images < 2:
        return {"low": None, "high": None}
    import numpy as np

    from alignedcut_cli.core.resample.intervals import from_error

    low, high = from_error(np.asarray(length), np.asarray(error), images)
    return {"low": float(low), "high": float(high)}


def concepts(header: Header, tensors: Tensors) -> list[Row]:
    """One row per concept of a layer: its centre, radius and members; the last row of a layer counts nodes in none."""
    nodes, images = tensors["nodes"], header.axes["B"]["images"]
    rows = []
    for number, about in enumerate(header.axes["L"]["slots"]):
        mine = (nodes[:, 1] == about["slot"]) & (nodes[:, 2] >= 0)
        for concept, name in enumerate(header.axes["J"]["labels"]):
            row: Row = {"model": about["model"], "layer": about["layer"], "concept": name}
            if name == "none":
                row |= dict.fromkeys(("image", "row", "col", "x", "y", "radius"))
            else:
                centre = int(tensors["centres"][number, concept])
                image, _, line, column = nodes[centre].tolist()
                x, y = tensors["coordinates"][centre, :2].tolist()
                row |= {"image": images[image]["path"], "row": line, "col": column, "x": x, "y": y}
                row["radius"] = float(tensors["radii"][number]) if "radii" in tensors else None
            members = mine & (tensors["concepts"] == (-1 if name == "none" else concept))
            row["nodes"] = int(members.sum())
            if "labels" in tensors:
                row |= {kind: int((members & (tensors["labels"] == k)).sum()) for kind, k in LABELS}
            rows.append(row)
    return rows


LABELS = (("foreground", 1), ("background", 0))


def paths(header: Header, tensors: Tensors) -> list[Row]:
    """One row per pixel and layer: its coordinates in the map and its concept."""
    images, coordinates = header.axes["B"]["images"], tensors["coordinates"]
    axes = ("x", "y", "z")[: coordinates.shape[1]]
    rows = []
    for number, path in enumerate(tensors["paths"]):
        for about, node in zip(header.axes["L"]["slots"], path, strict=True):
            image, _, line, column = tensors["nodes"][node].tolist()
            row: Row = {"pixel": number, "image": images[image]["path"], "row": line, "col": column}
            row |= {"model": about["model"], "layer": about["layer"]}
            row |= dict(zip(axes, coordinates[node].tolist(), strict=True))
            concept = int(tensors["concepts"][node])
            rows.append({**row, "concept": "none" if concept < 0 else str(concept)})
    return rows


TABLES = {
    "bifurcation": bifurcations,
    "transitions": transitions,
    "steps": steps,
    "concepts": concepts,
    "paths": paths,
}
