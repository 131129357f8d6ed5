"""The eight kinds of background: a painted canvas and, for every pixel, the kind that is seen there."""

from collections.abc import Callable

import numpy as np

from .shapes import Draws, box, capsule, ellipse, hsv, noise, polygon, wave

__all__ = ["BACKGROUNDS", "paint_background"]

Canvas = tuple[np.ndarray, np.ndarray]


def _fill(size: int, colour) -> np.ndarray:
    return np.full((size, size, 3), colour, np.float32)


def _axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column coordinates in 0..1, shapes (size, 1) and (1, size)."""
    line = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(1.0 / size)
    return line[:, None], line[None, :]


def _vary(canvas: np.ndarray, field: np.ndarray, amount: float) -> None:
    """Brighten and darken a canvas by a field in 0..1."""
    canvas *= (np.float32(1.0) + np.float32(2.0 * amount) * (field - np.float32(0.5)))[..., None]


def _sky(draws: Draws, size: int, horizon: float) -> Canvas:
    y, x = _axes(size)
    canvas = _fill(size, hsv(draws.near(0.57, 0.02), draws.between(0.35, 0.75), draws.between(0.75, 0.98)))
    canvas += ((1.0 - canvas) * (y * np.float32(draws.between(0.3, 0.8)))[..., None]).astype(np.float32)
    cloud = noise(draws, size, (7, 4)) * np.float32(0.7) + noise(draws, size, (18, 12)) * np.float32(0.3)
    cover = np.clip((cloud - np.float32(draws.between(0.42, 0.62))) * 6, 0, 1)[..., None].astype(np.float32)
    canvas += (np.float32(0.97) - canvas) * cover
    if draws.chance(0.3):
        canvas[ellipse(draws.between(0.1, 0.9), draws.between(0.08, 0.4), 0.07, 0.07)(x, y)] = (1.0, 0.95, 0.7)
    for _ in range(draws.count(0, 4)):
        wing, bird_x, bird_y = draws.between(0.015, 0.03), draws.between(0, 1), draws.between(0, 0.8)
        for side in (-wing, wing):
            canvas[capsule(bird_x, bird_y, bird_x + side, bird_y - wing * 0.7, 0.006)(x, y)] = (0.2, 0.2, 0.25)
    return canvas, np.full((size, size), BACKGROUNDS.index("sky"), np.uint8)


def _ground(draws: Draws, size: int, horizon: float, kind: str, colour) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A plain ground below a strip of sky: canvas, kinds, and depth below the horizon in 0..1 (negative above)."""
    canvas, kinds = _sky(draws, size, horizon)
    y, _ = _axes(size)
    below = y[:, 0] >= horizon
    canvas[below], kinds[below] = colour, BACKGROUNDS.index(kind)
    return canvas, kinds, (y - np.float32(horizon)) * np.float32(1.0 / (1.0 - horizon))


