"""`alignedcut concepts`: the meaning of channels: predicted responses of brain regions to parts of images."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.concepts.asked import Asked
from alignedcut_cli.commands.concepts.export import EXPORTS
from alignedcut_cli.errors import OutOfMemoryError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import memory_bytes, resolve_device
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame, require_choice
from alignedcut_cli.nodes.spaces import SPACES, open_transforms
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.commands.concepts.data import Readout
    from alignedcut_cli.commands.concepts.plan import Plan

__all__ = ["EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "concepts"
EXAMPLES = (
    "alignedcut concepts --from color/tiny-clip --masks masks -p study",
    "alignedcut concepts --from cut/tiny-clip --layers 3,5 --masks masks --pixel 0:6:6 --name pixel -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Say what the channels mean: predicted responses of brain regions to figure, ground, classes and concepts.

    Brain-space activation of a node is v W beta, averaged over the voxels of each ROI (eps, the read-out's intercept, is
    left out). With --masks: means over figure, ground and each class, with standard errors over images, since the nodes of
    one image are not independent. Concepts of a slot: farthest-point centres among its patches in the space of `color`,
    and the nodes in the spheres around them; mean and standard deviation of their activation per ROI and per voxel.
    --pixel: the cosine of one patch with all patches of all images, and with --masks how well a threshold on it finds the
    patch's own side, figure or ground, whatever the class.

    --words: the name of a concept is the word nearest to it in the space of --embeddings, where a concept is the mean of its
    images, weighted by the share of their patches in it, less the mean of all, and a word is its vector less the mean of
    the words. It is unnamed unless it is nearer than with the shares permuted over images at random: p of the best of all
    words, at most .05 after Holm over concepts.
    """
    from alignedcut_cli.commands.concepts.plan import make_plan

    if asked.space is not None:
        require_choice("--space", asked.space, SPACES)
    device, budget = resolve_device(asked.device), memory_bytes(asked.memory)
    plan = make_plan(frame, asked)
    if plan.need() > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"this run holds {format_bytes(plan.need())}, --memory allows {format_bytes(budget)}",
            "Give more --memory, or fewer --layers or --concepts",
        )
    if asked.dry_run:
        _print_dry_run(frame, plan, asked.pictures)
        return
    header, made = _make(frame, plan, device, budget, asked.overwrite)
    _finish(frame, header, made, (asked.shown, asked.images) if asked.pictures else None)


def _print_dry_run(frame: Frame, plan: Plan, pictures: bool) -> None:
    folder = frame.project.pictures("concepts", plan.recipe.name)
    outputs = [(str(frame.project.path("concepts", plan.recipe.name)), plan.output_bytes())]
    described = DryRun(
        [f"{given.kind}/{given.name}" for given in plan.recipe.inputs],
        [*outputs, *([(f"{folder}/", 0)] if pictures else [])],
        plan.need(),
    )
    frame.dry_run(described)


def _make(frame: Frame, plan: Plan, device: torch.device, budget: int, overwrite: bool) -> tuple[Header, bool]:
    import torch

    recipe = plan.recipe

    def made() -> Header:
        from alignedcut_cli.commands.concepts.result import MEANINGS, axes

        arrays, readout, classes = _measure(frame, plan, device, budget)
        return write_artifact(
            frame.project.path("concepts", recipe.name),
            recipe,
            arrays,
            {name: MEANINGS[name] for name in arrays},
            axes=axes(plan, arrays, readout, classes),
            numerics={"torch": torch.__version__, "device": device.type, "computed": "float32, sums float64"},
            parents=plan.parents,
        )

    return frame.make_once(recipe, overwrite, made)


