"""Pictures of single patches: crops of photographs around them, and the similarity of one patch to all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from alignedcut_cli.report.sheets import ABSENT, GAP, INK, PAPER, fitting, sized_font

__all__ = ["crop_strip", "similarity_sheet"]

MARK = (255, 120, 0)
AROUND = 2
Photo = Callable[[int], Image.Image | None]


def crop_strip(places: Sequence[tuple[int, int, int]], grid: tuple[int, int], photo: Photo, count: int) -> np.ndarray:
    """Crops around patches (image, row, col) side by side, each patch framed: uint8 (side, about count * side, 3).

    A crop shows two patches on either side; outside the photograph it is grey.
    """
    side = 110
    canvas = Image.new("RGB", (count * (side + GAP) - GAP, side), PAPER)
    for number, (image, row, column) in enumerate(places):
        canvas.paste(_crop(photo(image), row, column, grid, side), (number * (side + GAP), 0))
    return np.asarray(canvas)


def _crop(picture: Image.Image | None, row: int, column: int, grid: tuple[int, int], side: int) -> Image.Image:
    cell = Image.new("RGB", (side, side), ABSENT)
    if picture is None:
        return cell
    step = side / (2 * AROUND + 1)
    whole = picture.resize((round(step * grid[1]), round(step * grid[0])), Image.Resampling.BICUBIC)
    cell.paste(whole, (round((AROUND - column) * step), round((AROUND - row) * step)))
    low, high = round(AROUND * step), round((AROUND + 1) * step)
    ImageDraw.Draw(cell).rectangle((low, low, high, high), outline=MARK, width=2)
    return cell


def similarity_sheet(
    title: str,
    heads: Sequence[str],
    grids: Sequence[np.ndarray],
    pixel: tuple[int, int, int],
    shown: Sequence[int],
    names: Sequence[str],
    photo: Photo,
    cell: int = 72,
) -> Image.Image:
    """Heat maps of one patch's similarity: a row per image (`shown`): the photograph, then a column per slot.

    `grids` are similarities (B, rows, cols) slot by slot, each coloured from its own 1% to its 99% quantile (dark to
    bright); `pixel` (image, row, col) in the first grid is framed; `heads` are the columns' titles, lines split by newlines.
    """
    colours = matplotlib.colormaps["inferno"]
    margin = 12 + min(150, int(max(sized_font(12).getlength(names[image]) for image in shown)))
    lines = max(head.count("\n") for head in heads) + 1
    top = 28 + 15 * lines
    width = margin + (1 + len(grids)) * (cell + GAP)
    canvas = Image.new("RGB", (width, top + len(shown) * (cell + GAP)), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), fitting(title, sized_font(14), width - 8), INK, sized_font(14))
    for column, head in enumerate(["photo", *heads]):
        middle = margin + column * (cell + GAP) + cell / 2
        pen.multiline_text((middle, top - 3), head, INK, sized_font(11), anchor="md", align="center", spacing=2)
    ranges = [np.quantile(grid.astype(np.float32), [0.01, 0.99]) for grid in grids]
    for line, image in enumerate(shown):
        y = top + line * (cell + GAP)
        pen.text(
            (margin - 8, y + cell / 2),
            fitting(names[image], sized_font(12), margin - 12),
            INK,
            sized_font(12),
            anchor="rm",
        )
        _paste(canvas, photo(image), (margin, y), cell)
        for column, (grid, (low, high)) in enumerate(zip(grids, ranges, strict=True), 1):
            unit = (grid[image].astype(np.float32) - low) / (high - low if high > low else 1)
            painted = (colours(unit.clip(0, 1))[..., :3] * 255).round().astype(np.uint8)
            _paste(canvas, Image.fromarray(painted), (margin + column * (cell + GAP), y), cell)
        if image == pixel[0]:
            _frame(pen, pixel, grids, (margin, y), cell)
    return canvas


def _paste(canvas: Image.Image, picture: Image.Image | None, at: tuple[int, int], cell: int) -> None:
    if picture is None:
        canvas.paste(ABSENT, (*at, at[0] + cell, at[1] + cell))
        return
    canvas.paste(picture.resize((cell, cell), Image.Resampling.NEAREST if picture.width < cell else None), at)


def _frame(
    pen: ImageDraw.ImageDraw, pixel: tuple[int, int, int], grids: Sequence[np.ndarray], at: tuple[int, int], cell: int
) -> None:
    rows, columns = grids[0].shape[1:]
    step = (cell / columns, cell / rows)
    for number in range(len(grids) + 1):
        left = at[0] + number * (cell + GAP) + pixel[2] * step[0]
        top = at[1] + pixel[1] * step[1]
        pen.rectangle((left - 1, top - 1, left + step[0], top + step[1]), outline=(0, 220, 80), width=2)
