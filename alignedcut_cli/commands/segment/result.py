"""The content of a segmentation: tensors, the table of slots, and the curves over layers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.commands.segment.differences import difference_tensors, lines_of
from alignedcut_cli.commands.segment.differences import meanings as differences
from alignedcut_cli.commands.segment.plan import Line
from alignedcut_cli.core.groups.iou import (
    adjusted_rand,
    bootstrap_interval,
    class_ious,
    counts_of_matched,
    mean_iou,
    pixel_accuracy,
)
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.frame.output import table
from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.segment.plan import Plan
    from alignedcut_cli.datasets.classes import Classes

__all__ = [
    "as_csv",
    "best_slots",
    "curve_lines",
    "flat_rows",
    "result_rows",
    "result_table",
    "slots_without_patch",
    "target_meanings",
    "target_tensors",
    "told_without_patch",
    "without_patch",
]


def target_tensors(plan: Plan, target: Classes, scores: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of one target, their names without its prefix, from the counts (S, b, T, 3, k) of every slot."""
    params = plan.recipe.params
    counts = scores["counts"]
    totals = counts.sum(1, dtype=np.int64)  # (S, T, 3, k)
    best = mean_iou(totals).argmax(1)
    slots = np.arange(len(best))
    kept = counts[slots, :, best]  # (S, b, 3, k)
    found = {
        "iou": np.nan_to_num(class_ious(totals)).astype(np.float32),
        "miou": mean_iou(totals).astype(np.float32),
        "best": best.astype(np.int32),
        "accuracy": pixel_accuracy(totals[slots, best]).astype(np.float32),
        "counts": kept,
    }
    if params["bootstrap"] and counts.shape[1] > 1:
        seed = stream(params["seed"], "bootstrap")  # one for all slots, so that they are paired over images
        found["interval"] = np.array([bootstrap_interval(one, params["bootstrap"], seed) for one in kept], np.float32)
        found |= difference_tensors(kept, lines_of(plan.slots, plan.cut_of), params["bootstrap"], seed)
    if "contingency" in scores:
        found["rand"] = np.array([adjusted_rand(one) for one in scores["contingency"]], np.float32)
        found |= {name: scores[name] for name in ("contingency", "matched")}
        greedy = np.stack([counts_of_matched(one, one.argmax(1)) for one in scores["contingency"]])
        found["greedy"] = np.stack([mean_iou(greedy), pixel_accuracy(greedy)], 1).astype(np.float32)
    else:
        found |= {name: scores[name] for name in ("centres", "members")}
    return {f"{target.title}.{name}": array for name, array in found.items()}


def target_meanings(target: Classes) -> dict[str, tuple[str, str]]:
    """Shape axes and meaning of every tensor that a target can have."""
    k, q = f"K.{target.title}", f"Q.{target.title}"
    meanings = {
        "iou": (f"S J {k}", "intersection over union of each class at each threshold, over all scored pixels"),
        "miou": ("S J", "its mean over classes"),
        "best": ("S", "the threshold (along J) of the largest mean IoU"),
        "accuracy": ("S", "share of pixels that have their own class, at that threshold"),
        "counts": (f"S b V {k}", "pixels in both, in the prediction, and in the ground truth, at that threshold"),
        "interval": ("S R", "95% bootstrap interval of the mean IoU over images, at that threshold"),
        **differences(),
        "rand": ("S", "adjusted Rand index of clusters and classes"),
        "greedy": ("S Y", "mean IoU and accuracy where each cluster has the class that it holds most pixels of"),
        "contingency": (f"S {q} {k}", "pixels of each cluster in each class"),
        "matched": (f"S {q}", "the class of each cluster (Hungarian assignment); -1: none"),
        "centres": (f"S {k} C", "mean eigenvector of the nodes of each class; 0 for a class of no weight"),
        "members": (f"S {k}", "total weight of the nodes of each centre"),
        "clusters": ("n", "cluster of each node; -1: class token"),
        "predicted": ("n", "class (along K) of each node; -1: none, or class token"),
    }
    return {f"{target.title}.{name}": meaning for name, meaning in meanings.items()}


def curve_lines(header: Header) -> list[Line]:
    """The curves over layers: the slots of each model of each cut, in order of layer."""
    slots = header.axes["S"]["slots"]
    names = [given["name"] for given in header.raw["inputs"]]
    several_taps = len({slot["tap"] for slot in slots}) > 1
    lines = []
    for numbers in lines_of(slots, [slot["cut"] for slot in slots]):
        first = slots[numbers[0]]
        name = first["model"] + (f" · {first['tap']}" if several_taps else "")
        name += f" ({names[first['cut']]})" if len(names) > 1 else ""
        lines.append(Line(name, first["cut"], tuple(numbers)))
    return lines


def best_slots(header: Header, tensors: Mapping[str, np.ndarray], title: str) -> list[int]:
    """The slot with the largest mean IoU of each curve, the earliest on ties."""
    score = tensors[f"{title}.miou"].max(1)
    return [max(line.slots, key=lambda number: score[number]) for line in curve_lines(header)]


def slots_without_patch(tensors: Mapping[str, np.ndarray], title: str, names: Sequence[str]) -> dict[str, list[int]]:
    """The classes without a patch in the grid of some slots, and so without a centre there, with these slots."""
    members = tensors.get(f"{title}.members")  # (S, k)
    if members is None:
        return {}
    return {
        name: np.flatnonzero(members[:, k] == 0).tolist() for k, name in enumerate(names) if not members[:, k].all()
    }


