"""`alignedcut segment --method agnostic`: class-agnostic masks, scored against regions where these are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.segment.asked import Asked
from alignedcut_cli.commands.segment.proposed import masks_of
from alignedcut_cli.datasets.classes import Classes, find_classes, parse_ids
from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.datasets.open_masks import open_masks
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.ground_truth import Instances, given_cuts, joined_name, read_instances, read_truth
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np

    from alignedcut_cli.core.groups.slot_scores import SlotGrid

__all__ = ["AgnosticPlan", "run_agnostic"]

ALGORITHM = 1
UNUSED = (
    "--class-map",
    "--thresholds",
    "--clusters",
    "--discretise",
    "--classes",
    "--merge",
    "--to-grid",
    "--predicted",
    "--unpack",
)
OF_MASKS = ("--dataset", "--split", "--names", "--mask-suffix", "--instances", "--background", "--ignore")
LABELS = ("best IoU", "recall at 1", "recall at 10", "recall at 100")


@dataclass(frozen=True)
class Regions:
    """The ground truth of the `scored` images: masks of classes, and of instances where known."""

    masks: MaskSet
    scored: tuple[int, ...]
    keys: tuple[str, ...]
    classes: Classes
    instances: Instances | None


@dataclass(frozen=True)
class AgnosticPlan:
    """The slots for which masks are proposed, and the regions to score them, if any."""

    recipe: Recipe
    cuts: tuple[Header, ...]
    slots: tuple[Mapping[str, Any], ...]
    cut_of: tuple[int, ...]
    truth: Regions | None

    @property
    def images(self) -> Sequence[Mapping[str, Any]]:
        return self.cuts[0].axes["B"]["images"]

    def need(self) -> int:
        """Bytes of main memory: eigenvectors, distances between one image's cells, and its masks at its own size."""
        nodes = sum(cut.axes["M"]["size"] * (4 * cut.axes["C"]["size"] + 24) for cut in self.cuts)
        cells = max(slot["grid"][0] * slot["grid"][1] for slot in self.slots)
        pixels = max(image["height"] * image["width"] for image in self.images)
        return nodes + 3 * 8 * cells**2 + (100 + 40) * pixels + (64 << 20)


def run_agnostic(frame: Frame, asked: Asked) -> None:
    """Plan, then propose masks, or print the plan. Raises UsageError, DataError or InputMissingError."""
    plan = _plan(frame, asked)
    path, folder = frame.project.path("segment", plan.recipe.name), frame.project.pictures("segment", plan.recipe.name)
    if asked.dry_run:
        outputs = [
            (str(path), 400 * len(plan.slots) * len(plan.images)),
            *([(f"{folder}/", 0)] if asked.pictures else []),
        ]
        inputs = [*(f"cut/{cut.name}" for cut in plan.cuts), *([str(plan.truth.masks.place)] if plan.truth else [])]
        described = DryRun(inputs, outputs, plan.need())
        frame.dry_run(described)
        return
    header, made = frame.make_once(plan.recipe, asked.overwrite, lambda: _make(frame, plan))
    _tell(frame, header, made, asked)


def _plan(frame: Frame, asked: Asked) -> AgnosticPlan:
    unused = [option for option in UNUSED if option in asked.explicit]
    if asked.masks is None:
        unused += [option for option in OF_MASKS if option in asked.explicit]
    if unused:
        what = "--method agnostic" + (" without --masks" if unused[0] in OF_MASKS else "")
        raise UsageError("option-unused", f"{what} does not use {', '.join(unused)}", "Leave it out")
    names, given = given_cuts(frame, asked.source)
    cuts = tuple(header for _, header in given)
    least = min(cuts, key=lambda cut: cut.axes["C"]["size"])
    if asked.eigenvectors > least.axes["C"]["size"]:
        raise UsageError(
            "too-many-eigenvectors",
            f"--eigenvectors {asked.eigenvectors}: cut/{least.name} has {least.axes['C']['size']}",
            f"Cut with --eigenvectors {asked.eigenvectors}, or give fewer",
        )
    params: dict[str, Any] = {"method": "agnostic", "eigenvectors": asked.eigenvectors, "seed": asked.seed}
    external: dict[str, str] = {}
    truth = None
    if asked.masks is not None:
        truth, more, external = _regions(frame, asked, cuts[0].axes["B"]["images"])
        params |= more
    name = check_name(asked.name or joined_name(names))
    recipe = Recipe("segment", name, ALGORITHM, params, tuple(one for one, _ in given), external)
    slots = [(number, slot) for number, cut in enumerate(cuts) for slot in cut.axes["S"]["slots"]]
    return AgnosticPlan(recipe, cuts, tuple(one for _, one in slots), tuple(number for number, _ in slots), truth)


