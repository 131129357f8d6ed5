"""The pictures of a segmentation: curves over layers, overlays next to the ground truth, predicted masks, the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.commands.segment.differences import difference_rows
from alignedcut_cli.commands.segment.result import as_csv, best_slots, curve_lines
from alignedcut_cli.commands.segment.run import cut_starts, open_slots, readings
from alignedcut_cli.core.graph.parallel_tiles import share_items
from alignedcut_cli.core.groups.slot_scores import Reading, predict
from alignedcut_cli.frame.output import as_csv as plain_csv
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.pictures import draw_once
from alignedcut_cli.report.figures import save_figure
from alignedcut_cli.report.segments import Column, Scene, curve_figure, mask_picture, overlay_sheet
from alignedcut_cli.report.sheets import save_picture
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.segment.plan import Plan
    from alignedcut_cli.datasets.classes import Classes
    from alignedcut_cli.frame.run import Frame

__all__ = ["draw_if_needed"]


def draw_if_needed(
    frame: Frame,
    plan: Plan,
    header: Header,
    tensors: Mapping[str, np.ndarray],
    rows: Sequence[Mapping[str, Any]],
    drawing: Mapping[str, Any],
    folder: Path,
) -> None:
    """Draw the pictures, unless they already show this content with these settings."""
    wanted = {"content": header.content, "names": [list(one.names) for one in plan.targets], **drawing}

    def draw() -> None:
        writing_text(folder / "table.csv", as_csv(rows))
        if apart := difference_rows(header, tensors, curve_lines(header)):
            writing_text(folder / "differences.csv", plain_csv(apart))
        save_figure(curve_figure(rows, plan.recipe.params["method"]), folder / "curves.png")
        if drawing["examples"] or drawing["predicted"] != "none":
            _draw_segments(frame, plan, header, tensors, drawing, folder)

    draw_once(frame.project, header, wanted, draw)


def _draw_segments(
    frame: Frame,
    plan: Plan,
    header: Header,
    tensors: Mapping[str, np.ndarray],
    drawing: Mapping[str, Any],
    folder: Path,
) -> None:
    """Overlays of each curve's best slot for a few images, and predicted masks as PNG."""
    cuts, slots = open_slots(frame, plan)
    photos = Photos(frame, header, None if drawing["images"] == "None" else Path(drawing["images"]))
    for target in plan.targets:
        read = readings(plan, target, tensors, cut_starts(cuts), slots)
        if drawing["examples"]:
            best = best_slots(header, tensors, target.title)
            sheet = _sheet(plan, header, tensors, target, [(number, read[number]) for number in best], photos, drawing)
            save_picture(sheet, folder / f"overlays-{target.title}.png")
        if drawing["predicted"] != "none":
            _write_masks(frame, plan, header, tensors, target, read, drawing["predicted"], folder)


def _sheet(
    plan: Plan,
    header: Header,
    tensors: Mapping[str, np.ndarray],
    target: Classes,
    read: Sequence[tuple[int, Reading]],
    photos: Photos,
    drawing: Mapping[str, Any],
) -> Any:
    """One sheet, one row per image: photograph, ground truth, and the best slot of each curve."""
    places = np.linspace(0, len(plan.scored) - 1, min(drawing["examples"], len(plan.scored))).round().astype(int)
    score = tensors[f"{target.title}.miou"].max(1)
    columns = [
        Column(line.name, f"layer {plan.slots[number]['layer']}, mIoU {score[number]:.2f}")
        for line, (number, _) in zip(curve_lines(header), read, strict=True)
    ]
    scenes = []
    for place in dict.fromkeys(places.tolist()):
        number = plan.scored[place]
        image = plan.images[number]
        truth = target.labels(plan.masks.read(plan.keys[place], image))
        found = [predict(one, number, truth.shape, plan.recipe.params["to_pixels"]) for _, one in read]
        scenes.append(Scene(Path(image["path"]).stem, photos(number), truth, tuple(found)))
    return overlay_sheet(scenes, columns, target.names, target.background)


def _write_masks(
    frame: Frame,
    plan: Plan,
    header: Header,
    tensors: Mapping[str, np.ndarray],
    target: Classes,
    read: Sequence[Reading],
    which: str,
    folder: Path,
) -> None:
    """Predicted masks of class ids, of every image of the cut: predicted/TARGET/CUT/MODEL-TAP-layer-N/IMAGE.png."""
    chosen = best_slots(header, tensors, target.title) if which == "best" else range(len(read))
    with frame.output.progress(f"writing masks ({target.title})", len(chosen) * len(plan.images), "masks") as advance:
        for number in chosen:
            slot = plan.slots[number]
            place = f"{slot['model']}-{slot['tap']}-layer-{slot['layer']}".replace("/", "-")
            below = folder / "predicted" / target.title / plan.cuts[plan.cut_of[number]].name / place

            def write_mask(image: int, below: Path = below, read: Reading = read[number]) -> None:
                about = plan.images[image]
                size = (about["height"], about["width"])
                found = predict(read, image, size, plan.recipe.params["to_pixels"])
                picture = mask_picture(found, target.ids, target.background)
                save_picture(picture, below / Path(about["path"]).with_suffix(".png"))

            share_items([set()] * len(plan.images), write_mask, lambda _: advance(1))