def without_patch(header: Header, tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[str]]]:
    """For each target, its classes without a patch in some curves, with these curves."""
    found = {}
    for target in header.axes["targets"]["labels"]:
        lacking = slots_without_patch(tensors, target, header.axes[f"K.{target}"]["labels"])
        found[target] = {
            name: [line.name for line in curve_lines(header) if set(line.slots) & set(slots)]
            for name, slots in lacking.items()
        }
    return found


def told_without_patch(header: Header, lacking: Mapping[str, Sequence[str]]) -> str:
    """One line that names the classes without a patch, and what to do; empty if there are none."""
    if not lacking:
        return ""
    all_lines = [line.name for line in curve_lines(header)]
    told = [name if lines == all_lines else f"{name} (in {', '.join(lines)})" for name, lines in lacking.items()]
    remedy = "" if header.params["to_grid"] == "area" else "; --to-grid area finds them"
    return f"no patch of the grid holds these classes, so they have no centre and count 0: {', '.join(told)}{remedy}"


def result_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row for each target and slot: its scores at its best threshold, per class, and the whole threshold curve."""
    rows = []
    for target in header.axes["targets"]["labels"]:
        classes = header.axes[f"K.{target}"]["labels"]
        for line in curve_lines(header):
            rows += [_row(header, tensors, target, classes, line, number) for number in line.slots]
    return rows


def _row(
    header: Header, tensors: Mapping[str, np.ndarray], target: str, classes: Sequence[str], line: Line, number: int
) -> dict[str, Any]:
    slot = header.axes["S"]["slots"][number]

    def get(name: str) -> Any:
        found = tensors.get(f"{target}.{name}")
        return None if found is None else found[number]

    best = int(get("best"))
    interval = get("interval") if header.axes["b"]["size"] > 1 else None
    row: dict[str, Any] = {
        "target": target,
        "line": line.name,
        "cut": header.raw["inputs"][line.cut]["name"],
        "model": slot["model"],
        "tap": slot["tap"],
        "layer": slot["layer"],
        "layers": layer_name(slot),
        "miou": float(get("miou")[best]),
        "interval": None if interval is None else [float(one) for one in interval],
        "accuracy": float(get("accuracy")),
        "iou": dict(zip(classes, map(float, get("iou")[best]), strict=True)),
    }
    if get("rand") is not None:
        greedy = get("greedy")
        many = {} if greedy is None else dict(zip(("greedy_miou", "greedy_accuracy"), map(float, greedy), strict=True))
        return {**row, "rand": float(get("rand")), **many}
    thresholds = header.axes["J"]["labels"]
    return {**row, "threshold": thresholds[best], "curve": [float(one) for one in get("miou")]}


@dataclass(frozen=True)
class _Columns:
    """Which columns the table has."""

    kway: bool
    interval: bool

    def head(self) -> list[str]:
        return [
            "line",
            "layer",
            "mIoU",
            *(["95%"] if self.interval else []),
            "accuracy",
            *(["greedy mIoU", "accuracy", "ARI"] if self.kway else ["threshold"]),
        ]

    def cells(self, row: Mapping[str, Any]) -> list[str]:
        ends = "{:.3f}-{:.3f}".format(*row["interval"]) if row["interval"] else "-"
        interval = [ends] if self.interval else []
        greedy = [f"{row[key]:.3f}" if key in row else "-" for key in ("greedy_miou", "greedy_accuracy")]
        last = [*greedy, f"{row['rand']:.3f}"] if self.kway else [f"{row['threshold']:.2f}"]
        return [row["line"], row["layers"], f"{row['miou']:.3f}", *interval, f"{row['accuracy']:.3f}", *last]


def result_table(
    header: Header, rows: Sequence[Mapping[str, Any]], lacking: Mapping[str, Mapping[str, Sequence[str]]]
) -> str:
    """For each target a table of slots; the best slot of each curve has a star. A dash: no interval."""
    parts = []
    for target in header.axes["targets"]["labels"]:
        names = header.axes[f"K.{target}"]["labels"]
        mine = [row for row in rows if row["target"] == target]
        columns = _Columns("rand" in mine[0], header.params["bootstrap"] > 0)
        peaks = {row["line"]: row for row in sorted(mine, key=lambda row: (row["miou"], -row["layer"]))}
        cells = [columns.cells(row) + ["*" if peaks[row["line"]] is row else ""] for row in mine]
        lines = [f"{target} ({len(names)}): {', '.join(names)}", table([[*columns.head(), ""], *cells])]
        lines += [told_without_patch(header, lacking[target])] if lacking[target] else []
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def flat_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as cells: the interval's ends, and one column per class IoU, `iou NAME` (None where a target lacks it)."""
    classes = dict.fromkeys(name for row in rows for name in row["iou"])
    found = []
    for row in rows:
        plain = {key: value for key, value in row.items() if key not in ("iou", "interval", "curve")}
        low, high = row["interval"] or (None, None)
        found.append({**plain, "low": low, "high": high, **{f"iou {name}": row["iou"].get(name) for name in classes}})
    return found


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The flat rows as csv, numbers to full precision."""
    flat, text = flat_rows(rows), io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()
