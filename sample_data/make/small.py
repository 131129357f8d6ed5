"""How food, tools and balls are drawn, as parts in a unit square (u to the right, v down, -1..1)."""

import math

from .shapes import Colour, Draws, Part, Shape, box, capsule, darker, ellipse, hsv, polygon, ring

__all__ = ["ball", "food", "tool"]


def _burger(draws: Draws, hue: float, dough: Colour, topping: Colour) -> list[Part]:
    parts = [
        Part(box(-0.8, 0.3, 0.8, 0.65), dough, 0.3),
        Part(ellipse(0, 0.62, 0.8, 0.16), dough),
        Part(capsule(-0.8, 0.26, 0.8, 0.26, 0.1), hsv(0.3, 0.7, 0.7)),
        Part(capsule(-0.75, 0.1, 0.75, 0.1, 0.14), (0.36, 0.2, 0.12)),
        Part(polygon((-0.85, -0.05), (0.85, -0.05), (0.5, 0.14), (0.1, 0.0), (-0.3, 0.14)), (0.98, 0.8, 0.2)),
        Part(lambda u, v: ellipse(0, -0.08, 0.85, 0.6)(u, v) & (v < -0.05), dough, 0.8),
    ]
    return parts + [
        Part(ellipse(0.25 * i - 0.5, -0.4 + 0.1 * (i % 2), 0.06, 0.04), (0.98, 0.93, 0.75)) for i in range(5)
    ]


def _pizza(draws: Draws, hue: float, dough: Colour, topping: Colour) -> list[Part]:
    parts = [
        Part(polygon((-0.8, -0.6), (0.8, -0.6), (0, 0.95)), hsv(hue, 0.65, 0.97), 0.6),
        Part(capsule(-0.8, -0.65, 0.8, -0.65, 0.16), darker(dough, 0.8), 0.5),
    ]
    spots = ((-0.35, -0.3), (0.3, -0.25), (-0.05, 0.05), (0.1, 0.45))
    return parts + [
        Part(ellipse(x + draws.near(0, 0.04), y + draws.near(0, 0.04), 0.17, 0.15), topping) for x, y in spots
    ]


def _cupcake(draws: Draws, hue: float, dough: Colour, topping: Colour) -> list[Part]:
    cream = hsv(draws.near(hue - 0.08, 0.06), draws.between(0.2, 0.6), 0.95)
    parts = [Part(polygon((-0.6, 0.05), (0.6, 0.05), (0.42, 0.92), (-0.42, 0.92)), dough, 1.0)]
    parts += [Part(ellipse(0, y, wide, 0.26), cream, 0.7) for y, wide in ((0.0, 0.72), (-0.28, 0.55), (-0.52, 0.35))]
    return parts + [Part(ellipse(0, -0.8, 0.16, 0.16), topping)]


def _ring_cake(draws: Draws, hue: float, dough: Colour, topping: Colour) -> list[Part]:
    glaze = hsv(draws.near(hue - 0.08, 0.06), draws.between(0.3, 0.8), draws.between(0.5, 0.95))
    parts = [Part(ring(0, 0, 0.88, 0.28), dough, 0.4), Part(ring(0, 0, 0.76, 0.36), glaze, 0.8)]
    for index in range(9):
        turn = index / 9 + draws.near(0, 0.01)
        x, y = 0.56 * math.cos(math.tau * turn), 0.56 * math.sin(math.tau * turn)
        parts.append(
            Part(capsule(x - 0.05, y, x + 0.05, y + draws.near(0, 0.04), 0.035), hsv(draws.between(0, 1), 0.6, 0.95))
        )
    return parts


def food(draws: Draws, hue: float) -> list[Part]:
    """A hamburger, a slice of pizza, a cupcake or a ring cake, with toppings."""
    dough = hsv(hue, draws.between(0.5, 0.85), draws.between(0.65, 0.95))
    topping = hsv(draws.near(0.0, 0.03), draws.between(0.6, 0.9), draws.between(0.5, 0.9))
    return draws.pick((_burger, _pizza, _cupcake, _ring_cake))(draws, hue, dough, topping)


def _hammer(grip: Colour, steel: Colour, thick: float) -> list[Part]:
    return [
        Part(capsule(0, -0.5, 0, 0.85, thick), grip, 1.0),
        Part(box(-0.45, -0.82, 0.4, -0.45), steel, 0.3),
        Part(box(-0.62, -0.88, -0.4, -0.39), darker(steel, 0.8)),
        Part(polygon((0.4, -0.82), (0.78, -0.55), (0.4, -0.5)), darker(steel, 0.9)),
    ]


