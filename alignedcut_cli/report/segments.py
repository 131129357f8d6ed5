"""Pictures of segments: mIoU over layers, overlays next to the ground truth, and predicted masks as palette PNGs."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from alignedcut_cli.report.sheets import GAP, INK, PAPER, fitting, sized_font

__all__ = ["Column", "Scene", "class_colours", "curve_figure", "mask_picture", "overlay_sheet"]

SIDE = 150
TINT = 0.6
VOID_ID = 255
_COLOURS = (
    "e6194b", "3cb44b", "4363d8", "f58231", "911eb4", "42d4f4", "f032e6", "ffe119", "bfef45", "fabed4",
    "469990", "dcbeff", "9a6324", "800000", "aaffc3", "808000", "ffd8b1", "000075",
)  # fmt: skip
_NO_CLASS, _GROUND = (255, 255, 255), (70, 70, 70)


def class_colours(count: int, background: int | None) -> np.ndarray:
    """One colour per class (k, 3) uint8, dark grey for background; beyond 18 others, hues spaced by the golden ratio."""
    fixed = [tuple(int(code[place : place + 2], 16) for place in (0, 2, 4)) for code in _COLOURS]
    more = [
        tuple(round(255 * part) for part in colorsys.hsv_to_rgb(0.618034 * number % 1, 0.55 + 0.4 * (number % 2), 0.9))
        for number in range(max(0, count - len(fixed)))
    ]
    figure = iter([*fixed, *more])
    return np.array([_GROUND if number == background else next(figure) for number in range(count)], np.uint8)


def curve_figure(rows: Sequence[Mapping[str, Any]], method: str) -> Figure:
    """mIoU over layers (Fig. 5), a panel per target and a line per model, with 95 % intervals and a ring at the peak."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    lines = list(dict.fromkeys(row["line"] for row in rows))
    models, cuts = (list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "cut"))
    figure = Figure(figsize=(1.4 + 4.6 * len(targets), 4.2 + 0.17 * len(lines)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(targets)))
    styles = ("-", "--", ":", "-.")
    for axis, target in zip(panels, targets, strict=True):
        for name in lines:
            mine = [row for row in rows if row["target"] == target and row["line"] == name]
            colour = f"C{models.index(mine[0]['model']) % 10}"
            _curve(axis, mine, colour, _style(styles, cuts, models, rows, mine[0]), name)
        axis.set(xlabel="layer", ylabel="mIoU", title=target, ylim=(0, 1))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    wide = int(figure.get_figwidth() * 72 / (50 + 5 * max(map(len, lines))))
    columns = max(1, min(3, wide))
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=columns)
    band = "; band: 95 % over images" if any(row["interval"] for row in rows) else ""
    figure.suptitle(f"{method} segmentation of each layer{band}; ring: best layer", fontsize=10)
    return figure


def _style(
    styles: Sequence[str],
    cuts: Sequence[str],
    models: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    row: Mapping[str, Any],
) -> str:
    """The dash style of a line, by the index of its cut among its model's cuts."""
    mine = list(dict.fromkeys(one["cut"] for one in rows if one["model"] == row["model"]))
    return styles[mine.index(row["cut"]) % len(styles)]


def _curve(axis: Any, rows: Sequence[Mapping[str, Any]], colour: str, style: str, label: str) -> None:
    if len(rows) == 1 and rows[0]["layers"] != str(rows[0]["layer"]):  # a slot of several layers has no x of its own
        axis.axhline(
            rows[0]["miou"], linestyle=style, color=colour, linewidth=1.4, label=f"{label}, {rows[0]['layers']}"
        )
        return
    layers, scores = [row["layer"] for row in rows], [row["miou"] for row in rows]
    axis.plot(layers, scores, style, color=colour, marker="o", markersize=3, linewidth=1.4, label=label)
    if rows[0]["interval"] is not None:
        low, high = zip(*(row["interval"] for row in rows), strict=True)
        axis.fill_between(layers, low, high, color=colour, alpha=0.12, linewidth=0)
    top = int(np.argmax(scores))
    axis.plot(layers[top], scores[top], "o", color=colour, markersize=9, fillstyle="none")


@dataclass(frozen=True)
class Column:
    """The heading of a column of predictions."""

    name: str
    score: str


