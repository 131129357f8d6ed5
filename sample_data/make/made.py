"""How vehicles, buildings, food, words, tools and balls are drawn, as parts in a unit square (u right, v down)."""

import math

import numpy as np

from .shapes import Draws, Part, Shape, box, capsule, ellipse, hsv, polygon, ring

__all__ = ["ball", "building", "food", "tool", "vehicle", "word"]

GLASS, RUBBER, STEEL = (0.65, 0.8, 0.88), (0.1, 0.1, 0.11), (0.72, 0.74, 0.78)
LETTERS = {
    "A": "01110 10001 11111 10001 10001", "B": "11110 10001 11110 10001 11110", "C": "01111 10000 10000 10000 01111",
    "E": "11111 10000 11110 10000 11111", "F": "11111 10000 11110 10000 10000", "H": "10001 10001 11111 10001 10001",
    "K": "10010 10100 11000 10100 10010", "L": "10000 10000 10000 10000 11111", "N": "10001 11001 10101 10011 10001",
    "O": "01110 10001 10001 10001 01110", "P": "11110 10001 11110 10000 10000", "R": "11110 10001 11110 10010 10001",
    "S": "01111 10000 01110 00001 11110", "T": "11111 00100 00100 00100 00100", "X": "10001 01010 00100 01010 10001",
    "Z": "11111 00010 00100 01000 11111",
}  # fmt: skip


def _darker(colour, factor: float):
    return tuple(channel * factor for channel in colour)


def _wheels(xs, y: float, radius: float) -> list[Part]:
    parts = []
    for x in xs:
        parts += [Part(ellipse(x, y, radius, radius), RUBBER), Part(ellipse(x, y, radius * 0.55, radius * 0.55), STEEL),
                  Part(ellipse(x, y, radius * 0.2, radius * 0.2), RUBBER)]  # fmt: skip
    return parts


def vehicle(draws: Draws, hue: float) -> list[Part]:
    """A car, bus or lorry from the side: body, windows, lamps and wheels."""
    paint = hsv(hue, draws.between(0.45, 0.95), draws.between(0.5, 0.95))
    kind = draws.pick(("car", "car", "bus", "lorry"))
    if kind == "car":
        roof = draws.between(-0.5, -0.35)
        parts = [Part(polygon((-0.65, -0.02), (-0.42, roof), (0.3, roof), (0.62, -0.02)), paint, 0.3),
                 Part(polygon((-0.52, -0.02), (-0.36, roof + 0.09), (-0.06, roof + 0.09), (-0.06, -0.02)), GLASS),
                 Part(polygon((0.02, -0.02), (0.02, roof + 0.09), (0.25, roof + 0.09), (0.48, -0.02)), GLASS),
                 Part(box(-0.95, -0.03, 0.95, 0.34), paint, 0.6), Part(box(-0.97, 0.26, 0.97, 0.38), _darker(paint, 0.5))]  # fmt: skip
        return parts + [Part(ellipse(0.9, 0.08, 0.09, 0.07), (1.0, 0.95, 0.6)), Part(box(-0.95, 0.04, -0.85, 0.14), (0.5, 0.05, 0.05)),
                        *_wheels((-0.55, 0.55), 0.38, draws.between(0.2, 0.25))]  # fmt: skip
    if kind == "bus":
        parts = [Part(box(-0.95, -0.55, 0.95, 0.42), paint, 0.6), Part(box(-0.95, 0.34, 0.95, 0.44), _darker(paint, 0.5))]
        parts += [Part(box(x, -0.42, x + 0.3, -0.05), GLASS) for x in (-0.87, -0.5, -0.13, 0.24)]
        return parts + [Part(box(0.62, -0.42, 0.92, 0.3), GLASS), Part(ellipse(0.9, 0.25, 0.06, 0.06), (1.0, 0.95, 0.6)),
                        *_wheels((-0.55, 0.45), 0.45, 0.2)]  # fmt: skip
    load = hsv(hue + draws.near(0.0, 0.05), draws.between(0.1, 0.5), draws.between(0.6, 0.95))
    return [Part(box(-0.97, -0.6, 0.4, 0.3), load, 1.0), Part(polygon((0.43, 0.3), (0.43, -0.35), (0.75, -0.35), (0.95, 0.0), (0.95, 0.3)), paint),
            Part(polygon((0.52, -0.02), (0.52, -0.26), (0.71, -0.26), (0.86, -0.02)), GLASS), Part(box(-0.97, 0.26, 0.97, 0.4), (0.25, 0.25, 0.27)),
            Part(box(0.88, 0.1, 0.97, 0.2), (1.0, 0.95, 0.6)), *_wheels((-0.65, -0.15, 0.68), 0.42, 0.2)]  # fmt: skip


