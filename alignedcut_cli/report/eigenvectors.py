"""The eigenvectors of one image as a grid of maps: the photograph, then a map per eigenvector, rows of cells per slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.report.sheets import ABSENT, GAP, INK, PAPER, fitting, sized_font

__all__ = ["eigenvector_sheet"]

CELL, COLUMNS = 96, 8


def eigenvector_sheet(
    maps: Sequence[np.ndarray],
    limits: Sequence[np.ndarray],
    slots: Sequence[Mapping[str, Any]],
    photo: Image.Image | None,
) -> Image.Image:
    """Maps (rows, cols, C) of one image slot by slot, each eigenvector blue to red from -limit to limit (C,).

    The photograph precedes the first map of each slot; a line above names its model, graph and layers.
    """
    title, head = 20, 14
    size = _size(photo, maps[0].shape[:2])
    count = 1 + maps[0].shape[2]
    lines = -(-count // COLUMNS)
    band = title + lines * (head + size[1] + GAP)
    canvas = Image.new("RGB", (GAP + min(count, COLUMNS) * (size[0] + GAP), GAP + len(maps) * band), PAPER)
    pen = ImageDraw.Draw(canvas)
    colours = matplotlib.colormaps["RdBu_r"]
    for row, (values, limit, slot) in enumerate(zip(maps, limits, slots, strict=True)):
        top = GAP + row * band
        label = f"{slot['model']} · {slot['tap']} · layer {layer_name(slot)}"
        pen.text((GAP, top), fitting(label, sized_font(14), canvas.width - 2 * GAP), INK, sized_font(14))
        for place in range(count):
            line, column = divmod(place, COLUMNS)
            left, upper = GAP + column * (size[0] + GAP), top + title + line * (head + size[1] + GAP)
            name = "photo" if place == 0 else str(place)
            pen.text((left + size[0] / 2, upper + head - 2), name, INK, sized_font(11), anchor="md")
            canvas.paste(_cell(values, limit, place, photo, size, colours), (left, upper + head))
    return canvas


def _cell(
    values: np.ndarray, limit: np.ndarray, place: int, photo: Image.Image | None, size: tuple[int, int], colours: Any
) -> Image.Image:
    if place == 0:
        return photo.resize(size) if photo else Image.new("RGB", size, ABSENT)
    unit = values[..., place - 1] / (2 * limit[place - 1]) + 0.5
    painted = (colours(unit.clip(0, 1))[..., :3] * 255).round().astype(np.uint8)
    return Image.fromarray(painted).resize(size, Image.Resampling.NEAREST)


def _size(photo: Image.Image | None, grid: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of a cell: the photograph's proportions, or the grid's."""
    height, width = (photo.height, photo.width) if photo else grid
    scale = CELL / max(height, width)
    return max(24, round(width * scale)), max(24, round(height * scale))