@dataclass(frozen=True)
class Scene:
    """One image: its photograph (None: missing), and classes by pixel (H, W), -1 for none: ground truth, and each column."""

    name: str
    photo: Image.Image | None
    truth: np.ndarray
    found: tuple[np.ndarray, ...]


def overlay_sheet(
    scenes: Sequence[Scene], columns: Sequence[Column], names: Sequence[str], background: int | None
) -> Image.Image:
    """Photograph, ground truth and predictions side by side, a row per image, below a key of the classes."""
    colours = class_colours(len(names), background)
    width = GAP + (2 + len(columns)) * (SIDE + GAP)
    key = _key(names, colours, width)
    sizes = [_size(scene.truth) for scene in scenes]
    head, title = 36, 16
    canvas = Image.new("RGB", (width, key.height + head + sum(size[1] + title + GAP for size in sizes)), PAPER)
    canvas.paste(key, (0, 0))
    pen = ImageDraw.Draw(canvas)
    for number, column in enumerate([Column("photograph", ""), Column("ground truth", ""), *columns]):
        left = GAP + number * (SIDE + GAP)
        pen.text((left, key.height + 2), fitting(column.name, sized_font(12), SIDE), INK, sized_font(12))
        pen.text((left, key.height + 18), fitting(column.score, sized_font(12), SIDE), INK, sized_font(12))
    top = key.height + head
    for scene, size in zip(scenes, sizes, strict=True):
        pen.text((GAP, top), fitting(scene.name, sized_font(11), width), INK, sized_font(11))
        photo = (scene.photo or Image.new("RGB", size, "white")).convert("RGB").resize(size)
        cells = [photo, *(_overlay(photo, labels, colours, background) for labels in (scene.truth, *scene.found))]
        for number, cell in enumerate(cells):
            canvas.paste(cell, (GAP + number * (SIDE + GAP), top + title))
        top += size[1] + title + GAP
    return canvas


def _size(labels: np.ndarray) -> tuple[int, int]:
    scale = SIDE / max(labels.shape)
    return max(8, round(labels.shape[1] * scale)), max(8, round(labels.shape[0] * scale))


def _overlay(photo: Image.Image, labels: np.ndarray, colours: np.ndarray, background: int | None) -> Image.Image:
    """The photograph in grey, tinted by class; background is darkened, and pixels without class are white."""
    whole = np.vstack([colours, _NO_CLASS])[labels]  # (H, W, 3); -1 takes the last
    tint = Image.fromarray(whole.astype(np.uint8)).resize(photo.size, Image.Resampling.NEAREST)
    return Image.blend(photo.convert("L").convert("RGB"), tint, TINT)


def _key(names: Sequence[str], colours: np.ndarray, width: int) -> Image.Image:
    """The key: the colour of each class, in as many rows as needed, and white for void."""
    font, entries = (
        sized_font(12),
        [*zip(names, map(tuple, colours.tolist()), strict=True), ("void or no class", _NO_CLASS)],
    )
    places, left, line = [], GAP, 0
    for name, _ in entries:
        needed = 14 + int(font.getlength(name)) + 12
        if left + needed > width and left > GAP:
            left, line = GAP, line + 1
        places.append((left, line))
        left += needed
    canvas = Image.new("RGB", (width, 6 + 18 * (line + 1)), PAPER)
    pen = ImageDraw.Draw(canvas)
    for (name, colour), (left, line) in zip(entries, places, strict=True):
        pen.rectangle((left, 5 + 18 * line, left + 10, 15 + 18 * line), colour, INK)
        pen.text((left + 14, 3 + 18 * line), name, INK, font)
    return canvas


def mask_picture(labels: np.ndarray, ids: Sequence[int], background: int | None) -> Image.Image:
    """A mask of class ids from classes (H, W), -1 for none (255; 65535 where an id is above 254).

    A palette PNG where ids fit in 8 bits (in the colours of the overlays), 16-bit grey otherwise.
    """
    deep = max(ids) >= VOID_ID
    void = 65535 if deep else VOID_ID
    values = np.array([*ids, void])[labels]
    if deep:
        return Image.fromarray(values.astype(np.uint16))
    palette = np.full((256, 3), 255, np.uint8)
    palette[list(ids)] = class_colours(len(ids), background)
    picture = Image.fromarray(values.astype(np.uint8)).convert("P")
    picture.frombytes(values.astype(np.uint8).tobytes())
    picture.putpalette(palette.tobytes())
    return picture
