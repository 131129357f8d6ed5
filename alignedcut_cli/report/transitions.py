"""Pictures of transitions between the concepts of successive layers (Fig. 10), drawn with Pillow for thousands of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from alignedcut_cli.report.sheets import INK, PAPER, fitting, sized_font
from alignedcut_cli.store.header import Header

__all__ = ["dots_of", "path_colour", "transition_picture"]

_DOTS = 4000
_NUMBERED = 12
_LEFT, _TOP, _GAP, _HEAD, _FOOT = 44, 46, 52, 24, 28
_GREY = (160, 174, 192)
_EDGE = (226, 232, 240)
_SUPERSAMPLED = 2
Tensors = Mapping[str, np.ndarray]
Colour = tuple[int, int, int]


def path_colour(number: int) -> Colour:
    """The colour of a concept or an example path: ten distinguishable ones, repeated."""
    red, green, blue, _ = matplotlib.colormaps["tab10"](number % 10, bytes=True)
    return int(red), int(green), int(blue)


def dots_of(tensors: Tensors, slot: int) -> np.ndarray:
    """Node ids of the patches of a slot, thinned evenly to 4000."""
    mine = np.flatnonzero((tensors["nodes"][:, 1] == slot) & (tensors["nodes"][:, 2] >= 0))
    return mine[:: max(1, -(-len(mine) // _DOTS))]


def transition_picture(header: Header, tensors: Tensors, model: str) -> Image.Image:
    """One model: a row for each pair of layers with the two layers' concepts in the map, and a matrix for each group."""
    pairs = [number for number, pair in enumerate(header.axes["K"]["pairs"]) if pair["model"] == model]
    groups = header.axes["H"]["labels"]
    columns = 2 + len(groups)
    size = min(660, max(320, 50 * (header.axes["A"]["size"] + 2)))
    step, band = size + _GAP, _HEAD + size + _FOOT
    canvas = Image.new("RGB", (_LEFT + columns * step, _TOP + len(pairs) * band), PAPER)
    title = f"{model}: transition probabilities between concepts of successive layers, and nodes (blank: none)"
    pen = ImageDraw.Draw(canvas)
    place, font = _Frame(tensors["coordinates"][:, :2], size), sized_font(20)
    pen.text((canvas.width / 2, 8), fitting(title, font, canvas.width - 16), INK, font, anchor="mt")
    for line, number in enumerate(pairs):
        pair = header.axes["K"]["pairs"][number]
        top = _TOP + line * band
        lefts = [_LEFT + column * step for column in range(columns)]
        names = [f"layer {pair['from']}: concepts A", f"layer {pair['to']}: concepts B"]
        names += [f"{group}: layer {pair['from']} to {pair['to']}" for group in groups]
        for left, name in zip(lefts, names, strict=True):
            shown = fitting(name, sized_font(15), size)
            pen.text((left + size / 2, top + _HEAD - 6), shown, INK, sized_font(15), anchor="md")
        for left, slot, name in zip(lefts[:2], tensors["pairs"][number], "AB", strict=True):
            canvas.paste(_concepts(header, tensors, int(slot), name, place), (left, top + _HEAD))
        for group, left in enumerate(lefts[2:]):
            counts, shares = tensors["counts"][number, group], tensors["transitions"][number, group]
            _draw_matrix(pen, counts, shares, (left, top + _HEAD), size)
        if "p" in tensors:
            middle = (lefts[2] + lefts[-1] + size) / 2
            below = top + _HEAD + size * header.axes["A"]["size"] // (header.axes["A"]["size"] + 1) + 24
            pen.text((middle, below), _verdict(tensors, number), INK, sized_font(13), anchor="mt")
    return canvas


def _concepts(header: Header, tensors: Tensors, slot: int, name: str, place: _Frame) -> Image.Image:
    """One layer's nodes in the map, coloured by concept (grey: none), with the balls if they are of the map."""
    ids, size = dots_of(tensors, slot), place.size
    concepts = tensors["concepts"][ids]
    number = [about["slot"] for about in header.axes["L"]["slots"]].index(slot)
    centres = place(tensors["coordinates"][tensors["centres"][number], :2])  # (k, 2)
    palette = np.array([*(path_colour(concept) for concept in range(len(centres))), _GREY], np.uint8)
    order = np.argsort(concepts, kind="stable")  # draws those in no concept first
    canvas = _stamped(place(tensors["coordinates"][ids[order], :2]), palette[concepts[order]], size)
    pen = ImageDraw.Draw(canvas)
    if header.params["measure"] == "map" and header.axes["d"]["size"] == 2:
        reach = float(tensors["radii"][number]) * place.scale
        for concept, (x, y) in enumerate(centres.tolist()):
            box = tuple(_SUPERSAMPLED * edge for edge in (x - reach, y - reach, x + reach, y + reach))
            pen.ellipse(box, outline=path_colour(concept), width=_SUPERSAMPLED)
    drawn = canvas.reduce(_SUPERSAMPLED)
    pen = ImageDraw.Draw(drawn)
    font = sized_font(12)
    for concept, (x, y) in enumerate(centres.tolist()):
        half = font.getlength(f"{name}{concept}") / 2 + 3
        pen.rounded_rectangle((x - half, y - 9, x + half, y + 9), 4, fill=path_colour(concept))
        pen.text((x, y), f"{name}{concept}", PAPER, font, anchor="mm")
    pen.rectangle((0, 0, size - 1, size - 1), outline=_EDGE)
    return drawn


