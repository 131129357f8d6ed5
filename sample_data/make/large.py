"""How vehicles, buildings and printed words are drawn, as parts in a unit square (u to the right, v down, -1..1)."""

import numpy as np

from .shapes import Colour, Draws, Part, Shape, box, darker, ellipse, hsv, polygon

__all__ = ["building", "vehicle", "word"]

GLASS, RUBBER, STEEL = (0.65, 0.8, 0.88), (0.1, 0.1, 0.11), (0.72, 0.74, 0.78)
LETTERS = {
    "A": "01110 10001 11111 10001 10001", "B": "11110 10001 11110 10001 11110", "C": "01111 10000 10000 10000 01111",
    "E": "11111 10000 11110 10000 11111", "F": "11111 10000 11110 10000 10000", "H": "10001 10001 11111 10001 10001",
    "K": "10010 10100 11000 10100 10010", "L": "10000 10000 10000 10000 11111", "N": "10001 11001 10101 10011 10001",
    "O": "01110 10001 10001 10001 01110", "P": "11110 10001 11110 10000 10000", "R": "11110 10001 11110 10010 10001",
    "S": "01111 10000 01110 00001 11110", "T": "11111 00100 00100 00100 00100", "X": "10001 01010 00100 01010 10001",
    "Z": "11111 00010 00100 01000 11111",
}  # fmt: skip


def _wheels(xs, y: float, radius: float) -> list[Part]:
    parts = []
    for x in xs:
        parts += [
            Part(ellipse(x, y, radius, radius), RUBBER),
            Part(ellipse(x, y, radius * 0.55, radius * 0.55), STEEL),
            Part(ellipse(x, y, radius * 0.2, radius * 0.2), RUBBER),
        ]
    return parts


def _car(draws: Draws, hue: float, paint: Colour) -> list[Part]:
    roof = draws.between(-0.5, -0.35)
    parts = [
        Part(polygon((-0.65, -0.02), (-0.42, roof), (0.3, roof), (0.62, -0.02)), paint, 0.3),
        Part(polygon((-0.52, -0.02), (-0.36, roof + 0.09), (-0.06, roof + 0.09), (-0.06, -0.02)), GLASS),
        Part(polygon((0.02, -0.02), (0.02, roof + 0.09), (0.25, roof + 0.09), (0.48, -0.02)), GLASS),
        Part(box(-0.95, -0.03, 0.95, 0.34), paint, 0.6),
        Part(box(-0.97, 0.26, 0.97, 0.38), darker(paint, 0.5)),
    ]
    return parts + [
        Part(ellipse(0.9, 0.08, 0.09, 0.07), (1.0, 0.95, 0.6)),
        Part(box(-0.95, 0.04, -0.85, 0.14), (0.5, 0.05, 0.05)),
        *_wheels((-0.55, 0.55), 0.38, draws.between(0.2, 0.25)),
    ]


def _bus(draws: Draws, hue: float, paint: Colour) -> list[Part]:
    parts = [
        Part(box(-0.95, -0.55, 0.95, 0.42), paint, 0.6),
        Part(box(-0.95, 0.34, 0.95, 0.44), darker(paint, 0.5)),
    ]
    parts += [Part(box(x, -0.42, x + 0.3, -0.05), GLASS) for x in (-0.87, -0.5, -0.13, 0.24)]
    return parts + [
        Part(box(0.62, -0.42, 0.92, 0.3), GLASS),
        Part(ellipse(0.9, 0.25, 0.06, 0.06), (1.0, 0.95, 0.6)),
        *_wheels((-0.55, 0.45), 0.45, 0.2),
    ]


def _lorry(draws: Draws, hue: float, paint: Colour) -> list[Part]:
    load = hsv(hue + draws.near(0.0, 0.05), draws.between(0.1, 0.5), draws.between(0.6, 0.95))
    return [
        Part(box(-0.97, -0.6, 0.4, 0.3), load, 1.0),
        Part(polygon((0.43, 0.3), (0.43, -0.35), (0.75, -0.35), (0.95, 0.0), (0.95, 0.3)), paint),
        Part(polygon((0.52, -0.02), (0.52, -0.26), (0.71, -0.26), (0.86, -0.02)), GLASS),
        Part(box(-0.97, 0.26, 0.97, 0.4), (0.25, 0.25, 0.27)),
        Part(box(0.88, 0.1, 0.97, 0.2), (1.0, 0.95, 0.6)),
        *_wheels((-0.65, -0.15, 0.68), 0.42, 0.2),
    ]


def vehicle(draws: Draws, hue: float) -> list[Part]:
    """A car, bus or lorry from the side: body, windows, lamps and wheels."""
    paint = hsv(hue, draws.between(0.45, 0.95), draws.between(0.5, 0.95))
    return draws.pick((_car, _car, _bus, _lorry))(draws, hue, paint)


