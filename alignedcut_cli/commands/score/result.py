"""The results of a scoring: tensors and axes, the long table, differences, and the best layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.frame.output import table
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.score.plan import Plan
    from alignedcut_cli.commands.score.summary import Target

__all__ = [
    "axes_of",
    "best_rows",
    "best_table",
    "difference_rows",
    "dimension_rows",
    "long_rows",
    "main_targets",
    "meanings_of",
]

_MEANINGS = {
    "stats": ("S Q", "effective dimensionality and radius of each layer's features, over all images"),
    "train": ("S C F", "score on the images fitted to; of ereg and ersa by leave-one-out predictions"),
    "test": ("S C F", "score on the test images of each fold"),
    "every": ("S C", "score on all images, of crsa and cka, which fit nothing"),
    "explained": ("S C", "ereg: sum of r |r| over voxels as a share of the sum of their ceilings"),
    "interval": (
        "S C V R",
        "95% bootstrap interval over images (and subjects) of the scores on test and on all images",
    ),
    "p": ("S C V", "share of orders of images at random that score as well"),
    "dimension": (
        "L C W",
        "rank correlation of effective dimensionality and test score over layers, with its interval",
    ),
    "ceiling": ("C V R", "noise ceiling, lower and upper, of scores on test and on all images"),
    "best": ("M C F", "the layer (along S) of each model that is best on the train images of each fold; -1: none"),
    "best.score": ("M C", "the test score of these layers, mean over folds"),
    "best.interval": ("M C R", "its 95% bootstrap interval"),
    "best.p": ("M C", "its p-value"),
    "difference.layers": ("S C D", "test score of its model's best layer less that of each other layer"),
    "difference.models": ("P C D", "test score of the first model's best layer less that of the second's"),
    "shares": ("C B", "the mean weight of each feature set in the joint prediction"),
}
DIFFERENCES = ["difference", "low", "high", "p", "p.holm"]


def meanings_of(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[str, str]]:
    """Shape axes and meaning of every tensor; scores that are undefined are NaN."""
    found = dict(_MEANINGS)
    for name in tensors:
        kind, _, case = name.partition(".")
        if kind == "voxel":
            found[name] = f"S N.{case}", "ereg: test score of each voxel of a subject, mean over folds"
        elif kind == "column":
            found[name] = f"N.{case}", "the column of each voxel in the responses"
    undefined = {name: "; NaN: undefined" if tensors[name].dtype.kind == "f" else "" for name in tensors}
    return {name: (found[name][0], found[name][1] + undefined[name]) for name in tensors}


def axes_of(
    plan: Plan, targets: Sequence[Target], bands: Sequence[int], tensors: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The axes of the artifact: layers, targets, models. `bands` are the layers joined by --bands."""
    from alignedcut_cli.commands.score.summary import model_pairs

    slots = [
        {
            "model": plan.models[layer.source],
            "layer": layer.map.number,
            "name": layer.map.name,
            "kind": layer.map.kind,
            "units": layer.map.units,
            "depth": layer.map.depth,
            "source": layer.source,
        }
        for layer in plan.layers
    ]
    models = list(plan.models)
    if bands:
        models.append(" + ".join(plan.models))
        joined = [slots[number] for number in bands]
        slots.append(
            {
                "model": models[-1],
                "layer": 0,
                "name": " + ".join(one["name"] for one in joined),
                "kind": "bands",
                "units": sum(one["units"] for one in joined),
                "depth": 1.0,
                "source": len(plan.models),
            }
        )
    pairs = [[models[a], models[b]] for a, b in model_pairs(len(models))]
    about = [
        {"metric": one.metric, "region": one.region, "subject": one.subject, "voxels": one.voxels} for one in targets
    ]
    found: dict[str, Any] = {
        "S": {"size": len(slots), "slots": slots},
        "C": {"size": len(about), "targets": about},
        "M": {"size": len(models), "labels": models},
        "L": {"size": len(models) + 1, "labels": [*models, "all"]},
        "P": {"size": len(pairs), "labels": pairs},
        "F": {"size": plan.folds},
        "Q": {"size": 2, "labels": ["dimension", "radius"]},
        "V": {"size": 2, "labels": ["test", "all"]},
        "R": {"size": 2, "labels": ["low", "high"]},
        "W": {"size": 3, "labels": ["correlation", "low", "high"]},
        "D": {"size": len(DIFFERENCES), "labels": DIFFERENCES},
        "B": {"size": len(plan.models), "labels": list(plan.models)},
    }
    found |= {
        f"N.{name.partition('.')[2]}": {"size": array.shape[0]}
        for name, array in tensors.items()
        if name[:7] == "column."
    }
    used = {letter for axes, _ in meanings_of(tensors).values() for letter in axes.split()}
    return {letter: axis for letter, axis in found.items() if letter in used or letter == "M"}