def _regions(
    frame: Frame, asked: Asked, images: Sequence[Mapping[str, Any]]
) -> tuple[Regions, dict[str, Any], dict[str, str]]:
    """The regions to score masks by, the parameters of the scores, and the digests of the regions' files."""
    assert asked.masks is not None
    background, ignore = parse_ids("--background", asked.background), parse_ids("--ignore", asked.ignore)
    masks = open_masks(asked.dataset, asked.masks, asked.split, asked.names, asked.mask_suffix)
    truth = read_truth(frame, masks, images, asked.on_extra_mask)
    classes = find_classes(truth.present, masks.names, background=background, ignore=ignore)
    scored = [images[number] for number in truth.scored]
    instances, external = read_instances(frame, asked.instances, masks, scored, asked.mask_suffix)
    if instances is None:
        frame.output.note("the masks tell no instances apart: all pixels of a class are one region; see --instances")
    params = {"background": list(background), "ignore": list(ignore), "bootstrap": asked.bootstrap}
    params |= {"to_pixels": asked.to_pixels}
    return Regions(masks, truth.scored, truth.keys, classes, instances), params, {"masks": truth.digest, **external}


def _make(frame: Frame, plan: AgnosticPlan) -> Header:
    import torch

    tensors, meanings = _tensors(frame, plan)
    slots = [{**slot, "cut": cut} for slot, cut in zip(plan.slots, plan.cut_of, strict=True)]
    axes: dict[str, Any] = {
        "p": {"size": len(tensors["proposals"])},
        "T": {"size": 2, "labels": ["image", "slot"]},
        "E": {"size": len(tensors["starts"])},
        "t": {"size": len(tensors["cells"])},
        "B": {"size": len(plan.images), "images": list(plan.images)},
        "S": {"size": len(slots), "slots": slots},
        "b": {
            "size": len(plan.truth.scored) if plan.truth else 0,
            "scored": list(plan.truth.scored) if plan.truth else [],
        },
        "targets": {"size": 0, "labels": []},
    }
    if plan.truth:
        axes |= {
            "g": {"size": len(tensors["regions"])},
            "U": {"size": 4, "labels": ["image", "class", "instance", "pixels"]},
            "R": {"size": 2, "labels": ["low", "high"]},
            "Z": {"size": len(LABELS), "labels": list(LABELS)},
        }
    return write_artifact(
        frame.project.path("segment", plan.recipe.name),
        plan.recipe,
        tensors,
        meanings,
        axes=axes,
        numerics={"torch": torch.__version__, "device": "cpu", "computed": "float64"},
        parents=plan.cuts,
    )


def _tensors(frame: Frame, plan: AgnosticPlan) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    import numpy as np

    from alignedcut_cli.core.groups.proposals import mask_proposals
    from alignedcut_cli.core.groups.slot_scores import slot_grids
    from alignedcut_cli.core.numerics import stream

    slots: list[SlotGrid] = []
    for cut in plan.cuts:
        _, found = load_tensors(frame.project.path("cut", cut.name))
        vectors = found["eigenvectors"][:, : plan.recipe.params["eigenvectors"]]
        slots += slot_grids(found["nodes"], vectors, cut.axes["S"]["slots"], len(plan.images))
    table, scores, cells = [], [], []
    with frame.output.progress("proposing masks", len(slots) * len(plan.images), "images") as advance:
        for image in range(len(plan.images)):
            for number, slot in enumerate(slots):
                seed = stream(plan.recipe.params["seed"], "agnostic", number, image)
                for one in mask_proposals(slot.eigenvectors[image], seed):
                    table.append((image, number))
                    scores.append(one.score)
                    cells.append(np.flatnonzero(one.mask).astype(np.int32))
                advance(1)
    tensors = {
        "proposals": np.array(table, np.int32).reshape(-1, 2),
        "scores": np.array(scores, np.float32),
        "starts": np.cumsum([0, *map(len, cells)]).astype(np.int64),
        "cells": np.concatenate([*cells, np.zeros(0, np.int32)]),
    }
    meanings = {
        "proposals": ("p T", "image and slot of each mask, the best of an image and slot first"),
        "scores": ("p", "mean silhouette of the mask's cells and of as many of the nearest background, -1 to 1"),
        "starts": ("E", "where the cells of each mask begin, and the end of the last"),
        "cells": ("t", "the cells of each mask: row * columns + column of the slot's grid"),
    }
    if plan.truth:
        more, told = _scores(frame, plan, plan.truth, tensors)
        tensors, meanings = tensors | more, meanings | told
    return tensors, meanings