def building(draws: Draws, hue: float) -> list[Part]:
    """A house, a tower block or a temple with windows, door, roof or columns."""
    wall = hsv(hue, draws.between(0.1, 0.45), draws.between(0.55, 0.95))
    roof = hsv(draws.near(0.03, 0.04), draws.between(0.3, 0.7), draws.between(0.3, 0.65))
    pane = draws.pick((GLASS, (0.25, 0.3, 0.4), (0.95, 0.85, 0.5)))
    kind = draws.pick(("house", "tower", "temple"))
    if kind == "temple":
        parts = [Part(box(-0.85, -0.3, 0.85, 0.75), _darker(wall, 0.55)), Part(polygon((-0.95, -0.3), (0, -0.8), (0.95, -0.3)), wall, 0.5),
                 Part(ellipse(0, -0.45, 0.12, 0.1), _darker(wall, 0.6)), Part(box(-0.95, 0.72, 0.95, 0.9), wall)]  # fmt: skip
        return parts + [Part(box(x - 0.1, -0.28, x + 0.1, 0.74), wall, 0.4) for x in (-0.72, -0.25, 0.25, 0.72)]
    half, top = (draws.between(0.62, 0.8), -0.2) if kind == "house" else (draws.between(0.4, 0.55), -0.9)
    parts = [Part(box(-half, top, half, 0.92), wall, 0.5)]
    if kind == "house":
        parts += [Part(box(0.25, -0.85, 0.42, -0.3), _darker(roof, 0.7)), Part(polygon((-half - 0.15, top), (0, -0.92), (half + 0.15, top)), roof, 0.6)]
    rows, columns = (2, 3) if kind == "house" else (draws.count(4, 6), draws.count(3, 4))
    for row in range(rows):
        for column in range(columns):
            x = half * (-1.0 + (2.0 * column + 1.0) / columns)
            y = top + (0.92 - top) * (row + 0.5) / (rows + 0.35)
            wide, tall = half * 0.55 / columns, 0.28 * (0.92 - top) / rows
            parts.append(Part(box(x - wide, y - tall, x + wide, y + tall), pane))
    door = 0.3 if kind == "house" else 0.15
    return parts + [Part(box(-door * 0.5, 0.92 - 1.5 * door, door * 0.5, 0.92), _darker(roof, 0.6))]


