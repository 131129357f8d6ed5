"""Scenes of zero to three objects on a background, with exact masks and a caption.

`python -m sample_data.make.scenes DIR` writes the shipped set of scenes into DIR.
"""

import argparse
import colorsys
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .backgrounds import BACKGROUNDS, paint_background
from .large import building, vehicle, word
from .living import animal, body, face, plant
from .shapes import Draws, Part, Texture, checker, dots, frame_of, stripes
from .small import ball, food, tool

__all__ = [
    "BACKGROUNDS", "CATEGORIES", "SIZE", "VOCABULARY", "Placed", "Scene", "names", "scene", "sentence", "write_captions",
    "write_scenes",
]  # fmt: skip

SIZE = 96
SHIPPED = 64
_FINE = 2  # Objects are painted at this many samples a pixel side, then averaged.


@dataclass(frozen=True)
class Look:
    """What a category's objects share: painter, loose hue (turns), loose texture, how far they may turn, how often
    they are mirrored."""

    paint: Callable[[Draws, float], list[Part]]
    hue: float
    texture: Callable[[float, float, float], Texture]
    frequency: float
    angle: float
    tilt: float
    mirrors: float = 0.5


LOOKS = {
    "face": Look(face, 0.10, stripes, 4.0, 0.02, 0.05),
    "body": Look(body, 0.60, stripes, 4.5, 0.25, 0.03),
    "animal": Look(animal, 0.09, dots, 3.0, 0.06, 0.03),
    "vehicle": Look(vehicle, 0.98, stripes, 3.0, 0.25, 0.03),
    "building": Look(building, 0.11, checker, 4.5, 0.0, 0.01),
    "food": Look(food, 0.10, dots, 4.0, 0.13, 0.06),
    "word": Look(word, 0.15, stripes, 2.0, 0.1, 0.04, mirrors=0.0),
    "tool": Look(tool, 0.03, stripes, 5.0, 0.25, 0.5),
    "plant": Look(plant, 0.31, stripes, 5.0, 0.12, 0.03),
    "ball": Look(ball, 0.82, stripes, 3.5, 0.12, 0.5),
}
CATEGORIES = tuple(LOOKS)
HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
VOCABULARY = (*CATEGORIES, *BACKGROUNDS, "small", "large", "left", "right", "upper", "lower", "alone", "empty",
              "bright", "dark", *HUES)  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """One visible object: category index, instance number, centre (x, y) and half side in pixels, turn, mirrored."""

    category: int
    instance: int
    centre: tuple[float, float]
    radius: float
    angle: float
    is_mirrored: bool


@dataclass(frozen=True)
class Scene:
    """A picture and all that is true of it.

    image uint8 (size, size, 3); category uint8 (size, size), 0 or 1 + index into CATEGORIES; instance uint8
    (size, size), 0 or 1, 2, 3 from back to front; background uint8 (size, size), 1 + index into BACKGROUNDS of the
    kind seen at or behind a pixel; background_kind, the index of the scene's own kind; horizon in 0..1, or 0 where
    the kind has none; objects from back to front; caption, the words that describe the scene.
    """

    image: np.ndarray
    category: np.ndarray
    instance: np.ndarray
    background: np.ndarray
    background_kind: int
    horizon: float
    objects: tuple[Placed, ...]
    caption: tuple[str, ...]


def _texture(draws: Draws, look: Look) -> Texture:
    frequency, angle = look.frequency * draws.between(0.8, 1.25), look.angle + draws.near(0.0, 0.03)
    return look.texture(frequency, angle, draws.between(0.0, 1.0))


def _place(draws: Draws, number: int, radii: tuple[float, float], size: int) -> list[tuple[float, float, float]]:
    """Centres and half sides (x, y, radius) in pixels, far enough apart that none hides another."""
    places = []
    for _ in range(number):
        for attempt in range(30):
            radius = draws.between(*radii) * (1.0 - 0.01 * attempt)
            edge = min(0.75 * radius, size / 2)
            x, y = draws.between(edge, size - edge), draws.between(edge, size - edge)
            apart = [((x - a) ** 2 + (y - b) ** 2) ** 0.5 / (radius + r) for a, b, r in places]
            if all(gap > 0.72 for gap in apart):
                places.append((x, y, radius))
                break
    return sorted(places, key=lambda place: place[1])


