"""How faces, bodies, animals and plants are drawn, as parts in a unit square (u to the right, v down, -1..1)."""

import math

from .shapes import Draws, Part, box, capsule, darker, ellipse, hsv, polygon, ring

__all__ = ["animal", "body", "face", "plant"]


def _skin(draws: Draws):
    return hsv(draws.near(0.06, 0.012), draws.between(0.25, 0.6), draws.between(0.5, 0.98))


def _hair(draws: Draws):
    return hsv(draws.between(0.02, 0.13), draws.between(0.2, 0.8), draws.pick((0.12, 0.25, 0.4, 0.75)))


def face(draws: Draws, hue: float) -> list[Part]:
    """A frontal head: hair, ears, eyes, brows, nose, mouth; sometimes glasses, a beard, long hair, a hat."""
    skin, hair = _skin(draws), _hair(draws)
    width, gaze, open_eye = draws.between(0.56, 0.72), draws.near(0, 0.03), draws.between(0.07, 0.12)
    eye_x, eye_y, mouth = draws.between(0.24, 0.3), draws.near(-0.08, 0.03), draws.between(0.18, 0.32)
    parts = [Part(ellipse(0, -0.12, width + 0.12, 0.86), hair, 0.3)]
    if draws.chance(0.4):
        parts.append(Part(box(-width - 0.1, -0.1, width + 0.1, 0.75), hair, 0.3))
    parts += [Part(ellipse(side * width, 0.05, 0.12, 0.18), darker(skin, 0.88)) for side in (-1, 1)]
    parts.append(Part(ellipse(0, 0.1, width, 0.84), skin))
    if draws.chance(0.25):
        parts += [Part(ellipse(0, 0.62, width * 0.8, 0.36), hair, 0.3)]
    parts.append(
        Part(
            polygon(
                (-width, -0.2),
                (-width * 0.8, -0.75),
                (width * 0.8, -0.75),
                (width, -0.2),
                (width * 0.5, -0.45),
                (-width * 0.3, -0.4),
            ),
            hair,
            0.3,
        )
    )
    if draws.chance(0.2):
        hat = hsv(hue + 0.5, 0.6, 0.6)
        parts += [Part(box(-0.55, -0.98, 0.55, -0.5), hat), Part(box(-0.85, -0.55, 0.85, -0.42), hat)]
    iris = hsv(draws.between(0.05, 0.65), 0.6, 0.25)
    for side in (-1, 1):
        parts.append(Part(ellipse(side * eye_x, eye_y, 0.16, open_eye), (0.96, 0.96, 0.94)))
        parts.append(Part(ellipse(side * eye_x + gaze, eye_y, 0.075, min(open_eye, 0.085)), iris))
        parts.append(Part(capsule(side * 0.14, eye_y - 0.2, side * 0.4, eye_y - 0.22, 0.035), darker(hair, 0.7)))
    if draws.chance(0.25):
        parts += [Part(ring(side * eye_x, eye_y, 0.23, 0.18), (0.1, 0.1, 0.12)) for side in (-1, 1)]
        parts.append(Part(box(-0.08, eye_y - 0.03, 0.08, eye_y + 0.03), (0.1, 0.1, 0.12)))
    parts.append(Part(polygon((0, -0.05), (0.1, 0.3), (-0.1, 0.3)), darker(skin, 0.78)))
    parts.append(Part(ellipse(0, 0.53, mouth, draws.between(0.05, 0.13)), hsv(0.98, 0.65, 0.6)))
    if draws.chance(0.4):
        parts.append(Part(box(-mouth * 0.7, 0.5, mouth * 0.7, 0.55), (0.95, 0.95, 0.92)))
    return parts


def _limb(x: float, y: float, first: float, second: float, lengths: tuple[float, float]):
    """The joint and the end of a limb whose two bones hang at these angles from straight down (turns)."""
    joint = x + lengths[0] * math.sin(math.tau * first), y + lengths[0] * math.cos(math.tau * first)
    end = joint[0] + lengths[1] * math.sin(math.tau * second), joint[1] + lengths[1] * math.cos(math.tau * second)
    return joint, end


def body(draws: Draws, hue: float) -> list[Part]:
    """A standing, walking or waving person with striped shirt, trousers or skirt."""
    skin, hair = _skin(draws), _hair(draws)
    shirt = hsv(hue, draws.between(0.4, 0.9), draws.between(0.45, 0.95))
    legs = hsv(draws.near(0.6, 0.1), draws.between(0.1, 0.6), draws.between(0.15, 0.55))
    spread, slim = draws.between(0.01, 0.1), draws.between(0.2, 0.28)
    parts = []
    for side in (-1, 1):
        knee, foot = _limb(side * 0.13, 0.1, side * spread, side * spread * 0.6, (0.4, 0.4))
        parts += [Part(capsule(side * 0.13, 0.1, *knee, 0.13), legs), Part(capsule(*knee, *foot, 0.11), legs)]
        parts.append(Part(ellipse(foot[0] + side * 0.05, foot[1] + 0.05, 0.15, 0.08), (0.15, 0.12, 0.1)))
    for side in (-1, 1):
        raised = draws.chance(0.3)
        first = side * (draws.between(0.25, 0.38) if raised else draws.between(0.02, 0.14))
        second = first + side * draws.between(0.0, 0.12)
        elbow, hand = _limb(side * (slim + 0.03), -0.44, first, second, (0.3, 0.28))
        parts += [
            Part(capsule(side * slim, -0.44, *elbow, 0.09), shirt, 1.0),
            Part(capsule(*elbow, *hand, 0.07), skin),
            Part(ellipse(*hand, 0.09, 0.09), skin),
        ]
    hips = slim + 0.02
    parts.append(Part(polygon((-slim - 0.06, -0.52), (slim + 0.06, -0.52), (hips, 0.14), (-hips, 0.14)), shirt, 1.0))
    if draws.chance(0.35):
        parts.append(Part(polygon((-hips, 0.08), (hips, 0.08), (0.42, 0.5), (-0.42, 0.5)), shirt, 1.0))
    parts.append(Part(box(-0.07, -0.62, 0.07, -0.5), darker(skin, 0.85)))
    parts += [Part(ellipse(0, -0.79, 0.19, 0.2), hair), Part(ellipse(0, -0.74, 0.15, 0.17), skin)]
    parts += [Part(ellipse(side * 0.06, -0.76, 0.03, 0.025), (0.1, 0.1, 0.1)) for side in (-1, 1)]
    return parts


