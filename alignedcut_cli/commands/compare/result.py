"""The tensors of a comparison and their meanings, and its rows and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignedcut_cli.frame.output import table
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

    from alignedcut_cli.commands.compare.plan import Plan

__all__ = ["MEANINGS", "axes_of", "measured", "pair_rows", "rows_of", "table_of"]

_ENDS = ["value", "low", "high"]
MEANINGS = {
    "cosines": (
        "A C",
        "cosines of the principal angles of the spans: all slots (NaN unless one graph), then each",
    ),
    "error": ("A V", "projector error |P - Q|_F / sqrt(2 C), and its interval; NaN: none"),
    "procrustes": (
        "A V",
        "similarity of the t-SNE spaces after the best rotation and scale, and its interval; NaN: none",
    ),
    "between": ("S V", "CKA of a slot in one alignment with itself in the other, and its interval; NaN: undefined"),
    "cka": (
        "K S S V",
        "unbiased CKA of pairs of slots, own channels, then aligned ones, and its interval; NaN: undefined",
    ),
    "cka.gain": (
        "W K D",
        "mean over pairs of slots, within models and across: before, then the gain, with p; NaN: no such pairs",
    ),
    "procrustes.gain": ("W K D", "likewise of Procrustes; NaN: no such pairs"),
    "procrustes.chance": ("K S S", "Procrustes where one slot's images are in another order, mean over orders"),
}
_OF_SLOTS = ("K S S V", "Procrustes of pairs of slots, own channels, then aligned ones, and its interval; NaN: none")


def measured(frame: Frame, plan: Plan) -> dict[str, np.ndarray]:
    """The tensors of the artifact."""
    if plan.kind == "align":
        from alignedcut_cli.commands.compare.alignments import compare_alignments

        found = compare_alignments(frame, plan)
        return {"procrustes.slots" if name == "procrustes" else name: value for name, value in found.items()}
    from alignedcut_cli.commands.compare.cuts import compare_colours, compare_cuts

    return compare_cuts(frame, plan) if plan.kind == "cut" else compare_colours(frame, plan)


MEANINGS["procrustes.slots"] = _OF_SLOTS


def axes_of(plan: Plan, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The axes of the artifact."""
    axes: dict[str, Any] = {
        "S": {"size": len(plan.about), "slots": list(plan.about)},
        "B": {"size": len(plan.images), "images": list(plan.images)},
        "V": {"size": 3, "labels": _ENDS},
    }
    if plan.kind == "align":
        axes["K"] = {"size": 1 + len(plan.sides), "labels": ["before", *plan.sides]}
        axes["W"] = {"size": 2, "labels": ["within models", "across models"]}
        axes["D"] = {"size": 4, "labels": [*_ENDS, "p"]}
        return axes
    axes["A"] = {"size": 1 + len(plan.about), "labels": ["all", *map(_slot_name, plan.about)]}
    if "cosines" in tensors:
        axes["C"] = {"size": tensors["cosines"].shape[1]}
    return axes


def rows_of(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per slot; for alignments, per measure, kind of pair and state."""
    kind, axes = header.params["of"], header.axes
    if kind == "align":
        return _gains(axes, tensors)
    rows = []
    for place, name in enumerate(axes["A"]["labels"]):
        ends = tensors["error" if kind == "cut" else "procrustes"][place]
        if not place and ends[0] != ends[0]:
            continue
        row = {"slot": name, **_interval("projector error" if kind == "cut" else "procrustes", ends)}
        if kind == "cut":
            cosines = tensors["cosines"][place]
            row |= {"smallest cosine": float(cosines[-1]), "cosines of .9 or more": int((cosines >= 0.9).sum())}
        rows.append(row)
    return rows


def _gains(axes: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = []
    for measure in ("cka", "procrustes"):
        for pairs, found in zip(axes["W"]["labels"], tensors[f"{measure}.gain"], strict=True):
            for state, ends in zip(axes["K"]["labels"], found, strict=True):
                what = "value" if state == "before" else "gain"
                rows.append(
                    {"measure": measure, "pairs": pairs, "state": state, "what": what, **_interval("mean", ends)}
                )
    if "between" in tensors:
        for slot, ends in zip(axes["S"]["slots"], tensors["between"], strict=True):
            both = " and ".join(axes["K"]["labels"][1:])
            rows.append(
                {"measure": "cka", "pairs": _slot_name(slot), "state": both, "what": "value", **_interval("mean", ends)}
            )
    return rows


def pair_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per measure, state and pair of slots: the matrices as a table."""
    names = [_slot_name(slot) for slot in header.axes["S"]["slots"]]
    return [
        {"measure": measure, "state": state, "slot": names[one], "other": names[other], **_interval("value", ends)}
        for measure, tensor in (("cka", "cka"), ("procrustes", "procrustes.slots"))
        for state, matrix in zip(header.axes["K"]["labels"], tensors[tensor], strict=True)
        for one in range(len(names))
        for other, ends in enumerate(matrix[one][: one + 1])
    ]


def table_of(header: Header, rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table; a dash for missing values."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    return table([[*rows[0]], *cells])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _interval(name: str, ends: np.ndarray) -> dict[str, float | None]:
    """The value and its interval, None where undefined."""
    found = [float(value) if value == value else None for value in ends[:3]]
    return {name: found[0], "low": found[1], "high": found[2]}


def _slot_name(slot: Mapping[str, Any]) -> str:
    return f"{slot['model']} {slot['tap']} {layer_name(slot)}"