def _scores(
    frame: Frame, plan: AgnosticPlan, truth: Regions, tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    """The regions, each slot's best IoU with each, and its scores with an interval over images."""
    import numpy as np

    from alignedcut_cli.core.groups.region_scores import LIMITS, average_recall, region_numbers, region_overlaps

    overlaps: list[list[np.ndarray]] = [[] for _ in plan.slots]
    regions = []
    with frame.output.progress("scoring", len(truth.scored), "images") as advance:
        for image, key in zip(truth.scored, truth.keys, strict=True):
            about = plan.images[image]
            labels = truth.classes.labels(truth.masks.read(key, about))
            figures = (
                labels if truth.classes.background is None else np.where(labels == truth.classes.background, -1, labels)
            )
            numbers = truth.instances(key, about) if truth.instances else None
            places, found = region_numbers(figures, numbers)
            pixels = np.bincount(places[places >= 0], minlength=len(found))
            regions += [
                (image, truth.classes.ids[kind], one, many) for (kind, one), many in zip(found, pixels, strict=True)
            ]
            for slot in range(len(plan.slots)):
                size = (about["height"], about["width"])
                masks = [
                    mask
                    for _, mask in masks_of(tensors, plan.slots, image, slot, size, plan.recipe.params["to_pixels"])
                ]
                overlaps[slot].append(region_overlaps(masks, places, labels < 0))
            advance(1)
    best = [np.concatenate([one.max(0, initial=0) for one in mine]) for mine in overlaps]
    values = [
        [one.mean() if len(one) else np.nan, *(average_recall(mine, limit) for limit in LIMITS)]
        for one, mine in zip(best, overlaps, strict=True)
    ]
    found = {
        "regions": np.array(regions, np.int64).reshape(-1, 4),
        "best_iou": np.stack(best).astype(np.float32),
        "values": np.array(values, np.float32),
    }
    meanings = {
        "regions": ("g U", "image, class id, instance number (0 none) and pixels of each region of the ground truth"),
        "best_iou": ("S g", "the largest IoU of any mask of its image with each region"),
        "values": (
            "S Z",
            "mean of the best IoU, and average recall with the best 1, 10 and 100 masks, see axis Z; NaN: no regions",
        ),
    }
    if plan.recipe.params["bootstrap"] and len(truth.scored) > 1:
        found["interval"] = _intervals(plan, overlaps)
        meanings["interval"] = ("S R", "95% bootstrap interval of the mean best IoU over images")
    return found, meanings


def _intervals(plan: AgnosticPlan, overlaps: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(S, 2): percentiles of the mean best IoU over images drawn with replacement."""
    import numpy as np

    from alignedcut_cli.core.numerics import stream

    found = []
    for number, mine in enumerate(overlaps):
        sums = np.array([one.max(0, initial=0).sum() for one in mine])
        counts = np.array([one.shape[1] for one in mine])
        random = np.random.default_rng(stream(plan.recipe.params["seed"], "bootstrap", number))
        times = random.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), plan.recipe.params["bootstrap"])
        with np.errstate(invalid="ignore"):
            found.append(np.nanquantile(times @ sums / (times @ counts), [0.025, 0.975]))
    return np.array(found, np.float32)


def _tell(frame: Frame, header: Header, made: bool, asked: Asked) -> None:
    """Draw the pictures and write the masks, if asked to, and print the table."""
    from alignedcut_cli.commands.segment.agnostic_result import draw_agnostic, result_rows, result_table

    path = frame.project.path("segment", header.name)
    tensors = load_tensors(path)[1]
    rows = result_rows(header, tensors)
    result = {"schema": "alignedcut.segment/1", **frame.artifact_object(header, made=made), "rows": rows}
    lines = [result_table(rows), "", str(path)]
    if asked.pictures:
        folder = draw_agnostic(frame, header, tensors, rows, asked)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)
