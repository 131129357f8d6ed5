"""Differences of layers and models on the same images, and the best layer scored on held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.core.groups.iou import iou_draws, mean_iou
from alignedcut_cli.core.groups.nested_choice import nested_choice
from alignedcut_cli.core.resample.draws import bootstrap_weights, dealt_folds
from alignedcut_cli.core.resample.intervals import Difference, paired_difference, percentile
from alignedcut_cli.core.resample.nulls import holm
from alignedcut_cli.core.resample.words import stated
from alignedcut_cli.frame.output import table
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.segment.plan import Line

__all__ = ["best_rows", "difference_rows", "difference_table", "difference_tensors", "lines_of", "meanings"]

FOLDS = 10
_PAIR = ("difference", "low", "high", "p")
Tensors = Mapping[str, np.ndarray]
Row = dict[str, Any]


def lines_of(slots: Sequence[Mapping[str, Any]], cut_of: Sequence[int]) -> list[list[int]]:
    """The slots of each curve: those of one model and tap of one cut, in order of layer; the curves in order of slots."""
    groups: dict[tuple[int, str, str], list[int]] = {}
    for number, (slot, cut) in enumerate(zip(slots, cut_of, strict=True)):
        groups.setdefault((cut, slot["model"], slot["tap"]), []).append(number)
    return [sorted(mine, key=lambda number: slots[number]["layer"]) for mine in groups.values()]


def difference_tensors(
    counts: np.ndarray, lines: Sequence[Sequence[int]], draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Of all pairs of slots, and of the best slots of curves, from counts (S, b, 3, k) of each slot and image.

    All slots share the bootstrap weights of images. Class centres and thresholds are those of all images.
    """
    weights = bootstrap_weights(counts.shape[1], draws, seed)
    scores = mean_iou(counts.sum(1, dtype=np.int64))
    drawn = np.stack([iou_draws(one, weights) for one in counts])  # (S, T)
    between = np.zeros((len(counts), len(counts), len(_PAIR)))
    between[..., 3] = 1
    for a, b in combinations(range(len(counts)), 2):
        found = paired_difference(scores[a], scores[b], drawn[a], drawn[b])
        between[a, b], between[b, a] = found, (-found.value, -found.high, -found.low, found.p)
    folds = dealt_folds(counts.shape[1], min(FOLDS, counts.shape[1]), seed)
    nested, again = [], []
    share = np.zeros(len(counts))
    for mine in lines:
        (value,), _ = nested_choice(counts[mine], np.ones((1, counts.shape[1])), folds)
        draws_of, _ = nested_choice(counts[mine], weights, folds)
        share[mine] = np.bincount(drawn[mine].argmax(0), minlength=len(mine)) / draws
        nested.append((value, *percentile(draws_of)))
        again.append(draws_of)
    models = np.zeros((len(lines), len(lines), len(_PAIR)))
    models[..., 3] = 1
    for a, b in combinations(range(len(lines)), 2):
        found = paired_difference(nested[a][0], nested[b][0], again[a], again[b])
        models[a, b], models[b, a] = found, Difference(-found.value, -found.high, -found.low, found.p)
    return {"between": between, "best.share": share, "nested": np.array(nested), "nested.between": models}


def meanings() -> dict[str, tuple[str, str]]:
    """Shape axes and meaning of `difference_tensors`."""
    pair = "difference of the first and the second, its paired 95% bootstrap interval over images, and p"
    return {
        "between": ("S S D", f"of the mean IoU of two slots: {pair}"),
        "best.share": ("S", "share of draws of images in which the slot is the best of its curve"),
        "nested": (
            "N X",
            "mean IoU of each curve's best slot, chosen without the images it is scored on, and interval",
        ),
        "nested.between": ("N N D", f"of `nested` of two curves: {pair}"),
    }


def difference_rows(header: Header, tensors: Tensors, lines: Sequence[Line]) -> list[Row]:
    """One row for each layer of a curve against its best, and for each pair of curves' best; p by Holm in each set."""
    slots, found = header.axes["S"]["slots"], []
    for target in _with_differences(header, tensors):
        scores, between = tensors[f"{target}.miou"].max(1), tensors[f"{target}.between"]
        for line in lines:
            best = max(line.slots, key=lambda number: scores[number])
            others = [number for number in line.slots if number != best]
            names = [(f"layer {slots[best]['layer']}", f"layer {slots[one]['layer']}") for one in others]
            found += _rows(target, line.name, names, [between[best, one] for one in others])
        pairs = list(combinations(range(len(lines)), 2))
        names = [(f"best of {lines[a].name}", f"best of {lines[b].name}") for a, b in pairs]
        found += _rows(target, "curves", names, [tensors[f"{target}.nested.between"][a, b] for a, b in pairs])
    return found


def _rows(target: str, line: str, names: Sequence[tuple[str, str]], values: Sequence[np.ndarray]) -> list[Row]:
    adjusted = holm(np.array([one[3] for one in values])) if values else []
    return [
        {"target": target, "line": line, "first": first, "second": second,
         **dict(zip(_PAIR, map(float, one), strict=True)), "p.holm": float(p)}
        for (first, second), one, p in zip(names, values, adjusted, strict=True)
    ]  # fmt: skip


def best_rows(header: Header, tensors: Tensors, lines: Sequence[Line]) -> list[Row]:
    """One row for each curve: its best layer, its score, and its score when chosen on other images."""
    slots, found = header.axes["S"]["slots"], []
    for target in _with_differences(header, tensors):
        scores = tensors[f"{target}.miou"].max(1)
        for line, (value, low, high) in zip(lines, tensors[f"{target}.nested"].tolist(), strict=True):
            best = max(line.slots, key=lambda number: scores[number])
            found.append(
                {"target": target, "line": line.name, "layer": slots[best]["layer"], "miou": float(scores[best]),
                 "nested": value, "low": low, "high": high, "share": float(tensors[f"{target}.best.share"][best]),
                 "resampled": stated("images", header.params["bootstrap"])}
            )  # fmt: skip
    return found


def _with_differences(header: Header, tensors: Tensors) -> list[str]:
    return [one for one in header.axes["targets"]["labels"] if f"{one}.between" in tensors]


def difference_table(best: Sequence[Row], differences: Sequence[Row], target: str) -> str:
    """The best layer of each curve, and what it is better than; empty without draws."""
    chosen = [row for row in best if row["target"] == target]
    if not chosen:
        return ""
    head = ["best", "layer", "mIoU", "chosen on other images", "best in"]
    cells = [
        [row["line"], str(row["layer"]), f"{row['miou']:.3f}",
         f"{row['nested']:.3f} ({row['low']:.3f} to {row['high']:.3f})", f"{row['share']:.0%} of draws"]
        for row in chosen
    ]  # fmt: skip
    told = [
        [row["line"], f"{row['first']} - {row['second']}", f"{row['difference']:+.3f}",
         f"{row['low']:+.3f} to {row['high']:+.3f}", f"{row['p.holm']:.3g}"]
        for row in differences
        if row["target"] == target
    ]  # fmt: skip
    parts = [table([head, *cells])]
    if told:
        parts.append(table([["line", "difference", "mIoU", "95%", "p (Holm)"], *told]))
    return "\n\n".join([*parts, f"{chosen[0]['resampled']}, the same for all layers"]) + "\n"