def _coloured(parts: list[Part], texture: Texture, u: np.ndarray, v: np.ndarray, light: tuple[float, float]):
    """Where an object is (bool) and its shaded colour, float32 (rows, columns, 3)."""
    which = np.zeros(u.shape, np.uint8)
    for number, part in enumerate(parts, start=1):
        which[part.shape(u, v)] = number
    palette = np.array([(0.0, 0.0, 0.0)] + [part.colour for part in parts], np.float32)
    strength = np.array([0.0] + [part.texture for part in parts], np.float32)[which]
    shade = np.float32(1.0) + np.float32(light[0]) * u + np.float32(light[1]) * v
    shade += np.float32(0.24) * strength * texture(u, v)
    return which > 0, palette[which] * shade[..., None]


def _shrink(fine: np.ndarray) -> np.ndarray:
    """Sums over blocks of _FINE x _FINE samples."""
    return sum(fine[i::_FINE, j::_FINE] for i in range(_FINE) for j in range(_FINE))


def _clutter(draws: Draws, canvas: np.ndarray) -> None:
    """Small plain blobs of any colour, scattered over a background."""
    size = len(canvas)
    line = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(1.0 / size)
    for _ in range(draws.count(0, 6)):
        x, y, wide, tall = draws.between(0, 1), draws.between(0, 1), draws.near(0.018, 0.006), draws.near(0.018, 0.006)
        colour = [draws.between(0.1, 0.95) for _ in range(3)]
        canvas[((line[None, :] - x) / (wide + 0.008)) ** 2 + ((line[:, None] - y) / (tall + 0.008)) ** 2 <= 1] = colour


def _caption(objects: tuple[Placed, ...], hues: list[float], kind: int, is_bright: bool, size: int) -> tuple[str, ...]:
    words = []
    for placed, hue in zip(objects, hues, strict=True):
        words += [CATEGORIES[placed.category], "large" if placed.radius > size * 0.24 else "small"]
        words += [
            "left" if placed.centre[0] < size / 2 else "right",
            "upper" if placed.centre[1] < size / 2 else "lower",
        ]
        words.append(HUES[int((hue % 1.0) * len(HUES) + 0.5) % len(HUES)])
    if len(objects) < 2:
        words.append("alone" if objects else "empty")
    return (*words, BACKGROUNDS[kind], "bright" if is_bright else "dark")


def sentence(caption: Sequence[str]) -> str:
    """The words of a caption as a sentence: a large red ball at the upper left, before grass, in bright light."""
    *words, ground, light = caption
    things = [words[place : place + 5] for place in range(0, len(words) - 4, 5)]
    told = [f"a {size} {hue} {category} at the {rise} {side}" for category, size, side, rise, hue in things]
    seen = " and ".join(part for part in (", ".join(told[:-1]), *told[-1:]) if part) or "nothing"
    return f"{seen}, before {ground}, in {light} light"


def scene(
    seed: int,
    *,
    objects: tuple[int, int] = (0, 3),
    radius: tuple[float, float] = (0.17, 0.42),
    categories: tuple[int, ...] | None = None,
    background: int | None = None,
    size: int = SIZE,
    encounter: int | None = None,
) -> Scene:
    """The scene of a seed, always the same.

    `objects` bounds their number, `radius` their half side as a share of the picture's side (with two objects at
    most 0.3, with three at most 0.25); `categories` and `background` (indices) restrict what is drawn.
    The encounters of a seed show the same objects, as film of them would, at other sizes and places, on another
    background and in another light.
    """
    draws, fine = Draws((20260, seed) if encounter is None else (20260, seed, 1 + encounter)), size * _FINE
    cast = draws if encounter is None else Draws((20260, seed, 0))
    kind = draws.count(0, len(BACKGROUNDS) - 1) if background is None else background
    horizon = draws.between(0.18, 0.5)
    canvas, kinds = paint_background(draws, kind, fine, horizon)
    _clutter(draws, canvas)
    light = (draws.between(-0.2, 0.2), -draws.between(0.05, 0.22))
    number = cast.count(*objects)
    limit = (0.5, 0.5, 0.3, 0.25)[min(number, 3)]
    places = _place(draws, number, (radius[0] * size, min(radius[1], limit) * size), size)
    labels, painted = np.zeros((fine, fine), np.uint8), []
    for instance, place in enumerate(places, start=1):
        category = cast.pick(categories or range(len(CATEGORIES)))
        painted.append(_paint_object(cast, canvas, labels, place, category, instance, light))
    exposure = draws.between(0.65, 1.15)
    tint = np.array([draws.near(1.0, 0.05) for _ in range(3)], np.float32) * np.float32(exposure)
    image = np.clip(_shrink(canvas) * (tint * np.float32(255.0 / _FINE**2)), 0, 255)
    instance, category = _masks(labels, [placed.category for placed, _ in painted])
    seen = [(placed, hue) for placed, hue in painted if (instance == placed.instance).any()]
    shown = tuple(placed for placed, _ in seen)
    return Scene(
        image=(image + np.float32(0.5)).astype(np.uint8),
        category=category,
        instance=instance,
        background=kinds[::_FINE, ::_FINE] + np.uint8(1),
        background_kind=kind,
        horizon=horizon if BACKGROUNDS[kind] in ("grass", "water", "sand", "road") else 0.0,
        objects=shown,
        caption=_caption(shown, [hue for _, hue in seen], kind, exposure > 0.9, size),
    )


