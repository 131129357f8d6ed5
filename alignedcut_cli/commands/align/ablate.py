"""`alignedcut align --ablate eigen=…`: the paper's Table 1 on the user's data."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from alignedcut_cli.commands.align.make import make
from alignedcut_cli.commands.align.plan import ablated_values, require_nodes, require_weight, slot_key
from alignedcut_cli.commands.align.result import roi_rows
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.datasets.classes import Classes, find_classes
from alignedcut_cli.datasets.masks_folder import read_masks
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.output import table
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep, run_sweeps
from alignedcut_cli.nodes.slots import Slot, find_slots, node_table, require_same_images
from alignedcut_cli.nodes.spaces import Space, aligned_space, comparable_slots, open_transforms
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    from alignedcut_cli.commands.align.asked import Asked
    from alignedcut_cli.commands.align.plan import Plan

__all__ = ["ablated_plans", "ablation", "ablation_recipe", "ablation_sweep"]

EIGENVECTORS = 10
NODES = 4000


@dataclass(frozen=True)
class Truth:
    """The slots whose segmentation is scored, and the class of each pixel (H, W), -1 for void, of each image."""

    slots: tuple[Slot, ...]
    classes: Classes
    labels: tuple[np.ndarray, ...]


def ablation(frame: Frame, plan: Plan, asked: Asked, device: torch.device) -> None:
    """Align once per weight of the eigen-constraint and print one row for each: R^2 per ROI, and oracle mIoU.

    Writes align/NAME-eigen-VALUE and pictures/align/NAME-eigen/table.csv.
    """
    plans, values = ablated_plans(plan, asked.ablate or ""), ablated_values(asked.ablate or "")
    if (asked.segment or asked.mask_suffix) and not asked.masks:
        unused = "--segment" if asked.segment else "--mask-suffix"
        raise UsageError("option-unused", f"{unused} serves --masks alone", f"Give --masks, or leave {unused} out")
    truth = _truth(frame, plan, asked.masks, asked.mask_suffix, asked.segment) if asked.masks else None
    if asked.cluster:
        sweeps = [ablation_sweep(frame, plans, device, asked.overwrite)]
        run_sweeps(frame, asked, sweeps, ablation_recipe(plan, plans))
    rows, headers = [], []
    if truth:
        rows.append({"eigen": "raw", **_segment_scores(frame, Space("raw"), truth, plan.settings.seed, device)})
    for value, one in zip(values, plans, strict=True):
        header, made = make(frame, one, device, asked.overwrite)
        headers.append(frame.artifact_object(header, made=made))
        rows.append({"eigen": f"{value:g}", **_brain_scores(header)})
        if truth:
            space = aligned_space(frame.project, "aligned", header.name, None)
            rows[-1] |= _segment_scores(frame, space, truth, plan.settings.seed, device)
    columns = ["eigen", *dict.fromkeys(key for row in rows for key in row if key != "eigen")]
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    path = frame.project.pictures("align", check_name(f"{plan.recipe.name}-eigen")) / "table.csv"
    if not path.is_file() or path.read_text(encoding="utf-8") != _as_csv(cells):
        writing_text(path, _as_csv(cells))
    text = "\n".join([table(list(map(list, zip(*cells, strict=True)))), "", str(path)])
    frame.output.result(
        text, {"schema": "alignedcut.ablation/1", "rows": rows, "artifacts": headers, "table": str(path)}
    )


def ablated_plans(plan: Plan, text: str) -> list[Plan]:
    """The plan with each weight of --ablate, under a name of its own. Raises UsageError."""
    values = ablated_values(text)
    names = [check_name(f"{plan.recipe.name}-eigen-{value:g}") for value in values]
    if len(set(names)) < len(names):
        raise UsageError("bad-ablate", f"--ablate: {', '.join(names)} are not all different", "Give other weights")
    return [_with_eigen(plan, name, value) for name, value in zip(names, values, strict=True)]


def ablation_recipe(plan: Plan, plans: Sequence[Plan]) -> Recipe:
    """What identifies an ablation, which is no artifact itself: its alignments."""
    return replace(plan.recipe, name=f"{plan.recipe.name}-eigen", params={"of": [one.recipe.identity for one in plans]})


def ablation_sweep(frame: Frame, plans: Sequence[Plan], device: torch.device, overwrite: bool) -> Sweep:
    """A task an alignment, whose file is the artifact; it tells of nothing but failures."""
    quiet = replace(frame, output=replace(frame.output, quiet=True))

    def missing() -> list[int]:
        return [number for number, one in enumerate(plans) if frame.existing(one.recipe, overwrite) is None]

    def run(numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        for number in numbers:
            make(quiet, plans[number], device, overwrite)
            advance(1)

    return Sweep("values", "ablating", "alignments", [1] * len(plans), missing, run, by_threads=True)


def _with_eigen(plan: Plan, name: str, value: float) -> Plan:
    """The same plan with another weight of the eigen-constraint."""
    require_weight("--ablate eigen", value)
    recipe = replace(plan.recipe, name=name, params={**plan.recipe.params, "eigen": value})
    weights = replace(plan.settings.weights, eigen=value)
    changed = replace(plan, recipe=recipe, settings=replace(plan.settings, weights=weights))
    require_nodes(changed)
    return changed


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:.3f}"


def _as_csv(cells: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def _brain_scores(header: Header) -> dict[str, Any]:
    """Mean test R^2 of each ROI and of all voxels, and the epoch that was kept."""
    return {f"R2 {row['roi']}": row["r2.test"] for row in roi_rows(header)}


def _truth(frame: Frame, plan: Plan, masks: Path, mask_suffix: str | None, segment: Sequence[str]) -> Truth:
    """The slots of the feature sets to be segmented (by default those of --from), with labels on their grids."""
    if segment:
        names = [frame.project.parse(text, "features")[1] for text in segment]
        parents = [frame.project.header("features", name) for name in names]
        slots = tuple(slot for name in dict.fromkeys(names) for slot in _aligned_slots(frame, plan, name))
    else:
        names, parents, slots = [given.name for given in plan.recipe.inputs], plan.parents, plan.slots
    require_same_images(names, parents)
    pictures = read_masks(masks, slots[0].source.images, frame.output.note, mask_suffix=mask_suffix)
    for slot in slots:
        slot.require_tokens()
    classes = find_classes({one for mask in pictures for one in np.unique(mask).tolist()}, {})
    return Truth(slots, classes, tuple(classes.labels(mask) for mask in pictures))


def _aligned_slots(frame: Frame, plan: Plan, name: str) -> list[Slot]:
    """The slots of a feature set that the plan aligns."""
    aligned = {slot_key(slot) for slot in plan.slots}
    there = find_slots(frame.features(name), "all")
    found = [slot for slot in there if slot_key(slot) in aligned]
    if not found:
        raise UsageError(
            "not-aligned",
            f"features/{name} has no slot of the weights and tap of --from",
            "Give the same models with --segment as with --from",
        )
    return found


def _segment_scores(frame: Frame, space: Space, truth: Truth, seed: int, device: torch.device) -> dict[str, float]:
    """Oracle mIoU of each model, mean over its slots (each slot cut separately), and the mean of all: {what: mIoU}."""
    from alignedcut_cli.core.graph.ncut import ncut_nystrom
    from alignedcut_cli.core.groups.slot_scores import slot_grids, slot_miou
    from alignedcut_cli.nodes.rows import GraphRows

    slots = comparable_slots(space, truth.slots)
    transform = open_transforms(space)
    by_model: dict[str, list[float]] = {}
    with frame.output.progress("segmenting", len(slots), "slots") as advance:
        for number, slot in enumerate(slots):
            rows = GraphRows([slot], [transform(slot)], space.name, device)
            cut = ncut_nystrom(
                rows.read, len(rows), EIGENVECTORS, nodes=min(NODES, len(rows)), seed=stream(seed, "ablate", number)
            )
            nodes = node_table(slot.about, 0, len(truth.labels))
            grid = slot_grids(nodes, cut.eigenvectors.cpu().numpy(), [slot.about], len(truth.labels))[0]
            score = slot_miou(grid, truth.labels, len(truth.classes.ids), truth.classes.background)
            by_model.setdefault(slot.about["model"], []).append(score)
            advance(1)
    means = {f"mIoU {model}": float(np.mean(scores)) for model, scores in by_model.items()}
    return means | {"mIoU all": float(np.mean([score for scores in by_model.values() for score in scores]))}