def _spanner(grip: Colour, steel: Colour, thick: float) -> list[Part]:
    return [
        Part(capsule(0, -0.4, 0, 0.75, thick), steel, 0.3),
        Part(capsule(0, 0.05, 0, 0.75, thick * 1.2), grip, 1.0),
        Part(lambda u, v: ellipse(0, -0.62, 0.36, 0.33)(u, v) & ~box(-0.15, -1.0, 0.15, -0.58)(u, v), steel, 0.3),
        Part(ring(0, 0.78, 0.2, 0.09), darker(steel, 0.85)),
    ]


def _screwdriver(grip: Colour, steel: Colour, thick: float) -> list[Part]:
    return [
        Part(box(-0.06, -0.75, 0.06, 0.15), steel),
        Part(polygon((-0.06, -0.75), (0.06, -0.75), (0.12, -0.95), (-0.12, -0.95)), darker(steel, 0.8)),
        Part(capsule(0, 0.3, 0, 0.75, 0.2), grip, 1.0),
        Part(box(-0.13, 0.08, 0.13, 0.22), darker(grip, 0.5)),
    ]


def _saw(grip: Colour, steel: Colour, thick: float) -> list[Part]:
    teeth = [(0.16 + 0.1 * (i % 2), -0.92 + 0.1 * i) for i in range(12)]
    return [
        Part(polygon((-0.12, -0.92), *teeth, (0.16, 0.3), (-0.3, 0.3)), steel, 0.3),
        Part(box(-0.38, 0.25, 0.32, 0.92), grip, 1.0),
        Part(ellipse(-0.03, 0.58, 0.15, 0.18), darker(grip, 0.35)),
    ]


def tool(draws: Draws, hue: float) -> list[Part]:
    """A hammer, a spanner, a screwdriver or a saw: a grip and a steel head."""
    grip = hsv(hue, draws.between(0.4, 0.9), draws.between(0.3, 0.8))
    steel = hsv(draws.near(0.6, 0.05), draws.between(0.02, 0.15), draws.between(0.55, 0.9))
    thick = draws.between(0.09, 0.13)
    return draws.pick((_hammer, _spanner, _screwdriver, _saw))(grip, steel, thick)


def _within(shape: Shape) -> Shape:
    """The part of a shape that lies on the ball."""
    return lambda u, v: shape(u, v) & ellipse(0, 0, 0.86, 0.86)(u, v)


def _at(x: float, y: float, reach: float, turn: float) -> tuple[float, float]:
    return x + reach * math.cos(math.tau * turn), y + reach * math.sin(math.tau * turn)


def _football(other: Colour) -> list[Part]:
    centres = [(0.0, 0.0, 0.0)] + [(*_at(0, 0, 0.66, index / 5), index / 5) for index in range(1, 6)]
    pentagons = [polygon(*(_at(x, y, 0.24, k / 5 + turn) for k in range(5))) for x, y, turn in centres]
    return [Part(_within(pentagon), other) for pentagon in pentagons]


def _beach(other: Colour) -> list[Part]:
    wedges = [polygon((0, 0), _at(0, 0, 1.8, index / 3), _at(0, 0, 1.8, (index + 0.5) / 3)) for index in range(3)]
    return [Part(_within(wedge), other) for wedge in wedges] + [Part(ellipse(0, 0, 0.14, 0.14), (0.95, 0.95, 0.93))]


def _basket(other: Colour) -> list[Part]:
    lines = [box(-0.05, -0.86, 0.05, 0.86), box(-0.86, -0.05, 0.86, 0.05)]
    lines += [_within(ring(side * 1.05, 0, 0.75, 0.66)) for side in (-1, 1)]
    return [Part(line, (0.12, 0.08, 0.06)) for line in lines]


def _banded(other: Colour) -> list[Part]:
    return [Part(_within(box(-1, -0.3, 1, 0.3)), other)]


def ball(draws: Draws, hue: float) -> list[Part]:
    """A football, beach ball, basketball or striped ball: a disc with the marks of its kind and a gloss."""
    skin = hsv(hue, draws.between(0.35, 0.9), draws.between(0.55, 0.98))
    other = draws.pick(((0.95, 0.95, 0.93), darker(skin, 0.45), hsv(hue + 0.12, 0.7, 0.95)))
    marks = draws.pick((_football, _beach, _basket, _banded))(other)
    rim, disc = Part(ellipse(0, 0, 0.9, 0.9), darker(skin, 0.6)), Part(ellipse(0, 0, 0.86, 0.86), skin, 0.4)
    return [rim, disc, *marks, Part(ellipse(-0.35, -0.42, 0.16, 0.1), (1.0, 1.0, 0.97))]