def _paint_object(draws, canvas, labels, place, category: int, instance: int, light) -> tuple[Placed, float]:
    """Paint one object into the canvas and its instance number into the labels, in place; what it is, and its hue."""
    x, y, reach = place
    look = LOOKS[CATEGORIES[category]]
    hue, angle, is_mirrored = draws.near(look.hue, 0.06), draws.near(0, look.tilt / 2), draws.chance(look.mirrors)
    parts, texture = look.paint(draws, hue), _texture(draws, look)
    frame = frame_of((x * _FINE, y * _FINE), reach * _FINE, angle, is_mirrored, len(canvas))
    rows, columns, u, v = frame
    inside, colour = _coloured(parts, texture, u, v, light)
    canvas[rows, columns][inside] = colour[inside]
    labels[rows, columns][inside] = instance
    return Placed(category, instance, (x, y), reach, angle, is_mirrored), hue


def _masks(labels: np.ndarray, categories: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Instance and category masks of the picture: a pixel is an object's if at least half of its samples are."""
    instance = np.zeros([length // _FINE for length in labels.shape], np.uint8)
    for number in range(1, len(categories) + 1):
        instance[_shrink((labels == number).astype(np.uint8)) >= _FINE**2 // 2] = number
    table = np.array([0, *(1 + category for category in categories)], np.uint8)
    return instance, table[instance]


def names() -> dict[str, list[str]]:
    """The names of the mask values 0, 1, 2 … of category and of background."""
    return {"category": ["background", *CATEGORIES], "background": ["none", *BACKGROUNDS]}


def _palette() -> list[int]:
    """Sixteen well-separated RGB colours, black first, as a flat list."""
    colours = [colorsys.hsv_to_rgb((5 * k % 15) / 15, 0.75, 0.95 - 0.25 * (k % 2)) for k in range(15)]
    return [0, 0, 0] + [int(255 * channel) for colour in colours for channel in colour]


def _save_mask(mask: np.ndarray, path: Path) -> None:
    picture = Image.fromarray(mask)
    picture.putpalette(_palette())
    picture.save(path, optimize=True)


def write_scenes(folder: Path, seeds: Sequence[int] = range(SHIPPED)) -> None:
    """Write images/, category/, instance/ and background/ (PNG, one a scene), names.json and captions.csv into `folder`.

    A scene's files are called scene-0007.png after its seed; masks are palette images whose values names.json names.
    """
    for kind in ("images", "category", "instance", "background"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    captions = {}
    for seed in seeds:
        made, name = scene(seed), f"scene-{seed:04d}.png"
        Image.fromarray(made.image).save(folder / "images" / name, optimize=True)
        for kind in ("category", "instance", "background"):
            _save_mask(getattr(made, kind), folder / kind / name)
        captions[name] = " ".join(made.caption)
    text = json.dumps(names() | {"captions": captions}, indent=1)
    (folder / "names.json").write_text(text + "\n", encoding="utf-8")
    write_captions(folder / "captions.csv", {name: told.split() for name, told in captions.items()})


def write_captions(path: Path, captions: Mapping[str, Sequence[str]]) -> None:
    """Write a csv of image and caption: for each image the sentence that its words make."""
    lines = [f'{name},"{sentence(words)}"' for name, words in captions.items()]
    path.write_text("\n".join(["image,caption", *lines]) + "\n", encoding="utf-8")


def main() -> None:
    """Write the shipped scenes into the folder given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write_scenes(parser.parse_args().folder)


if __name__ == "__main__":
    main()