def _number(value: Any) -> float | None:
    """A finite number; None for NaN."""
    return float(value) if np.isfinite(value) else None


def long_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The long table: a row for each layer, target and split (train, test, all) that has a score."""
    targets, slots, params = header.axes["C"]["targets"], header.axes["S"]["slots"], header.params
    best = tensors.get("best")
    rows = []
    for s, slot in enumerate(slots):
        for c, target in enumerate(targets):
            scores = {
                "train": tensors["train"][s, c].mean(),
                "test": tensors["test"][s, c].mean(),
                "all": tensors["every"][s, c],
            }
            for split, score in scores.items():
                if not np.isfinite(score):
                    continue
                place = {"test": 0, "all": 1}.get(split)
                low, high = tensors["interval"][s, c, place] if place is not None else (np.nan, np.nan)
                lower, ceiling = tensors["ceiling"][c, place] if place is not None else (np.nan, np.nan)
                rows.append(
                    {
                        "metric": target["metric"],
                        "model": slot["model"],
                        "layer": slot["name"],
                        "layer_index": slot["layer"],
                        "layer_depth": float(slot["depth"]),
                        "kind": slot["kind"],
                        "region": target["region"],
                        "subject": target["subject"],
                        "cv_split": split,
                        "score": float(score),
                        "low": _number(low),
                        "high": _number(high),
                        "p": None if place is None else _number(tensors["p"][s, c, place]),
                        "ceiling_low": _number(lower),
                        "ceiling": _number(ceiling),
                        "ceiled": _number(score / ceiling) if np.isfinite(ceiling) and ceiling > 0 else None,
                        "explained": _number(tensors["explained"][s, c]) if split == "test" else None,
                        "best_on_train": None if best is None else bool((best[:, c] == s).any()),
                        "voxels": target["voxels"] or None,
                        "units": slot["units"],
                        "dimension": _number(tensors["stats"][s, 0]),
                        "radius": _number(tensors["stats"][s, 1]),
                        "rdm_distance": params["rdm"] if target["metric"] in ("crsa", "ersa") else None,
                        "rsa_comparison": params["compare"] if target["metric"] in ("crsa", "ersa") else None,
                        "encoding_model": "ridge" if target["metric"] in ("ereg", "ersa") else None,
                    }
                )
    return rows


def best_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The layer of each model chosen on train images, with its test score, for each target."""
    if "best" not in tensors:
        return []
    slots, models = header.axes["S"]["slots"], header.axes["M"]["labels"]
    rows = []
    for c, target in enumerate(header.axes["C"]["targets"]):
        lower, ceiling = tensors["ceiling"][c, 0]
        for m, model in enumerate(models):
            layers = tensors["best"][m, c]
            if (layers < 0).any():
                continue
            score = float(tensors["best.score"][m, c])
            explained = np.mean([tensors["explained"][s, c] for s in layers])
            low, high = tensors["best.interval"][m, c]
            rows.append(
                {
                    **target,
                    "model": model,
                    "layer": " / ".join(dict.fromkeys(slots[s]["name"] for s in layers)),
                    "score": score,
                    "low": _number(low),
                    "high": _number(high),
                    "p": _number(tensors["best.p"][m, c]),
                    "ceiling_low": _number(lower),
                    "ceiling": _number(ceiling),
                    "ceiled": score / ceiling if np.isfinite(ceiling) and ceiling > 0 else None,
                    "explained": _number(explained),
                }
            )
    return rows