def _measure(
    frame: Frame, plan: Plan, device: torch.device, budget: int
) -> tuple[dict[str, np.ndarray], Readout, list[int]]:
    """The tensors of the artifact, the read-out that they are of, and the class ids of the masks."""
    from alignedcut_cli.commands.concepts.data import Truth, readout_of, tiles
    from alignedcut_cli.commands.concepts.groups import groups_of
    from alignedcut_cli.commands.concepts.names import names_of
    from alignedcut_cli.commands.concepts.pixels import pixel_of
    from alignedcut_cli.commands.concepts.result import tensors
    from alignedcut_cli.commands.concepts.spheres import spheres_of

    weights_of, compare_of = open_transforms(plan.aligned), open_transforms(plan.space)
    readout, truth = readout_of(plan), Truth(plan) if plan.masks else None
    classes = truth.classes(plan.slots) if truth else []
    _, colours = load_tensors(frame.project.path("color", plan.recipe.inputs[0].name))
    brain = functools.partial(tiles, space="brain", device=device, budget=budget // 4)
    compared = functools.partial(tiles, space=plan.space.name, device=device, budget=budget // 4)
    grid = plan.slots[0].about["grid"]
    groups, spheres, pixels = [], [], [[] for _ in plan.pixels]
    with frame.output.progress("reading activations", len(plan.slots), "slots") as advance:
        for number, (slot, start) in enumerate(zip(plan.slots, plan.offsets, strict=True)):
            weights = weights_of(slot)
            assert weights is not None
            places = colours["coordinates"][start : start + slot.nodes]
            spheres.append(spheres_of(number, slot, weights, readout, places, plan, brain))
            if truth:
                groups.append(groups_of(slot, weights, readout, truth, classes, brain, len(plan.images)))
            for row, pixel in zip(pixels, plan.pixels, strict=True):
                other = plan.comparable[number]
                labels = truth.labels(slot) if truth else None
                ground = truth.background if truth else 0
                row.append(pixel_of(other, pixel, grid, labels, ground, compared, compare_of(other)))
            advance(1)
    return tensors(plan, readout, groups, spheres, pixels, names_of(plan, spheres)), readout, classes


def _finish(frame: Frame, header: Header, made: bool, drawing: tuple[int, Path | None] | None) -> None:
    """Draw, if asked to, and report the result."""
    from alignedcut_cli.commands.concepts.result import read, rows_of

    path = frame.project.path("concepts", header.name)
    _, arrays = read(path)
    found = {name: rows_of(name, header, arrays) for name in ("correlations", "names", "contrasts", "pixels")}
    lines = [str(path)]
    result: dict[str, Any] = {"schema": "alignedcut.concepts/1", **frame.artifact_object(header, made=made)}
    result |= found
    _say(frame, found)
    if found["names"]:
        _say_names(frame, header, found["names"])
    if drawing:
        from alignedcut_cli.commands.concepts.pictures import draw_if_needed

        folder = frame.project.pictures("concepts", header.name)
        draw_if_needed(frame, header, arrays, folder, *drawing)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)


def _median(found: dict[str, list[dict[str, Any]]], key: str) -> str:
    values = sorted(row[key] for row in found["correlations"] if row[key] is not None)
    if not values:
        return "undefined"
    return f"median r {values[len(values) // 2]:+.2f} (negative for {sum(v < 0 for v in values)} of {len(values)} concepts)"


def _say_names(frame: Frame, header: Header, rows: list[dict[str, Any]]) -> None:
    """Say on stderr how many concepts have a name, and in which space."""
    from alignedcut_cli.commands.concepts.result import UNNAMED

    axis, named = header.axes["W"], sum(row["name"] != UNNAMED for row in rows)
    frame.output.note(
        f"{named} of {len(rows)} concepts are named, by the nearest of {axis['size']} words in {axis['space']}; the others' "
        "nearest word is as near by chance (their patches permuted over images; p above .05 after Holm)"
    )


def _say(frame: Frame, found: dict[str, list[dict[str, Any]]]) -> None:
    """Print a summary of the findings on stderr."""
    from alignedcut_cli.core.groups.concept_stability import UNSTABLE

    if any(row["r"] is not None for row in found["correlations"]):
        frame.output.note(
            f"|mean| and deviation over voxels: {_median(found, 'r')} as they are, where voxels of a larger scale have both "
            f"larger; {_median(found, 'r.z')} z-scored over the slot, which takes the scale off"
        )
    known = [row for row in found["correlations"] if row["stability.images"] is not None]
    if known:
        unstable = sum(min(row["stability.images"], row["stability.seeds"]) < UNSTABLE for row in known)
        frame.output.note(
            f"{unstable} of {len(known)} concepts are unstable: less than half of them is recovered when images "
            "are resampled, or from another first centre (mean overlap; same t-SNE map)"
        )
    best: dict[str, dict[str, Any]] = {}
    for row in found["pixels"]:
        key = f"{row['image']}:{row['row']}:{row['col']}"
        if row["iou"] is not None and row["iou"] > best.get(key, {"iou": -1.0})["iou"]:
            best[key] = row
    for key, row in best.items():
        frame.output.note(
            f"pixel {key}: IoU {row['iou']:.2f} with its own side at {row['model']} layer {row['layer']} "
            f"({row['everything']:.2f} by taking everything)"
        )
