"""The output of `segment --method agnostic`: the table, COCO JSON of all masks, and a PNG per image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.commands.segment.proposed import masks_of
from alignedcut_cli.frame.output import as_csv, table
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.pictures import draw_once, file_stem
from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.report.proposals import Panel, coco_objects, proposal_sheet
from alignedcut_cli.report.sheets import save_picture
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.segment.asked import Asked
    from alignedcut_cli.frame.run import Frame

__all__ = ["draw_agnostic", "flat_rows", "result_rows", "result_table"]


def result_rows(header: Header, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per slot: masks per image, their mean score, and how well they cover the regions, where known."""
    names = [given["name"] for given in header.raw["inputs"]]
    images, rows = header.axes["B"]["size"], []
    for number, slot in enumerate(header.axes["S"]["slots"]):
        mine = tensors["proposals"][:, 1] == number
        row: dict[str, Any] = {"cut": names[slot["cut"]], "model": slot["model"], "tap": slot["tap"]}
        row |= {"layers": layer_name(slot), "masks": float(mine.sum() / images)}
        row |= {"silhouette": float(tensors["scores"][mine].mean()) if mine.any() else None}
        if "values" in tensors:
            row |= dict(zip(header.axes["Z"]["labels"], map(float, tensors["values"][number]), strict=True))
            row["interval"] = [float(one) for one in tensors["interval"][number]] if "interval" in tensors else None
        rows.append(row)
    return rows


def flat_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the ends of the interval as separate columns."""
    found = []
    for row in rows:
        flat = {key: value for key, value in row.items() if key != "interval"}
        if "interval" in row:
            flat |= dict(zip(("low", "high"), row["interval"] or (None, None), strict=True))
        found.append(flat)
    return found


def result_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table; the largest mean best IoU has a star."""
    scored = "best IoU" in rows[0]
    head = ["cut", "tap", "layer", "masks an image", "silhouette"]
    head += ["best IoU", "95%", "recall at 1", "at 10", "at 100", ""] if scored else []
    peak = max(rows, key=lambda row: row["best IoU"]) if scored else None
    body = []
    for row in rows:
        silhouette = "-" if row["silhouette"] is None else f"{row['silhouette']:.2f}"
        cells = [row["cut"], row["tap"], row["layers"], f"{row['masks']:.1f}", silhouette]
        if scored:
            interval = "{:.3f}-{:.3f}".format(*row["interval"]) if row["interval"] else "-"
            recalls = [f"{row[f'recall at {limit}']:.3f}" for limit in (1, 10, 100)]
            cells += [f"{row['best IoU']:.3f}", interval, *recalls, "*" if row is peak else ""]
        body.append(cells)
    return table([head, *body])


def draw_agnostic(
    frame: Frame, header: Header, tensors: Mapping[str, np.ndarray], rows: Sequence[Mapping[str, Any]], asked: Asked
) -> Path:
    """Write the table, a COCO JSON per slot, and a sheet per image, unless they already show this content; the folder."""
    folder = frame.project.pictures("segment", header.name)
    wanted = {"content": header.content, "images": str(asked.images), "examples": asked.examples}

    def draw() -> None:
        writing_text(folder / "table.csv", as_csv(flat_rows(rows)))
        _write(frame, header, tensors, asked, folder)

    draw_once(frame.project, header, wanted, draw)
    return folder


def _write(frame: Frame, header: Header, tensors: Mapping[str, np.ndarray], asked: Asked, folder: Path) -> None:
    slots, images = header.axes["S"]["slots"], header.axes["B"]["images"]
    names = [given["name"] for given in header.raw["inputs"]]
    photos = Photos(frame, header, asked.images)
    how = header.params.get("to_pixels", "bilinear")
    shown = set(np.linspace(0, len(images) - 1, min(asked.examples, len(images))).round().astype(int).tolist())
    found: list[list[dict[str, Any]]] = [[] for _ in slots]
    with frame.output.progress("writing masks", len(images), "images") as advance:
        for image, about in enumerate(images):
            panels = []
            for number, slot in enumerate(slots):
                size = (about["height"], about["width"])
                masks = list(masks_of(tensors, slots, image, number, size, how))
                found[number] += coco_objects(image + 1, masks, first=len(found[number]) + 1)
                title = f"{names[slot['cut']]} · {layer_name(slot)}"
                panels.append(Panel(title, masks))
            if image in shown:
                name = f"{image:04d}-{file_stem(Path(about['path']).stem)}.png"
                save_picture(proposal_sheet(photos(image), panels, (about["height"], about["width"])), folder / name)
            advance(1)
    listed = [
        {"id": number + 1, "file_name": one["path"], "height": one["height"], "width": one["width"]}
        for number, one in enumerate(images)
    ]
    for slot, mine in zip(slots, found, strict=True):
        place = f"{slot['model']}-{slot['tap']}-layer-{layer_name(slot)}".replace("/", "-").replace(" ", "")
        whole = {"images": listed, "categories": [{"id": 1, "name": "object"}], "annotations": mine}
        writing_text(folder / names[slot["cut"]] / f"{place}.json", json.dumps(whole) + "\n")