class _Frame:
    """Map coordinates as pixels of a square of `size`: equal scale on both axes, the second upwards."""

    def __init__(self, places: np.ndarray, size: int) -> None:
        self._low, self._high = places.min(0), places.max(0)
        extent = float((self._high - self._low).max()) or 1.0
        self.scale = size / (1.08 * extent)
        self.size = size

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Pixels (n, 2), x to the right and y downwards."""
        found = (places - (self._low + self._high) / 2) * self.scale
        return found * (1, -1) + self.size / 2


def _stamped(places: np.ndarray, colours: np.ndarray, size: int) -> Image.Image:
    """Dots (n, 2) of the given colours (n, 3), later ones on top, at twice the size."""
    side = _SUPERSAMPLED * size
    pixels = np.full((side, side, 3), 255, np.uint8)
    reach = _SUPERSAMPLED
    offsets = [
        (dx, dy)
        for dx in range(-reach, reach + 1)
        for dy in range(-reach, reach + 1)
        if dx * dx + dy * dy <= reach * reach + 1
    ]
    centres = np.rint(_SUPERSAMPLED * places).astype(np.int64)
    spread = centres[:, None] + np.array(offsets)  # (n, offsets, 2)
    x, y = np.clip(spread.reshape(-1, 2), 0, side - 1).T
    pixels[y, x] = np.repeat(colours, len(offsets), 0)
    return Image.fromarray(pixels)


def _draw_matrix(
    pen: ImageDraw.ImageDraw, counts: np.ndarray, shares: np.ndarray, at: tuple[int, int], size: int
) -> None:
    """P(B_j | A_i) as darkness and number, with the number of nodes; the nodes of each row at the left.

    With more than 12 concepts there is no room for numbers: see the table.
    """
    rows, columns = shares.shape
    left, top = at
    cell = size / max(rows, columns)
    for i, j in np.argwhere(shares > 0).tolist():
        grey = round(255 * (1 - float(shares[i, j])))
        box = (left + j * cell, top + i * cell, left + (j + 1) * cell - 1, top + (i + 1) * cell - 1)
        pen.rectangle(box, fill=(grey, grey, grey))
    pen.rectangle((left, top, left + columns * cell, top + rows * cell), outline=_GREY)
    if rows > _NUMBERED:
        return
    font, small = sized_font(13), sized_font(12)
    for i, j in np.argwhere(counts[:-1]).tolist():
        colour = PAPER if shares[i, j] > 0.5 else INK
        middle = (left + (j + 0.5) * cell, top + (i + 0.5) * cell)
        _two_lines(pen, middle, (f"{shares[i, j]:.2f}", _short(counts[i, j])), colour, small)
    for j in range(columns):
        label = "none" if j == rows else f"B{j}"
        pen.text((left + (j + 0.5) * cell, top + rows * cell + 15), label, INK, font, anchor="ms")
    for i in range(rows):
        lines = (f"A{i}", _short(counts[i].sum()))
        _two_lines(pen, (left - 20, top + (i + 0.5) * cell), lines, INK, font)


def _two_lines(
    pen: ImageDraw.ImageDraw, middle: tuple[float, float], lines: Sequence[str], colour: Colour, font: Any
) -> None:
    x, y = middle
    pen.text((x, y - 1), lines[0], colour, font, anchor="ms")
    pen.text((x, y + 2), lines[1], colour, font, anchor="mt")


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def _verdict(tensors: Tensors, number: int) -> str:
    return (
        f"foreground from background: {tensors['variation'][number]:.2f}; matched {tensors['matched'][number]:.2f} "
        f"(chance {tensors['matched.expected'][number]:.2f}, p {tensors['p'][number]:.3f}, "
        f"Holm {tensors['p.holm'][number]:.3f})"
    )