def food(draws: Draws, hue: float) -> list[Part]:
    """A hamburger, a slice of pizza, a cupcake or a ring cake, with toppings."""
    dough = hsv(hue, draws.between(0.5, 0.85), draws.between(0.65, 0.95))
    topping = hsv(draws.near(0.0, 0.03), draws.between(0.6, 0.9), draws.between(0.5, 0.9))
    kind = draws.pick(("burger", "pizza", "cupcake", "ring"))
    if kind == "burger":
        parts = [Part(box(-0.8, 0.3, 0.8, 0.65), dough, 0.3), Part(ellipse(0, 0.62, 0.8, 0.16), dough), Part(capsule(-0.8, 0.26, 0.8, 0.26, 0.1), hsv(0.3, 0.7, 0.7)),
                 Part(capsule(-0.75, 0.1, 0.75, 0.1, 0.14), (0.36, 0.2, 0.12)), Part(polygon((-0.85, -0.05), (0.85, -0.05), (0.5, 0.14), (0.1, 0.0), (-0.3, 0.14)), (0.98, 0.8, 0.2)),
                 Part(lambda u, v: ellipse(0, -0.08, 0.85, 0.6)(u, v) & (v < -0.05), dough, 0.8)]  # fmt: skip
        return parts + [Part(ellipse(0.25 * i - 0.5, -0.4 + 0.1 * (i % 2), 0.06, 0.04), (0.98, 0.93, 0.75)) for i in range(5)]
    if kind == "pizza":
        parts = [Part(polygon((-0.8, -0.6), (0.8, -0.6), (0, 0.95)), hsv(hue, 0.65, 0.97), 0.6), Part(capsule(-0.8, -0.65, 0.8, -0.65, 0.16), _darker(dough, 0.8), 0.5)]
        spots = ((-0.35, -0.3), (0.3, -0.25), (-0.05, 0.05), (0.1, 0.45))
        return parts + [Part(ellipse(x + draws.near(0, 0.04), y + draws.near(0, 0.04), 0.17, 0.15), topping) for x, y in spots]
    if kind == "cupcake":
        cream = hsv(draws.near(hue - 0.08, 0.06), draws.between(0.2, 0.6), 0.95)
        parts = [Part(polygon((-0.6, 0.05), (0.6, 0.05), (0.42, 0.92), (-0.42, 0.92)), dough, 1.0)]
        parts += [Part(ellipse(0, y, wide, 0.26), cream, 0.7) for y, wide in ((0.0, 0.72), (-0.28, 0.55), (-0.52, 0.35))]
        return parts + [Part(ellipse(0, -0.8, 0.16, 0.16), topping)]
    glaze = hsv(draws.near(hue - 0.08, 0.06), draws.between(0.3, 0.8), draws.between(0.5, 0.95))
    parts = [Part(ring(0, 0, 0.88, 0.28), dough, 0.4), Part(ring(0, 0, 0.76, 0.36), glaze, 0.8)]
    for index in range(9):
        turn = index / 9 + draws.near(0, 0.01)
        x, y = 0.56 * math.cos(math.tau * turn), 0.56 * math.sin(math.tau * turn)
        parts.append(Part(capsule(x - 0.05, y, x + 0.05, y + draws.near(0, 0.04), 0.035), hsv(draws.between(0, 1), 0.6, 0.95)))
    return parts


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
    parts = [Part(box(-0.98, -high - 0.08, 0.98, high + 0.08), ink), Part(box(-0.92, -high - 0.02, 0.92, high + 0.02), plate, 0.12)]
    for line in range(lines):
        glyphs = [LETTERS[draws.pick(tuple(LETTERS))].split() for _ in range(letters)]
        rows = ["0".join(glyph[row] for glyph in glyphs) for row in range(5)]
        top = -high + 0.1 + line * high
        parts.append(Part(_lettering(rows, -0.82, top, 0.82, top + (2 * high - 0.2 if lines == 1 else high - 0.2)), ink))
    return parts


