"""`alignedcut segment`: cuts and a ground truth in, how well each layer separates the classes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.run import DryRun, Frame, demand_choice, typed_options
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

    from alignedcut_cli.commands.segment.plan import Plan

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "segment"
DATASETS = ("folder", "voc", "imagenet-seg")
TYPED = ("--eigenvectors", "--thresholds", "--to-grid", "--clusters", "--discretise")
EXAMPLES = (
    "alignedcut segment --masks masks --from cut/tiny-clip -p study",
    "alignedcut segment --masks masks --from cut/tiny-clip --merge both --name two-ways -p study",
    "alignedcut segment --masks masks --from cut/tiny-clip --from cut/mae-layers --merge figure-ground -p study",
    "alignedcut segment --masks masks --from cut/tiny-clip --method kway --clusters 4 --name kway -p study",
)


def command(
    ctx: typer.Context,
    masks: Annotated[
        Path,
        typer.Option(
            "--masks", metavar="PATH", help="The ground truth: a folder of PNGs, VOC2012, or gtsegs_ijcv.mat."
        ),
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", help="What lies there: folder, voc, or imagenet-seg.")
    ] = "folder",
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="voc: a list in ImageSets/Segmentation.  [default: trainval]"),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            "--names", metavar="FILE", help="folder: names of class ids.  [default: names.json or names.txt in it]"
        ),
    ] = None,
    unpack: Annotated[
        Path | None,
        typer.Option("--unpack", metavar="DIR", help="imagenet-seg: write its photographs there, and do nothing else."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="cut/NAME", help="A cut. May be repeated: one figure.  [default: the only one]"),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="oracle (C.4: told the classes' centres) or kway (clusters without labels).")
    ] = "oracle",
    eigenvectors: Annotated[
        int, typer.Option("--eigenvectors", "-C", min=1, help="oracle: how many of the top ones to use.")
    ] = 10,
    thresholds: Annotated[
        int, typer.Option("--thresholds", min=1, help="oracle: thresholds of the similarity, even in [0, 1].")
    ] = 10,
    clusters: Annotated[
        int | None,
        typer.Option("--clusters", min=2, help="kway: clusters of each graph.  [default: as many as classes]"),
    ] = None,
    discretise: Annotated[
        str, typer.Option("--discretise", help="kway: rotation (Yu and Shi 2003) or kmeans.")
    ] = "rotation",
    background: Annotated[
        str, typer.Option("--background", metavar="IDS", help="Class ids of background, such as 0,92-200, or none.")
    ] = "0",
    ignore: Annotated[str, typer.Option("--ignore", metavar="IDS", help="Class ids of void, or none.")] = "255",
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="IDS", help="Score these; others are background.  [default: all]")
    ] = None,
    merge: Annotated[
        str, typer.Option("--merge", help="none: each class; figure-ground: all but background as one; both.")
    ] = "none",
    to_grid: Annotated[
        str, typer.Option("--to-grid", help="oracle, mask to patches: majority (commonest class), or area (shares).")
    ] = "majority",
    to_pixels: Annotated[
        str, typer.Option("--to-pixels", help="Similarities to pixels: bilinear, or nearest.")
    ] = "bilinear",
    on_extra_mask: Annotated[
        str, typer.Option("--on-extra-mask", help="Masks without an image in the cut: fail, or skip and count them.")
    ] = "fail",
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws of images for the 95% intervals; 0: none.")
    ] = 1000,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Images on the overlay sheets.")] = 8,
    predicted: Annotated[
        str, typer.Option("--predicted", help="Masks to write as PNG: of each line's best slot, of all slots, or none.")
    ] = "best",
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Where the photographs lie.  [default: where extract read them]"),
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw curves, overlays and masks.")] = True,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="[default: the cuts' names]")] = None,
    project: options.Project = Path(),
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Score how well the eigenvectors of each layer separate the classes of a ground truth.

    oracle: the centre of a class is the mean eigenvector of its patches; a pixel takes the class of the most similar
    centre (cosine), or background below a threshold; the best of the thresholds counts, the whole curve is kept (paper,
    C.4). Every slot is scored by its own rows, whether its cut is joint or --per-slot. Scores are taken at the masks'
    own resolution over all images at once; void and classes that no mask holds do not count. Images without a mask are
    counted and left out.
    """
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose)
    demand_choice("--dataset", dataset, DATASETS)
    demand_choice("--method", method, ("oracle", "kway"))
    demand_choice("--discretise", discretise, ("rotation", "kmeans"))
    demand_choice("--merge", merge, ("none", "figure-ground", "both"))
    demand_choice("--to-grid", to_grid, ("majority", "area"))
    demand_choice("--to-pixels", to_pixels, ("bilinear", "nearest"))
    demand_choice("--on-extra-mask", on_extra_mask, ("fail", "skip"))
    demand_choice("--predicted", predicted, ("best", "all", "none"))
    if unpack:
        if source:
            raise UsageError("option-unused", "--unpack needs no cut", "Leave --from out")
        _unpack(frame, dataset, masks, unpack, dry_run)
        return
    from alignedcut_cli.commands.segment.plan import Asked, make_plan

    asked = Asked(
        masks=masks,
        dataset=dataset,
        split=split,
        names=names,
        sources=tuple(source or ()),
        method=method,
        eigenvectors=eigenvectors,
        thresholds=thresholds,
        clusters=clusters,
        discretise=discretise,
        to_grid=to_grid,
        to_pixels=to_pixels,
        background=background,
        ignore=ignore,
        classes=classes,
        merge=merge,
        on_extra_mask=on_extra_mask,
        bootstrap=bootstrap,
        seed=seed,
        name=name,
        typed=typed_options(ctx, TYPED),
    )
    plan = make_plan(frame, asked)
    folder = frame.project.pictures("segment", plan.recipe.name)
    if dry_run:
        _print_dry_run(frame, plan, folder if pictures else None)
        return
    header, made = _make(frame, plan, overwrite)
    drawing = {"examples": examples, "predicted": predicted, "images": str(images)} if pictures else None
    _tell(frame, plan, header, made, folder, drawing)


def _unpack(frame: Frame, dataset: str, masks: Path, folder: Path, dry_run: bool) -> None:
    from alignedcut_cli.datasets.masks_imagenet import open_imagenet, unpack_imagenet

    if dataset != "imagenet-seg":
        raise UsageError("option-unused", f"--unpack: --dataset {dataset} has its photographs as files", "Leave it out")
    count = len(open_imagenet(masks).keys)
    if dry_run:
        described = DryRun([str(masks)], [(f"{folder}/", count * (1 << 18))], 64 << 20)
        frame.output.result(described.text(), described.as_object())
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
    frame.output.result(described.text(), described.as_object())


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
    """Draw what is to be drawn, and print the table."""
    from alignedcut_cli.commands.segment.pictures import draw_if_needed
    from alignedcut_cli.commands.segment.result import result_rows, result_table

    tensors: dict[str, np.ndarray] = load_tensors(frame.project.path("segment", header.name))[1]
    rows = result_rows(header, tensors)
    lines = [str(frame.project.path("segment", header.name))]
    classes = {target: header.axes[f"K.{target}"]["labels"] for target in header.axes["targets"]["labels"]}
    result = {"schema": "alignedcut.segment/1", **frame.artifact_object(header, made=made), "rows": rows}
    result["classes"] = classes
    result["images"] = {"scored": len(plan.scored), "without_mask": len(plan.images) - len(plan.scored)}
    if drawing:
        draw_if_needed(frame, plan, header, tensors, rows, drawing, folder)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join([result_table(rows, classes), *lines]), result)
