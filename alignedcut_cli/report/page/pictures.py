"""Thumbnails and sheets as pictures within the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from alignedcut_cli.report.page.html import Safe, joined, tag

__all__ = ["MOST_SHEETS", "data_uri", "sheets", "thumbnail", "thumbnail_side"]

MOST_SHEETS = 12


def thumbnail_side(count: int) -> int:
    """The longer side of a thumbnail in pixels, if `count` are shown."""
    return 256 if count <= 32 else 160


def thumbnail(photo: Image.Image, side: int) -> Image.Image:
    small = photo.convert("RGB")
    small.thumbnail((side, side))
    return small


def data_uri(picture: Image.Image, kind: str) -> str:
    """A picture as a data URI: JPEG or PNG."""
    held = io.BytesIO()
    picture.save(held, kind, **({"quality": 82} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(held.getvalue()).decode('ascii')}"


def sheets(images: Sequence[Mapping[str, Any]], slots: Sequence[Mapping[str, Any]], rgb: np.ndarray | None) -> Safe:
    """For the first photographs, a strip per model: the photograph, and the colours of its patches layer by layer.

    `rgb` (n, 3) uint8 are the colours of the nodes shown; without them there are only photographs.
    """
    models: dict[str, list[Mapping[str, Any]]] = {}
    for slot in slots if rgb is not None else []:
        models.setdefault(f"{slot['model']} · {slot['tap']}", []).append(slot)
    parts = []
    for number, image in enumerate(images[:MOST_SHEETS]):
        photo = tag("img", src=image["thumb"], alt="", height=72) if image["thumb"] else None
        rows = [_strip(image["name"], number, model, mine, rgb) for model, mine in models.items() if rgb is not None]
        parts.append(tag("figure", tag("figcaption", image["name"]), tag("div", photo, *rows, cls="strips")))
    count = min(len(images), MOST_SHEETS)
    told = (
        f"{count} of {len(images)} photographs shown, layers from left to right" if models else f"{count} photographs"
    )
    shown = joined([tag("p", f"{told}."), *parts])
    return tag("details", tag("summary", "Sheets that need no script"), shown, cls="sheets folded-live", open=True)


def _strip(name: str, number: int, model: str, slots: Sequence[Mapping[str, Any]], rgb: np.ndarray) -> Safe:
    """The layers of one model on one photograph as one small picture, a pixel per patch, enlarged by the browser."""
    rows, columns = slots[0]["rows"], slots[0]["cols"]
    cells = []
    for slot in slots:
        if (slot["rows"], slot["cols"]) != (rows, columns):
            continue
        start = slot["start"] + number * rows * columns
        cells.append(rgb[start : start + rows * columns].reshape(rows, columns, 3))
    gap = np.full((rows, 1, 3), 255, np.uint8)
    whole = np.hstack([part for cell in cells for part in (cell, gap)][:-1])
    picture = data_uri(Image.fromarray(whole), "PNG")
    layers = ", ".join(str(slot["layer"]) for slot in slots)
    alt = f"{model}, layers {layers}, colours of the patches of {name}"
    height = 72
    strip = tag("img", src=picture, alt=alt, height=height, width=round(height * whole.shape[1] / rows), cls="pixels")
    return tag("div", tag("small", model), strip)
