"""Running a segmentation plan: the tensors of the artifact, their axes and meanings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from alignedcut_cli.commands.segment.differences import lines_of
from alignedcut_cli.commands.segment.result import slots_without_patch, target_meanings, target_tensors
from alignedcut_cli.commands.segment.score import clusters_of, score_kway, score_oracle
from alignedcut_cli.core.groups.oracle import oracle_thresholds
from alignedcut_cli.core.groups.slot_scores import (
    KwayReading,
    OracleReading,
    Reading,
    SlotGrid,
    predict_nodes,
    slot_grids,
)
from alignedcut_cli.store.artifact import load_tensors

if TYPE_CHECKING:
    from alignedcut_cli.commands.segment.plan import Plan
    from alignedcut_cli.datasets.classes import Classes
    from alignedcut_cli.frame.run import Frame

__all__ = ["axes_of", "meanings_of", "open_slots", "readings", "run"]


def run(frame: Frame, plan: Plan) -> dict[str, np.ndarray]:
    """All tensors of the segmentation."""
    cuts, slots = open_slots(frame, plan)
    oracle = plan.recipe.params["method"] == "oracle"
    with frame.output.progress("scoring", len(plan.scored) * (2 if oracle else 1), "images") as advance:
        if oracle:
            scores = score_oracle(plan, slots, advance)
        else:
            clusters = [_clusters(plan, target, cuts) for target in plan.targets]
            scores = score_kway(plan, slots, clusters, advance)
            for one, found in zip(scores, clusters, strict=True):
                one["clusters"] = np.concatenate(found)
    tensors = {"nodes": _nodes(cuts)}
    for target, one in zip(plan.targets, scores, strict=True):
        tensors |= target_tensors(plan, target, one)
        if "clusters" in one:
            tensors[f"{target.title}.clusters"] = one["clusters"].astype(np.int32)
        tensors[f"{target.title}.predicted"] = _predicted(plan, target, tensors, cuts, slots)
    return tensors


def open_slots(frame: Frame, plan: Plan) -> tuple[list[dict[str, np.ndarray]], list[SlotGrid]]:
    """The verified tensors of every cut, and the patches of every slot with the selected eigenvectors."""
    cuts = [load_tensors(frame.project.path("cut", cut.name))[1] for cut in plan.cuts]
    width = plan.recipe.params.get("eigenvectors") or max(plan.clusters(target) for target in plan.targets)
    slots = []
    for header, tensors in zip(plan.cuts, cuts, strict=True):
        tensors["eigenvectors"] = tensors["eigenvectors"][:, :width]
        about = header.axes["S"]["slots"]
        slots += slot_grids(tensors["nodes"], tensors["eigenvectors"], about, len(plan.images))
    return cuts, slots


def _clusters(plan: Plan, target: Classes, cuts: Sequence[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
    return [clusters_of(plan, target, cut, number) for number, cut in enumerate(cuts)]


def _nodes(cuts: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """The concatenated node tables of all cuts, with slots numbered consecutively: (n, 4) int32."""
    tables, before = [], 0
    for cut in cuts:
        nodes = cut["nodes"].copy()
        nodes[:, 1] += before
        before = int(nodes[:, 1].max()) + 1
        tables.append(nodes)
    return np.concatenate(tables)


def readings(
    plan: Plan, target: Classes, tensors: Mapping[str, np.ndarray], starts: Sequence[int], slots: Sequence[SlotGrid]
) -> list[Reading]:
    """The classifier of each slot at its best threshold, from the artifact's tensors. `starts`: each cut's first node."""

    def get(name: str) -> np.ndarray:
        return tensors[f"{target.title}.{name}"]

    if plan.recipe.params["method"] == "kway":
        parts = np.split(get("clusters"), starts[1:])
        return [
            KwayReading(slot, parts[cut], get("matched")[number])
            for number, (slot, cut) in enumerate(zip(slots, plan.cut_of, strict=True))
        ]
    thresholds = oracle_thresholds(plan.recipe.params["thresholds"])
    found: list[Reading] = []
    for number, slot in enumerate(slots):
        centres = torch.from_numpy(
            np.where(get("members")[number][:, None] > 0, get("centres")[number], np.nan)
        ).double()
        found.append(OracleReading(slot, centres, float(thresholds[get("best")[number]]), target.background))
    return found


def cut_starts(cuts: Sequence[Mapping[str, np.ndarray]]) -> list[int]:
    """The first node of each cut in the concatenated tables."""
    return np.cumsum([0, *(len(cut["nodes"]) for cut in cuts)])[:-1].tolist()


def _predicted(
    plan: Plan,
    target: Classes,
    tensors: Mapping[str, np.ndarray],
    cuts: Sequence[Mapping[str, np.ndarray]],
    slots: Sequence[SlotGrid],
) -> np.ndarray:
    """The class of each node (n,) int32; -1 for none and for class tokens."""
    starts = cut_starts(cuts)
    found = np.full(len(tensors["nodes"]), -1, np.int32)
    for reading, slot, cut in zip(readings(plan, target, tensors, starts, slots), slots, plan.cut_of, strict=True):
        found[slot.rows + starts[cut]] = predict_nodes(reading, len(plan.images))
    return found


def meanings_of(plan: Plan) -> dict[str, tuple[str, str]]:
    """Shape axes and meaning of every tensor."""
    meanings = {"nodes": ("n T", "image, slot, row, col of each node of all cuts; row = col = -1 for the class token")}
    for target in plan.targets:
        meanings |= target_meanings(target)
    return meanings


def axes_of(plan: Plan, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The axes of the artifact: slots of all cuts, scored images, classes of each target."""
    params = plan.recipe.params
    thresholds = oracle_thresholds(params["thresholds"]).tolist() if "thresholds" in params else [None]
    slots = [{**slot, "cut": cut} for slot, cut in zip(plan.slots, plan.cut_of, strict=True)]
    axes: dict[str, Any] = {
        "n": {"size": len(tensors["nodes"])},
        "T": {"size": 4, "labels": ["image", "slot", "row", "col"]},
        "B": {"size": len(plan.images), "images": list(plan.images)},
        "b": {"size": len(plan.scored), "scored": list(plan.scored)},
        "S": {"size": len(slots), "slots": slots},
        "J": {"size": len(thresholds), "labels": thresholds},
        "V": {"size": 3, "labels": ["both", "predicted", "ground truth"]},
        "R": {"size": 2, "labels": ["low", "high"]},
        **({"Y": {"size": 2, "labels": ["mIoU", "accuracy"]}} if params["method"] == "kway" else {}),
        "D": {"size": 4, "labels": ["difference", "low", "high", "p"]},
        "X": {"size": 3, "labels": ["mean IoU", "low", "high"]},
        "N": {"size": len(lines_of(plan.slots, plan.cut_of))},
        "targets": {"size": len(plan.targets), "labels": [target.title for target in plan.targets]},
    }
    if "eigenvectors" in params:
        axes["C"] = {"size": params["eigenvectors"]}
    for target in plan.targets:
        axes[f"K.{target.title}"] = {
            "size": len(target.ids),
            "labels": list(target.names),
            "ids": list(target.ids),
            "background": target.background,
        }
        if lacking := slots_without_patch(tensors, target.title, target.names):
            axes[f"K.{target.title}"]["slots_without_patch"] = lacking
        if params["method"] == "kway":
            axes[f"Q.{target.title}"] = {"size": plan.clusters(target)}
    return axes