def tool(draws: Draws, hue: float) -> list[Part]:
    """A hammer, a spanner, a screwdriver or a saw: a grip and a steel head."""
    grip = hsv(hue, draws.between(0.4, 0.9), draws.between(0.3, 0.8))
    steel = hsv(draws.near(0.6, 0.05), draws.between(0.02, 0.15), draws.between(0.55, 0.9))
    thick = draws.between(0.09, 0.13)
    kind = draws.pick(("hammer", "spanner", "screwdriver", "saw"))
    if kind == "hammer":
        return [Part(capsule(0, -0.5, 0, 0.85, thick), grip, 1.0), Part(box(-0.45, -0.82, 0.4, -0.45), steel, 0.3),
                Part(box(-0.62, -0.88, -0.4, -0.39), _darker(steel, 0.8)), Part(polygon((0.4, -0.82), (0.78, -0.55), (0.4, -0.5)), _darker(steel, 0.9))]  # fmt: skip
    if kind == "spanner":
        return [Part(capsule(0, -0.4, 0, 0.75, thick), steel, 0.3), Part(capsule(0, 0.05, 0, 0.75, thick * 1.2), grip, 1.0),
                Part(lambda u, v: ellipse(0, -0.62, 0.36, 0.33)(u, v) & ~box(-0.15, -1.0, 0.15, -0.58)(u, v), steel, 0.3),
                Part(ring(0, 0.78, 0.2, 0.09), _darker(steel, 0.85))]  # fmt: skip
    if kind == "screwdriver":
        return [Part(box(-0.06, -0.75, 0.06, 0.15), steel), Part(polygon((-0.06, -0.75), (0.06, -0.75), (0.12, -0.95), (-0.12, -0.95)), _darker(steel, 0.8)),
                Part(capsule(0, 0.3, 0, 0.75, 0.2), grip, 1.0), Part(box(-0.13, 0.08, 0.13, 0.22), _darker(grip, 0.5))]  # fmt: skip
    teeth = [(0.16 + 0.1 * (i % 2), -0.92 + 0.1 * i) for i in range(12)]
    return [Part(polygon((-0.12, -0.92), *teeth, (0.16, 0.3), (-0.3, 0.3)), steel, 0.3), Part(box(-0.38, 0.25, 0.32, 0.92), grip, 1.0),
            Part(ellipse(-0.03, 0.58, 0.15, 0.18), _darker(grip, 0.35))]  # fmt: skip


def ball(draws: Draws, hue: float) -> list[Part]:
    """A football, beach ball, basketball or striped ball: a disc with the marks of its kind and a gloss."""
    skin = hsv(hue, draws.between(0.35, 0.9), draws.between(0.55, 0.98))
    other = draws.pick(((0.95, 0.95, 0.93), _darker(skin, 0.45), hsv(hue + 0.12, 0.7, 0.95)))
    disc = ellipse(0, 0, 0.9, 0.9)
    kind = draws.pick(("football", "beach", "basket", "band"))
    parts = [Part(disc, _darker(skin, 0.6)), Part(ellipse(0, 0, 0.86, 0.86), skin, 0.4)]
    if kind == "football":
        for index in range(6):
            reach, turn = (0.0, 0.0) if index == 0 else (0.66, index / 5)
            x, y = reach * math.cos(math.tau * turn), reach * math.sin(math.tau * turn)
            corners = [(x + 0.24 * math.cos(math.tau * (k / 5 + turn)), y + 0.24 * math.sin(math.tau * (k / 5 + turn))) for k in range(5)]
            pentagon = polygon(*corners)
            parts.append(Part(lambda u, v, p=pentagon: p(u, v) & ellipse(0, 0, 0.86, 0.86)(u, v), other))
    elif kind == "beach":
        for index in range(3):
            a, b = math.tau * index / 3, math.tau * (index + 0.5) / 3
            wedge = polygon((0, 0), (1.8 * math.cos(a), 1.8 * math.sin(a)), (1.8 * math.cos(b), 1.8 * math.sin(b)))
            parts.append(Part(lambda u, v, w=wedge: w(u, v) & ellipse(0, 0, 0.86, 0.86)(u, v), other))
        parts.append(Part(ellipse(0, 0, 0.14, 0.14), (0.95, 0.95, 0.93)))
    elif kind == "basket":
        line = (0.12, 0.08, 0.06)
        parts += [Part(box(-0.05, -0.86, 0.05, 0.86), line), Part(box(-0.86, -0.05, 0.86, 0.05), line)]
        parts += [Part(lambda u, v, s=s: ring(s * 1.05, 0, 0.75, 0.66)(u, v) & disc(u, v), line) for s in (-1, 1)]
    else:
        parts.append(Part(lambda u, v: disc(u, v) & (np.abs(v) < 0.3), other))
    return parts + [Part(ellipse(-0.35, -0.42, 0.16, 0.1), (1.0, 1.0, 0.97))]
