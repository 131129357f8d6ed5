"""`alignedcut segment`: from cuts and a ground truth to how well each layer separates the classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.segment.asked import Asked
from alignedcut_cli.commands.segment.export import EXPORTS
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.run import DryRun, Frame, require_choice
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

    from alignedcut_cli.commands.segment.plan import Plan

__all__ = ["BEFORE", "EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "segment"
DATASETS = ("folder", "voc", "imagenet-seg", "coco-panoptic", "coco-instances")
EXAMPLES = (
    "alignedcut segment --masks masks --from cut/tiny-clip -p study",
    "alignedcut segment --masks masks --from cut/tiny-clip --merge both --name two-ways -p study",
    "alignedcut segment --masks masks --from cut/tiny-clip --from cut/mae-layers --merge figure-ground -p study",
    "alignedcut segment --masks masks --from cut/tiny-clip --method kway --clusters 4 --name kway -p study",
    "alignedcut segment --masks masks --from cut/tiny-clip --method kway --discretise columns --name columns -p study",
    "alignedcut segment --from cut/tiny-clip --method agnostic --name objects -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip --model tiny-mae -p study",
    "alignedcut cut --from features/tiny-clip -p study",
    "alignedcut cut --from features/tiny-mae --per-slot --eigenvectors 12 --name mae-layers -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Score how well the eigenvectors of each layer separate the classes of a ground truth.

    oracle: the centre of a class is the mean eigenvector of its patches; a pixel takes the class of the most similar
    centre (cosine), or background below a threshold; the best of the thresholds counts, the whole curve is kept (paper,
    C.4). Every slot is scored by its own rows, whether its cut is joint or --per-slot. Scores are taken at the masks'
    own resolution over all images at once; void and classes that no mask holds do not count. Images without a mask are
    counted and left out. Layers and models are compared on the same bootstrap draws of images, and the best layer is
    scored again on images that did not choose it.

    kway: clusters without labels, then matched to classes one to one (Hungarian), and each to the class that it holds most
    of (greedy). With --discretise columns they are those of the unsupervised semantic segmentation of Zhang, Yunis and
    Maire 2023: k-means of the first columns of X diag(lambda), as many as classes.

    agnostic: masks of no class, at most 100 per image (k-means at 2 to 9 clusters, connected components and their merge
    tree, ranked by silhouette; Zhang, Yunis and Maire 2023), as COCO JSON. With --masks they are scored by the best
    IoU with each region of the ground truth, and by average recall (COCO).
    """
    require_choice("--dataset", asked.dataset, DATASETS)
    require_choice("--method", asked.method, ("oracle", "kway", "agnostic"))
    require_choice("--discretise", asked.discretise, ("rotation", "kmeans", "columns"))
    require_choice("--merge", asked.merge, ("none", "figure-ground", "both"))
    require_choice("--to-grid", asked.to_grid, ("majority", "area"))
    require_choice("--to-pixels", asked.to_pixels, ("bilinear", "nearest"))
    require_choice("--on-extra-mask", asked.on_extra_mask, ("fail", "skip"))
    require_choice("--predicted", asked.predicted, ("best", "all", "none"))
    if asked.method == "agnostic":
        from alignedcut_cli.commands.segment.agnostic import run_agnostic

        run_agnostic(frame, asked)
        return
    masks = _require_masks(asked)
    if asked.unpack:
        if asked.source:
            raise UsageError("option-unused", "--unpack needs no cut", "Leave --from out")
        _unpack(frame, asked.dataset, masks, asked.unpack, asked.dry_run)
        return
    from alignedcut_cli.commands.segment.plan import make_plan

    plan = make_plan(frame, asked, masks)
    folder = frame.project.pictures("segment", plan.recipe.name)
    if asked.dry_run:
        _print_dry_run(frame, plan, folder if asked.pictures else None)
        return
    header, made = _make(frame, plan, asked.overwrite)
    drawing = {"examples": asked.examples, "predicted": asked.predicted, "images": str(asked.images)}
    _tell(frame, plan, header, made, folder, drawing if asked.pictures else None)


