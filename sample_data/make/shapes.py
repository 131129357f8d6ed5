"""Shapes, textures and random draws from which scenes are painted.

Only elementwise arithmetic, comparisons and square roots touch the pixels: IEEE rounds those the same way on every
machine, so that a scene comes out byte for byte the same.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Colour", "Draws", "Part", "Shape", "Texture", "box", "capsule", "checker", "darker", "dots", "ellipse", "frame_of",
    "hsv", "noise", "polygon", "ring", "stripes", "wave",
]  # fmt: skip

Colour = tuple[float, float, float]
Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Part:
    """One painted piece of an object: where it is, its colour (RGB in 0..1) and how strongly the texture shows."""

    shape: Shape
    colour: Colour
    texture: float = 0.0


class Draws:
    """Random numbers of one scene, all taken from uniform draws of one PCG64 stream."""

    def __init__(self, seed: Sequence[int]) -> None:
        self._stream = np.random.Generator(np.random.PCG64(list(seed)))

    def between(self, low: float, high: float) -> float:
        """A number uniform in [low, high)."""
        return low + (high - low) * float(self._stream.random())

    def near(self, mean: float, deviation: float) -> float:
        """A bell-shaped number (sum of three uniforms) with this mean and standard deviation, within 3 of them."""
        return mean + 2.0 * deviation * (float(self._stream.random(3).sum()) - 1.5)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return float(self._stream.random()) < probability

    def count(self, low: int, high: int) -> int:
        """An integer uniform in low..high, both included."""
        return low + min(int(float(self._stream.random()) * (high - low + 1)), high - low)

    def pick(self, options: Sequence):
        """One of the options, all equally likely."""
        return options[self.count(0, len(options) - 1)]

    def field(self, rows: int, columns: int) -> np.ndarray:
        """Float32 (rows, columns), uniform in [0, 1)."""
        return self._stream.random((rows, columns)).astype(np.float32)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB in 0..1 of a hue in turns (any real), a saturation and a value (both clipped to 0..1)."""
    saturation, value = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    ramps = (abs((hue * 6.0 + shift) % 6.0 - 3.0) - 1.0 for shift in (0.0, 4.0, 2.0))
    return tuple(value * (1.0 - saturation + saturation * min(max(ramp, 0.0), 1.0)) for ramp in ramps)


def darker(colour: Colour, factor: float) -> Colour:
    """A colour times a factor."""
    return tuple(channel * factor for channel in colour)


def ellipse(x: float, y: float, width: float, height: float) -> Shape:
    """Points within half-axes (width, height) of (x, y)."""
    return lambda u, v: ((u - x) * (1.0 / width)) ** 2 + ((v - y) * (1.0 / height)) ** 2 <= 1.0


def ring(x: float, y: float, outer: float, inner: float) -> Shape:
    """Points whose distance from (x, y) lies in inner..outer."""

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        square = (u - x) ** 2 + (v - y) ** 2
        return (square <= outer * outer) & (square >= inner * inner)

    return inside


def box(left: float, top: float, right: float, bottom: float) -> Shape:
    """Points of an upright rectangle."""
    return lambda u, v: (u >= left) & (u <= right) & (v >= top) & (v <= bottom)


def capsule(x0: float, y0: float, x1: float, y1: float, radius: float) -> Shape:
    """Points within `radius` of the segment from (x0, y0) to (x1, y1)."""
    dx, dy = x1 - x0, y1 - y0
    inverse = 1.0 / max(dx * dx + dy * dy, 1e-9)

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        along = np.clip(((u - x0) * dx + (v - y0) * dy) * inverse, 0.0, 1.0)
        return (u - x0 - along * dx) ** 2 + (v - y0 - along * dy) ** 2 <= radius * radius

    return inside


def polygon(*corners: tuple[float, float]) -> Shape:
    """Points inside a polygon, by the even-odd rule."""

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        odd = np.zeros(np.broadcast_shapes(u.shape, v.shape), bool)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if y0 != y1:
                crossing = (v - y0) * ((x1 - x0) / (y1 - y0)) + x0
                odd ^= ((v < y0) != (v < y1)) & (u < crossing)
        return odd

    return inside


def wave(phase: np.ndarray) -> np.ndarray:
    """A triangle wave in -1..1 of a phase in turns: the cosine's stand-in, exact on every machine."""
    return np.abs((phase - np.floor(phase)) * 4.0 - 2.0) - 1.0


def stripes(frequency: float, angle: float, phase: float = 0.0) -> Texture:
    """Soft stripes, `frequency` periods a unit, their normal at `angle` (turns)."""
    a, b = frequency * math.cos(math.tau * angle), frequency * math.sin(math.tau * angle)
    return lambda u, v: np.clip(wave(u * a + v * b + phase) * 2.5, -1.0, 1.0)


def dots(frequency: float, angle: float, phase: float = 0.0) -> Texture:
    """Dark dots on a turned square lattice."""
    one, other = stripes(frequency, angle, phase), stripes(frequency, angle + 0.25, phase)
    return lambda u, v: np.where((one(u, v) > 0.1) & (other(u, v) > 0.1), np.float32(-1.0), np.float32(0.4))


def checker(frequency: float, angle: float, phase: float = 0.0) -> Texture:
    """Fields of a turned chess board."""
    one, other = stripes(frequency, angle, phase), stripes(frequency, angle + 0.25, phase)
    return lambda u, v: np.where((one(u, v) > 0.0) == (other(u, v) > 0.0), np.float32(0.8), np.float32(-0.8))


def noise(draws: Draws, size: int, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise in 0..1, float32 (size, size): random values at cells (rows, columns), interpolated linearly."""
    rows, columns = cells
    field = draws.field(rows + 2, columns + 2)
    y = np.arange(size, dtype=np.float32) * np.float32(rows / size)
    x = np.arange(size, dtype=np.float32) * np.float32(columns / size)
    row, column = y.astype(np.intp), x.astype(np.intp)
    down, right = (y - row)[:, None], x - column
    field = field[row] + (field[row + 1] - field[row]) * down
    return field[:, column] + (field[:, column + 1] - field[:, column]) * right


def frame_of(
    centre: tuple[float, float], scale: float, angle: float, mirrored: bool, size: int
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """The canvas window of an object and the object's own coordinates in it.

    The object's unit square, turned by `angle` (turns) and scaled to a half side of `scale` pixels, lies at `centre`
    (x, y). Returns the row slice, the column slice, and float32 u (to the right) and v (down).
    """
    reach = scale * 1.3
    top, left = max(int(centre[1] - reach), 0), max(int(centre[0] - reach), 0)
    bottom, right = min(int(centre[1] + reach) + 1, size), min(int(centre[0] + reach) + 1, size)
    y = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - centre[1]))[:, None]
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - centre[0])
    cosine, sine = math.cos(math.tau * angle) / scale, math.sin(math.tau * angle) / scale
    u, v = x * cosine + y * sine, y * cosine - x * sine
    return slice(top, bottom), slice(left, right), -u if mirrored else u, v