def _grass(draws: Draws, size: int, horizon: float) -> Canvas:
    colour = hsv(draws.near(0.27, 0.02), draws.between(0.5, 0.8), draws.between(0.4, 0.7))
    canvas, kinds, depth = _ground(draws, size, horizon, "grass", colour)
    y, x = _axes(size)
    below = depth[:, 0] >= 0
    blades = noise(draws, size, (size // 9, size // 3)) * np.float32(0.7) + noise(draws, size, (5, 5)) * np.float32(0.3)
    canvas[below] *= (np.float32(0.45) + np.float32(1.1) * blades[below])[..., None]
    for _ in range(draws.count(0, 14)):
        spot = ellipse(draws.between(0, 1), draws.between(horizon + 0.05, 1), 0.014, 0.014)
        canvas[spot(x, y)] = hsv(draws.between(0.8, 1.2), draws.between(0.0, 0.8), 0.97)
    return canvas, kinds


def _water(draws: Draws, size: int, horizon: float) -> Canvas:
    colour = hsv(draws.near(0.53, 0.03), draws.between(0.5, 0.85), draws.between(0.4, 0.75))
    canvas, kinds, depth = _ground(draws, size, horizon, "water", colour)
    below = depth[:, 0] >= 0
    bend = noise(draws, size, (10, 5))
    phase = np.float32(draws.between(7, 11)) * np.sqrt(np.maximum(depth, 0)) + np.float32(1.6) * bend
    crests = np.clip(wave(phase) * 2, -1, 1)
    canvas[below] *= (np.float32(1.0) + np.float32(0.2) * crests)[below][..., None]
    glint = (wave(phase) > 0.75) & (noise(draws, size, (size // 5, 14)) > 0.62)
    canvas[below[:, None] & glint] = (0.92, 0.97, 1.0)
    return canvas, kinds


def _sand(draws: Draws, size: int, horizon: float) -> Canvas:
    colour = hsv(draws.near(0.115, 0.012), draws.between(0.3, 0.55), draws.between(0.75, 0.98))
    canvas, kinds, depth = _ground(draws, size, horizon, "sand", colour)
    y, x = _axes(size)
    below = depth[:, 0] >= 0
    phase = np.float32(draws.between(3, 6)) * depth + np.float32(2.2) * noise(draws, size, (5, 4))
    grain = draws.field(size, size) - np.float32(0.5)
    canvas[below] *= (np.float32(1.0) + np.float32(0.09) * wave(phase) + np.float32(0.16) * grain)[below][..., None]
    for _ in range(draws.count(2, 9)):
        stone = ellipse(draws.between(0, 1), draws.between(horizon + 0.05, 1), draws.between(0.01, 0.025), 0.012)
        canvas[stone(x, y)] = hsv(0.08, 0.2, draws.between(0.35, 0.6))
    return canvas, kinds


def _brick(draws: Draws, size: int, horizon: float) -> Canvas:
    y, x = _axes(size)
    high, wide = draws.between(0.055, 0.085), draws.between(0.15, 0.22)
    row = y * np.float32(1.0 / high) + np.float32(draws.between(0, 1))
    course = np.floor(row)
    column = x * np.float32(1.0 / wide) + np.float32(0.5) * (course - np.floor(course * 0.5) * 2)
    colour = np.array(hsv(draws.near(0.025, 0.012), draws.between(0.45, 0.7), draws.between(0.5, 0.75)), np.float32)
    tints = draws.field(40, 16)[course.astype(np.intp), np.floor(column).astype(np.intp)]
    canvas = colour * (np.float32(0.7) + np.float32(0.55) * tints)[..., None]
    mortar = (row - course < 0.16) | (column - np.floor(column) < 0.07)
    canvas[mortar] = hsv(0.1, 0.1, draws.between(0.6, 0.85))
    _vary(canvas, noise(draws, size, (30, 30)), 0.08)
    if draws.chance(0.4):
        canvas[(y > draws.between(0.8, 0.92))[:, 0]] *= np.float32(0.55)
    return canvas, np.full((size, size), BACKGROUNDS.index("brick"), np.uint8)


def _road(draws: Draws, size: int, horizon: float) -> Canvas:
    canvas, kinds = _grass(draws, size, horizon)
    y, x = _axes(size)
    vanish, left, right = draws.between(0.3, 0.7), draws.between(-0.6, -0.15), draws.between(1.15, 1.6)
    shape = polygon((vanish - 0.1, horizon), (vanish + 0.1, horizon), (right, 1.02), (left, 1.02))(x, y)
    asphalt = _fill(size, hsv(0.62, draws.between(0.0, 0.08), draws.between(0.3, 0.5)))
    _vary(asphalt, draws.field(size, size), 0.18)
    canvas[shape], kinds[shape] = asphalt[shape], BACKGROUNDS.index("road")
    middle, shift = (left + right) / 2, draws.between(0.05, 0.12)
    for index in range(6):
        near = [horizon + (1 - horizon) * min((index * 0.2 + shift + step) ** 1.6, 1.02) for step in (0.0, 0.1)]
        at = [(depth - horizon) / (1 - horizon) for depth in near]
        points = [(vanish + (middle - vanish) * t, 0.004 + 0.03 * t, d) for t, d in zip(at, near, strict=True)]
        (x0, w0, y0), (x1, w1, y1) = points
        dash = polygon((x0 - w0, y0), (x0 + w0, y0), (x1 + w1, y1), (x1 - w1, y1))(x, y)
        canvas[dash] = (0.95, 0.93, 0.85)
    for a, b in ((vanish - 0.09, left + 0.1), (vanish + 0.09, right - 0.1)):
        canvas[polygon((a - 0.004, horizon), (a + 0.004, horizon), (b + 0.03, 1.02), (b - 0.03, 1.02))(x, y)] = (
            0.9,
            0.9,
            0.88,
        )
    return canvas, kinds


def _wall(draws: Draws, size: int, horizon: float) -> Canvas:
    y, x = _axes(size)
    colour = np.array(hsv(draws.between(0, 1), draws.between(0.05, 0.3), draws.between(0.7, 0.95)), np.float32)
    paper = wave(x * np.float32(draws.between(6, 12))) > 0.2 if draws.chance(0.6) else np.zeros((1, size), bool)
    canvas = np.where(paper[..., None], colour * np.float32(draws.between(0.86, 0.95)), colour)
    canvas = np.ascontiguousarray(np.broadcast_to(canvas, (size, size, 3)).astype(np.float32))
    frame_x, frame_y = draws.between(0.1, 0.65), draws.between(0.05, 0.2)
    wide, tall = draws.between(0.15, 0.3), draws.between(0.18, 0.32)
    canvas[box(frame_x, frame_y, frame_x + wide, frame_y + tall)(x, y)] = hsv(0.08, 0.5, draws.between(0.25, 0.6))
    inner = box(frame_x + 0.025, frame_y + 0.025, frame_x + wide - 0.025, frame_y + tall - 0.025)(x, y)
    canvas[inner] = hsv(draws.between(0, 1), draws.between(0.1, 0.4), 0.9)
    cross = box(frame_x + wide / 2 - 0.01, frame_y, frame_x + wide / 2 + 0.01, frame_y + tall)(x, y)
    canvas[cross & inner] = hsv(0.08, 0.5, 0.4)
    floor = draws.between(0.68, 0.85)
    below = (y > floor)[:, 0]
    wood = np.array(hsv(draws.near(0.08, 0.01), draws.between(0.4, 0.65), draws.between(0.4, 0.7)), np.float32)
    slope = (x - np.float32(0.5)) / (y + np.float32(0.35))
    plank = slope * np.float32(draws.between(7, 11)) + np.float32(20)
    planks = (
        wood
        * (np.float32(0.8) + np.float32(0.3) * draws.field(1, 60)[0][np.floor(plank).astype(np.intp) % 60])[..., None]
    )
    planks[plank - np.floor(plank) < 0.08] *= np.float32(0.6)
    canvas[below] = planks[below]
    canvas[box(-1, floor - 0.035, 2, floor)(x, y) & (x < 2)] = hsv(0.1, 0.1, 0.97)
    return canvas, np.full((size, size), BACKGROUNDS.index("wall"), np.uint8)


def _forest(draws: Draws, size: int, horizon: float) -> Canvas:
    y, x = _axes(size)
    canvas = _fill(size, hsv(draws.near(0.36, 0.03), draws.between(0.45, 0.75), draws.between(0.2, 0.4)))
    foliage = noise(draws, size, (16, 16)) * np.float32(0.6) + noise(draws, size, (36, 36)) * np.float32(0.4)
    canvas *= (np.float32(0.3) + np.float32(1.6) * foliage)[..., None]
    for _ in range(draws.count(4, 8)):
        at, wide, lean = draws.between(0, 1), draws.between(0.02, 0.06), draws.near(0, 0.03)
        bark = np.array(hsv(draws.near(0.07, 0.015), draws.between(0.25, 0.5), draws.between(0.18, 0.45)), np.float32)
        base = draws.between(0.72, 0.95)
        trunk = polygon(
            (at - wide, base), (at + wide, base), (at + lean + wide * 0.7, -0.02), (at + lean - wide * 0.7, -0.02)
        )(x, y)
        grain = noise(draws, size, (8, size // 3))
        canvas[trunk] = bark * (np.float32(0.6) + np.float32(0.8) * grain[trunk])[:, None]
    leaves = noise(draws, size, (20, 20))
    tip = np.array(hsv(draws.near(0.28, 0.03), 0.65, draws.between(0.45, 0.7)), np.float32)
    crown = leaves > np.float32(0.6) + np.float32(0.45) * y
    canvas[crown] = tip * (np.float32(0.5) + np.float32(0.9) * foliage[crown])[:, None]
    floor = (y > draws.between(0.85, 0.93))[:, 0]
    canvas[floor] *= np.array((1.1, 0.85, 0.6), np.float32)
    return canvas, np.full((size, size), BACKGROUNDS.index("forest"), np.uint8)


PAINTERS: dict[str, Callable[[Draws, int, float], Canvas]] = {
    "sky": _sky, "grass": _grass, "water": _water, "sand": _sand,
    "brick": _brick, "road": _road, "wall": _wall, "forest": _forest,
}  # fmt: skip
BACKGROUNDS = tuple(PAINTERS)


def paint_background(draws: Draws, kind: int, size: int, horizon: float) -> Canvas:
    """A canvas float32 (size, size, 3) in about 0..1 and the kind seen at each pixel, uint8 (size, size).

    `horizon` in 0..1 is where sky meets ground, for the kinds that have one.
    """
    canvas, kinds = PAINTERS[BACKGROUNDS[kind]](draws, size, horizon)
    return canvas, kinds