def _require_masks(asked: Asked) -> Path:
    """The ground truth, which these methods require."""
    if "--instances" in asked.explicit:
        raise UsageError("option-unused", f"--method {asked.method} does not use --instances", "Leave it out")
    if asked.masks is None:
        raise UsageError("masks-needed", f"--method {asked.method} needs a ground truth", "Give --masks PATH")
    return asked.masks


def _unpack(frame: Frame, dataset: str, masks: Path, folder: Path, dry_run: bool) -> None:
    from alignedcut_cli.datasets.masks_imagenet import open_imagenet, unpack_imagenet

    if dataset != "imagenet-seg":
        raise UsageError("option-unused", f"--unpack: --dataset {dataset} has its photographs as files", "Leave it out")
    count = len(open_imagenet(masks).keys)
    if dry_run:
        described = DryRun([str(masks)], [(f"{folder}/", count * (1 << 18))], 64 << 20)
        frame.dry_run(described)
        return
    with frame.output.progress("unpacking", count, "images") as advance:
        unpack_imagenet(masks, folder, advance)
    frame.output.result(str(folder), {"schema": "alignedcut.unpacked/1", "folder": str(folder), "images": count})


def _print_dry_run(frame: Frame, plan: Plan, folder: Path | None) -> None:
    nodes = sum(cut.axes["M"]["size"] for cut in plan.cuts)
    counts = sum(12 * len(plan.slots) * len(plan.scored) * len(one.ids) for one in plan.targets)
    outputs = [(str(frame.project.path("segment", plan.recipe.name)), nodes * (16 + 4 * len(plan.targets)) + counts)]
    inputs = [*(f"cut/{cut.name}" for cut in plan.cuts), str(plan.masks.place)]
    described = DryRun(inputs, [*outputs, *([(f"{folder}/", 0)] if folder else [])], plan.need())
    frame.dry_run(described)


def _make(frame: Frame, plan: Plan, overwrite: bool) -> tuple[Header, bool]:
    recipe = plan.recipe

    def made() -> Header:
        import torch

        from alignedcut_cli.commands.segment.run import axes_of, meanings_of, run

        tensors = run(frame, plan)
        return write_artifact(
            frame.project.path("segment", recipe.name),
            recipe,
            tensors,
            {name: meanings_of(plan)[name] for name in tensors},
            axes=axes_of(plan, tensors),
            numerics={"torch": torch.__version__, "device": "cpu", "computed": "float64"},
            parents=plan.cuts,
        )

    return frame.make_once(recipe, overwrite, made)


def _tell(frame: Frame, plan: Plan, header: Header, made: bool, folder: Path, drawing: dict[str, Any] | None) -> None:
    """Draw the pictures, if asked to, and print the table."""
    from alignedcut_cli.commands.segment.differences import best_rows, difference_rows, difference_table
    from alignedcut_cli.commands.segment.pictures import draw_if_needed
    from alignedcut_cli.commands.segment.result import (
        curve_lines,
        result_rows,
        result_table,
        told_without_patch,
        without_patch,
    )

    tensors: dict[str, np.ndarray] = load_tensors(frame.project.path("segment", header.name))[1]
    rows, lacking = result_rows(header, tensors), without_patch(header, tensors)
    for classes in lacking.values():
        if classes:
            frame.output.note(told_without_patch(header, classes))
    if header.params["bootstrap"] and len(plan.scored) == 1:
        frame.output.note("one image is scored, so there is no interval over images")
    best, apart = (make(header, tensors, curve_lines(header)) for make in (best_rows, difference_rows))
    lines = [difference_table(best, apart, target) for target in header.axes["targets"]["labels"]] if best else []
    lines.append(str(frame.project.path("segment", header.name)))
    result = {"schema": "alignedcut.segment/1", **frame.artifact_object(header, made=made), "rows": rows}
    result["classes"] = {target: header.axes[f"K.{target}"]["labels"] for target in header.axes["targets"]["labels"]}
    result["without_patch"] = lacking
    result |= {"best": best, "differences": apart}
    result["images"] = {"scored": len(plan.scored), "without_mask": len(plan.images) - len(plan.scored)}
    if drawing:
        draw_if_needed(frame, plan, header, tensors, rows, drawing, folder)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join([result_table(header, rows, lacking), *lines]), result)
