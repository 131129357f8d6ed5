"""Class-agnostic masks as COCO annotations, and as one sheet per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from alignedcut_cli.report.segments import class_colours
from alignedcut_cli.report.sheets import ABSENT, GAP, INK, PAPER, fitting, sized_font

__all__ = ["Panel", "coco_objects", "proposal_sheet"]

SIDE, SHOWN = 180, 8
"""The side of a cell in pixels, and the most masks of a slot on a sheet."""
Masks = Sequence[tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Panel:
    """The masks (score, (H, W) bool) of one slot, the best first, and the slot's title."""

    title: str
    masks: Masks


def coco_objects(image: int, masks: Masks, first: int) -> list[dict[str, Any]]:
    """COCO annotations of an image's masks, numbered from `first`: compressed RLE, box, area, and score."""
    from pycocotools import mask as coco

    found = []
    for number, (score, mask) in enumerate(masks):
        runs: Any = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        found.append(
            {
                "id": first + number,
                "image_id": image,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode()},
                "bbox": [float(one) for one in coco.toBbox(runs)],
                "area": int(coco.area(runs)),
                "score": round(score, 6),
            }
        )
    return found


def proposal_sheet(photo: Image.Image | None, panels: Sequence[Panel], size: tuple[int, int]) -> Image.Image:
    """The photograph and the eight best masks, a row per slot; pixels outside a mask are darkened."""
    scale = SIDE / max(size)
    cell = max(8, round(size[1] * scale)), max(8, round(size[0] * scale))
    head, band = 18, 16
    canvas = Image.new("RGB", (GAP + (1 + SHOWN) * (cell[0] + GAP), len(panels) * (head + band + cell[1] + GAP)), PAPER)
    pen = ImageDraw.Draw(canvas)
    plain = (photo or Image.new("RGB", cell, ABSENT)).convert("RGB").resize(cell)
    colours = class_colours(SHOWN, None)
    for row, panel in enumerate(panels):
        top = row * (head + band + cell[1] + GAP)
        told = f"{panel.title}: {len(panel.masks)} masks"
        pen.text((GAP, top + 2), fitting(told, sized_font(13), canvas.width - 2 * GAP), INK, sized_font(13))
        canvas.paste(plain, (GAP, top + head + band))
        for place, (score, mask) in enumerate(panel.masks[:SHOWN]):
            left = GAP + (place + 1) * (cell[0] + GAP)
            pen.text((left, top + head), f"{place + 1}: {score:.2f}", INK, sized_font(11))
            canvas.paste(_shown(plain, mask, tuple(colours[place].tolist())), (left, top + head + band))
    return canvas


def _shown(photo: Image.Image, mask: np.ndarray, colour: tuple[int, ...]) -> Image.Image:
    inside = Image.fromarray(mask).convert("L").resize(photo.size, Image.Resampling.NEAREST)
    dark = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size, "black"), 0.65)
    tinted = Image.blend(photo, Image.new("RGB", photo.size, colour), 0.35)
    return Image.composite(tinted, dark, inside)
