"""Colour pictures: for each image a row of its layers, and one contact sheet (images x layers) per model."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from alignedcut_cli.nodes.slots import layer_name

__all__ = [
    "COMPRESSION",
    "Sheet",
    "by_model",
    "colour_grids",
    "contact_sheet",
    "fitting",
    "image_rows",
    "save_picture",
    "sized_font",
]

GAP = 4
INK = (20, 20, 20)
PAPER = (255, 255, 255)
ABSENT = (225, 225, 225)
COMPRESSION = 3
"""zlib's level for pictures: two thirds of the time of its default, for a tenth more bytes."""
_SCALES = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Sheet:
    """How cells are drawn: their longer side in pixels, how patches are enlarged, and the opacity of the photo."""

    cell: int
    upscale: str = "nearest"
    overlay: float = 0.0

    def paint(self, grid: np.ndarray, photo: Image.Image | None, size: tuple[int, int]) -> Image.Image:
        """One layer of one image: patch colours (rows, cols, 3) uint8 enlarged to `size`, overlaid on the photo."""
        cell = Image.fromarray(grid).resize(size, _SCALES[self.upscale])
        return Image.blend(photo.resize(size), cell, 1 - self.overlay) if photo and self.overlay else cell


def colour_grids(nodes: np.ndarray, colours: np.ndarray, slots: Sequence[Mapping[str, Any]]) -> dict[int, np.ndarray]:
    """For each slot the colours of its patches: {slot: (B, rows, cols, 3) uint8}.

    `nodes` (M, 4) is the table (image, slot, row, col), `colours` (M, 3) uint8; class tokens are left out.
    """
    images = int(nodes[:, 0].max()) + 1
    grids = {}
    for number, slot in enumerate(slots):
        mine = (nodes[:, 1] == number) & (nodes[:, 2] >= 0)
        grid = np.zeros((images, *slot["grid"], 3), np.uint8)
        grid[nodes[mine, 0], nodes[mine, 2], nodes[mine, 3]] = colours[mine]
        grids[number] = grid
    return grids


def by_model(slots: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """The slots of each model (with its tap), in order of layer."""
    found: dict[str, list[int]] = {}
    for number, slot in enumerate(slots):
        found.setdefault(f"{slot['model']} · {slot['tap']}", []).append(number)
    return found


@functools.cache
def sized_font(size: int) -> Any:
    """Pillow's own font at a size in pixels; decoding it takes longer than a word."""
    return ImageFont.load_default(size)


def fitting(text: str, font: Any, width: float) -> str:
    """The text, shortened in its middle until it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 1 and font.getlength(f"{text[: keep // 2]}…{text[len(text) - keep // 2 :]}") > width:
        keep -= 1
    return f"{text[: keep // 2]}…{text[len(text) - keep // 2 :]}"


def _place(sheet: Image.Image, photo: Image.Image | None, size: tuple[int, int], at: tuple[int, int]) -> None:
    if photo:
        sheet.paste(photo.resize(size), at)
    else:
        ImageDraw.Draw(sheet).rectangle((*at, at[0] + size[0] - 1, at[1] + size[1] - 1), fill=ABSENT)


def image_rows(
    sheet: Sheet,
    grids: Mapping[int, np.ndarray],
    slots: Sequence[Mapping[str, Any]],
    image: int,
    photo: Image.Image | None,
) -> Image.Image:
    """One image's picture: for each model a row with the photo and its layers, in the photo's own proportions."""
    width, height = _cell_size(sheet.cell, photo)
    rows = by_model(slots)
    columns = 1 + max(len(numbers) for numbers in rows.values())
    title, head = 22, 18
    band = title + head + height + GAP
    canvas = Image.new("RGB", (GAP + columns * (width + GAP), GAP + len(rows) * band), PAPER)
    pen = ImageDraw.Draw(canvas)
    for line, (model, numbers) in enumerate(rows.items()):
        top = GAP + line * band
        pen.text((GAP, top), fitting(model, sized_font(16), canvas.width - 2 * GAP), INK, sized_font(16))
        _place(canvas, photo, (width, height), (GAP, top + title + head))
        for column, number in enumerate(numbers, 1):
            left = GAP + column * (width + GAP)
            label = fitting(f"layer {layer_name(slots[number])}", sized_font(13), width)
            pen.text((left + width / 2, top + title + head - 2), label, INK, sized_font(13), anchor="md")
            canvas.paste(sheet.paint(grids[number][image], photo, (width, height)), (left, top + title + head))
    return canvas


def _cell_size(longest: int, photo: Image.Image | None) -> tuple[int, int]:
    if photo is None:
        return longest, longest
    scale = longest / max(photo.size)
    return max(24, round(photo.width * scale)), max(24, round(photo.height * scale))


def contact_sheet(
    sheet: Sheet,
    grids: Mapping[int, np.ndarray],
    slots: Sequence[Mapping[str, Any]],
    numbers: Sequence[int],
    names: Sequence[str],
    photo: Callable[[int], Image.Image | None],
    legend: str = "",
) -> Image.Image:
    """The contact sheet of one model (the slots `numbers`): a row per image, a column per layer, all cells square.

    `legend` stands below the model's name.
    """
    side, font = sheet.cell, sized_font(12)
    margin = 12 + min(160, int(max(font.getlength(name) for name in names)))
    columns = 1 + len(numbers)
    width = margin + columns * (side + GAP)
    lines = textwrap.wrap(legend, max(12, int((width - 2 * GAP) / font.getlength("n"))))
    head = 46 + 15 * len(lines)
    canvas = Image.new("RGB", (width, head + len(names) * (side + GAP)), PAPER)
    pen = ImageDraw.Draw(canvas)
    for line, text in enumerate(lines):
        pen.text((GAP, GAP + 22 + 15 * line), text, INK, font)
    first = slots[numbers[0]]
    pen.text(
        (GAP, GAP), fitting(f"{first['model']} · {first['tap']}", sized_font(16), canvas.width - 8), INK, sized_font(16)
    )
    for column, text in enumerate(["photo", *(f"L{layer_name(slots[number])}" for number in numbers)]):
        pen.text((margin + column * (side + GAP) + side / 2, head - 4), text, INK, font, anchor="md")
    for row, name in enumerate(names):
        top = head + row * (side + GAP)
        pen.text((margin - 8, top + side / 2), fitting(name, font, margin - 12), INK, font, anchor="rm")
        shown = photo(row)
        _place(canvas, shown, (side, side), (margin, top))
        for column, number in enumerate(numbers, 1):
            painted = sheet.paint(grids[number][row], shown, (side, side))
            canvas.paste(painted, (margin + column * (side + GAP), top))
    return canvas


def save_picture(canvas: Image.Image, path: Path) -> None:
    """Write a PNG atomically."""
    from alignedcut_cli.store.files import writing

    with writing(path, lasting=False) as temporary:
        canvas.save(temporary, format="PNG", compress_level=COMPRESSION)