def _temple(draws: Draws, wall: Colour, roof: Colour, pane: Colour) -> list[Part]:
    parts = [
        Part(box(-0.85, -0.3, 0.85, 0.75), darker(wall, 0.55)),
        Part(polygon((-0.95, -0.3), (0, -0.8), (0.95, -0.3)), wall, 0.5),
        Part(ellipse(0, -0.45, 0.12, 0.1), darker(wall, 0.6)),
        Part(box(-0.95, 0.72, 0.95, 0.9), wall),
    ]
    return parts + [Part(box(x - 0.1, -0.28, x + 0.1, 0.74), wall, 0.4) for x in (-0.72, -0.25, 0.25, 0.72)]


def _windows(half: float, top: float, rows: int, columns: int, pane: Colour) -> list[Part]:
    parts = []
    for row in range(rows):
        for column in range(columns):
            x = half * (-1.0 + (2.0 * column + 1.0) / columns)
            y = top + (0.92 - top) * (row + 0.5) / (rows + 0.35)
            wide, tall = half * 0.55 / columns, 0.28 * (0.92 - top) / rows
            parts.append(Part(box(x - wide, y - tall, x + wide, y + tall), pane))
    return parts


def _house(draws: Draws, wall: Colour, roof: Colour, pane: Colour) -> list[Part]:
    half, top = draws.between(0.62, 0.8), -0.2
    return [
        Part(box(-half, top, half, 0.92), wall, 0.5),
        Part(box(0.25, -0.85, 0.42, -0.3), darker(roof, 0.7)),
        Part(polygon((-half - 0.15, top), (0, -0.92), (half + 0.15, top)), roof, 0.6),
        *_windows(half, top, 2, 3, pane),
        Part(box(-0.15, 0.47, 0.15, 0.92), darker(roof, 0.6)),
    ]


def _tower(draws: Draws, wall: Colour, roof: Colour, pane: Colour) -> list[Part]:
    half, top = draws.between(0.4, 0.55), -0.9
    return [
        Part(box(-half, top, half, 0.92), wall, 0.5),
        *_windows(half, top, draws.count(4, 6), draws.count(3, 4), pane),
        Part(box(-0.075, 0.695, 0.075, 0.92), darker(roof, 0.6)),
    ]


def building(draws: Draws, hue: float) -> list[Part]:
    """A house, a tower block or a temple with windows, door, roof or columns."""
    wall = hsv(hue, draws.between(0.1, 0.45), draws.between(0.55, 0.95))
    roof = hsv(draws.near(0.03, 0.04), draws.between(0.3, 0.7), draws.between(0.3, 0.65))
    pane = draws.pick((GLASS, (0.25, 0.3, 0.4), (0.95, 0.85, 0.5)))
    return draws.pick((_house, _tower, _temple))(draws, wall, roof, pane)


def _lettering(rows: list[str], left: float, top: float, right: float, bottom: float) -> Shape:
    """Ink of a bitmap, one string of 0 and 1 a row, stretched over a rectangle."""
    bitmap = np.array([[cell == "1" for cell in row] for row in rows])
    across, down = bitmap.shape[1] / (right - left), bitmap.shape[0] / (bottom - top)

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        column, row = np.floor((u - left) * across).astype(np.intp), np.floor((v - top) * down).astype(np.intp)
        held = (column >= 0) & (column < bitmap.shape[1]) & (row >= 0) & (row < bitmap.shape[0])
        return held & bitmap[np.clip(row, 0, bitmap.shape[0] - 1), np.clip(column, 0, bitmap.shape[1] - 1)]

    return inside


def word(draws: Draws, hue: float) -> list[Part]:
    """A printed sign: one or two lines of three or four letters on a framed plate."""
    light = draws.chance(0.7)
    plate = hsv(hue, draws.between(0.05, 0.5), draws.between(0.8, 1.0) if light else draws.between(0.15, 0.4))
    ink = hsv(hue + draws.near(0.5, 0.1), draws.between(0.2, 0.8), 0.15 if light else 0.95)
    lines, letters = draws.count(1, 2), draws.count(3, 4)
    high = 0.36 if lines == 1 else 0.62
    parts = [
        Part(box(-0.98, -high - 0.08, 0.98, high + 0.08), ink),
        Part(box(-0.92, -high - 0.02, 0.92, high + 0.02), plate, 0.12),
    ]
    for line in range(lines):
        glyphs = [LETTERS[draws.pick(tuple(LETTERS))].split() for _ in range(letters)]
        rows = ["0".join(glyph[row] for glyph in glyphs) for row in range(5)]
        top = -high + 0.1 + line * high
        parts.append(
            Part(_lettering(rows, -0.82, top, 0.82, top + (2 * high - 0.2 if lines == 1 else high - 0.2)), ink)
        )
    return parts