def animal(draws: Draws, hue: float) -> list[Part]:
    """A four-legged animal from the side: spotted trunk, neck, head with ears and eye, legs, tail."""
    coat = hsv(hue, draws.between(0.25, 0.75), draws.between(0.4, 0.95))
    dark = darker(coat, 0.55)
    trunk, lift = draws.between(0.24, 0.34), draws.pick((0.0, 0.0, 0.18, 0.32))
    head = (draws.between(0.6, 0.72), -0.28 - lift)
    parts = [Part(capsule(-0.5, -0.05, draws.between(-0.95, -0.75), draws.between(-0.45, 0.3), 0.05), dark)]
    stance = draws.between(-0.08, 0.08)
    for x, shade in ((-0.3, 0.7), (0.5, 0.7), (-0.48, 1.0), (0.32, 1.0)):
        foot = x + stance * (1.0 if shade == 1.0 else -1.0)
        parts.append(Part(capsule(x, 0.15, foot, 0.8, 0.085), darker(coat, shade), 0.7))
        parts.append(Part(ellipse(foot + 0.02, 0.86, 0.11, 0.06), dark))
    parts += [
        Part(ellipse(0, 0.08, 0.66, trunk), coat, 1.0),
        Part(capsule(0.45, 0.0, head[0] - 0.05, head[1], 0.15), coat, 1.0),
    ]
    tall = draws.between(0.16, 0.42)
    for shift in (-0.12, 0.04):
        tip = (head[0] + shift - 0.04, head[1] - 0.14 - tall)
        parts.append(
            Part(polygon((head[0] + shift - 0.1, head[1] - 0.08), tip, (head[0] + shift + 0.09, head[1] - 0.1)), dark)
        )
    parts += [
        Part(ellipse(*head, 0.24, 0.18), coat, 0.4),
        Part(ellipse(head[0] + 0.2, head[1] + 0.06, 0.15, 0.1), darker(coat, 0.8)),
        Part(ellipse(head[0] + 0.31, head[1] + 0.03, 0.04, 0.04), (0.08, 0.06, 0.06)),
        Part(ellipse(head[0] + 0.06, head[1] - 0.05, 0.05, 0.05), (0.05, 0.05, 0.05)),
    ]
    return parts


def plant(draws: Draws, hue: float) -> list[Part]:
    """A potted plant: a pot with a rim, stems, pointed or round leaves, sometimes flowers."""
    leaf = hsv(hue, draws.between(0.4, 0.85), draws.between(0.3, 0.8))
    pot = hsv(draws.near(0.05, 0.03), draws.between(0.3, 0.7), draws.between(0.4, 0.8))
    crown, spread = draws.between(-0.35, -0.1), draws.between(0.6, 0.9)
    parts, number, pointed = [], draws.count(5, 9), draws.chance(0.6)
    for index in range(number):
        turn = 0.25 * (2.0 * index / (number - 1) - 1.0) + draws.near(0, 0.015)
        reach = spread * draws.between(0.75, 1.0)
        tip = (reach * 0.9 * math.sin(math.tau * turn), crown + 0.35 - reach * math.cos(math.tau * turn))
        tint = darker(leaf, draws.between(0.7, 1.15))
        parts.append(Part(capsule(0, 0.45, *tip, 0.035), darker(leaf, 0.6)))
        if pointed:
            middle = (tip[0] * 0.55, 0.45 + (tip[1] - 0.45) * 0.55)
            across = ((tip[1] - 0.45) * 0.16, -tip[0] * 0.16)
            parts.append(
                Part(
                    polygon(
                        (tip[0] * 0.2, 0.45 + (tip[1] - 0.45) * 0.2),
                        (middle[0] + across[0], middle[1] + across[1]),
                        tip,
                        (middle[0] - across[0], middle[1] - across[1]),
                    ),
                    tint,
                    0.8,
                )
            )
        else:
            parts.append(Part(ellipse(*tip, 0.2, 0.2), tint, 0.8))
    if draws.chance(0.4):
        petal = hsv(draws.between(0.8, 1.15), 0.7, 0.95)
        for index in range(draws.count(2, 4)):
            x, y = 0.45 * (index - 1) + draws.near(0, 0.05), crown - 0.25 + draws.near(0, 0.1)
            parts += [Part(ellipse(x, y, 0.15, 0.15), petal), Part(ellipse(x, y, 0.06, 0.06), (0.95, 0.8, 0.2))]
    parts += [
        Part(polygon((-0.34, 0.4), (0.34, 0.4), (0.24, 0.95), (-0.24, 0.95)), pot, 0.2),
        Part(box(-0.4, 0.34, 0.4, 0.48), darker(pot, 0.8)),
    ]
    return parts