def difference_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Differences of best layers: of models from each other, and of each model's other layers from its best."""
    if "best" not in tensors:
        return []
    slots, models = header.axes["S"]["slots"], header.axes["M"]["labels"]
    pairs = header.axes["P"]["labels"]
    rows = []
    for c, target in enumerate(header.axes["C"]["targets"]):
        names = [" / ".join(dict.fromkeys(slots[s]["name"] for s in layers)) for layers in tensors["best"][:, c]]
        for pair, values in zip(pairs, tensors["difference.models"][:, c], strict=True):
            if np.isfinite(values[0]):
                first, second = (models.index(name) for name in pair)
                rows.append(_difference(target, "models", (pair[0], names[first]), (pair[1], names[second]), values))
        for slot, values in zip(slots, tensors["difference.layers"][:, c], strict=True):
            if np.isfinite(values[0]):
                best = names[models.index(slot["model"])]
                rows.append(_difference(target, "layers", (slot["model"], best), (slot["model"], slot["name"]), values))
    return rows


def _difference(
    target: Mapping[str, Any], what: str, one: tuple[str, str], other: tuple[str, str], values: np.ndarray
) -> dict[str, Any]:
    numbers = {name: _number(value) for name, value in zip(DIFFERENCES, values, strict=True)}
    return {
        "of": what,
        **target,
        "model": one[0],
        "layer": one[1],
        "other_model": other[0],
        "other_layer": other[1],
        **numbers,
    }


def dimension_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The rank correlation of effective dimensionality and test score over the layers of each model, and of all."""
    return [
        {
            **target,
            "model": model,
            "correlation": float(tensors["dimension"][m, c, 0]),
            "low": _number(tensors["dimension"][m, c, 1]),
            "high": _number(tensors["dimension"][m, c, 2]),
        }
        for c, target in enumerate(header.axes["C"]["targets"])
        for m, model in enumerate(header.axes["L"]["labels"])
        if np.isfinite(tensors["dimension"][m, c, 0])
    ]


def main_targets(targets: Sequence[Mapping[str, Any]]) -> list[int]:
    """One target per measure and region: the mean over subjects where there are several."""
    first: dict[tuple[str, str], int] = {}
    for number, target in enumerate(targets):
        first.setdefault((target["metric"], target["region"]), number)
    return list(first.values())


def best_table(header: Header, rows: Sequence[Mapping[str, Any]]) -> str:
    """The best layers of the main targets as text."""
    shown = [header.axes["C"]["targets"][number] for number in main_targets(header.axes["C"]["targets"])]
    keys = [(one["metric"], one["region"], one["subject"]) for one in shown]
    lines = [["metric", "region", "model", "best layer", "test score", "95 %", "p", "ceiling", "of ceiling"]]
    for row in rows:
        if (row["metric"], row["region"], row["subject"]) in keys:
            interval = "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
            lower, upper = row["ceiling_low"], row["ceiling"]
            ceiling = "-" if upper is None else f"{upper:.3f}" if lower == upper else f"{lower:.3f} to {upper:.3f}"
            lines.append(
                [
                    row["metric"],
                    row["region"],
                    row["model"],
                    row["layer"],
                    f"{row['score']:.3f}",
                    interval,
                    "-" if row["p"] is None else f"{row['p']:.3f}",
                    ceiling,
                    "-" if row["ceiled"] is None else f"{100 * row['ceiled']:.0f} %",
                ]
            )
    return table(lines)
