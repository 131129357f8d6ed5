"""COCO's annotations: panoptic segments as PNGs with a JSON file, and instances as polygons or RLE in a JSON file."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alignedcut_cli.datasets.coco_shapes import covered
from alignedcut_cli.datasets.mask_sets import MaskSet, named
from alignedcut_cli.datasets.masks import MOST_PIXELS, inside, is_text, read_png
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.store.files import disk_errors

__all__ = ["BACKGROUND", "VOID", "open_instances", "open_panoptic"]

BACKGROUND, VOID = 0, 255


@dataclass(frozen=True)
class _Image:
    """One image of a JSON file: its path without extension, and its size in pixels."""

    key: str
    height: int
    width: int


@dataclass(frozen=True)
class _Coco:
    """The content of a COCO JSON file: images by id, names of categories by id, and the raw annotations."""

    file: Path
    images: dict[Hashable, _Image]
    names: dict[int, str]
    things: frozenset[int]
    annotations: list[dict[str, Any]]

    def image_of(self, annotation: dict[str, Any]) -> _Image:
        found = annotation.get("image_id")
        if not isinstance(found, int | str) or found not in self.images:
            raise _bad(self.file, f"an annotation is of image {_short(found)}, which is not among its images")
        return self.images[found]

    def category_of(self, thing: dict[str, Any], where: str, taken: Sequence[int]) -> int:
        """The category of an annotation or segment; `taken` are ids that have another meaning in the mask."""
        found = thing.get("category_id")
        if type(found) is not int or found not in self.names:
            raise _bad(self.file, f"{where} has category {_short(found)}, which is not among its categories")
        if found in taken:
            raise _bad(
                self.file,
                f"{where} has category {found} ({self.names[found]}), a number that stands for "
                f"{'void' if found == VOID else 'background'}",
            )
        return found


def open_panoptic(path: Path) -> MaskSet:
    """The categories of COCO's panoptic segments, 255 where there is none (segment 0), with the categories' names.

    `path` is the JSON file, whose PNGs are in a folder of its name next to it (or to its folder), that folder, or a folder
    that holds one such pair. Raises InputMissingError, DataError or UsageError.
    """
    with disk_errors(path):
        file, folder = _panoptic_pair(path)
        coco = _read(file, "segments_info")
    files: dict[str, Path] = {}
    classes: dict[str, dict[int, int]] = {}
    things: dict[str, dict[int, int]] = {}
    for annotation in coco.annotations:
        key = coco.image_of(annotation).key
        if key in files:
            raise _bad(file, f"image {key} has two annotations")
        files[key] = inside(folder, annotation.get("file_name"), f"{file}, image {key},")
        classes[key] = _segments(coco, annotation, key)
        things[key] = {one: one if category in coco.things else 0 for one, category in classes[key].items()}
    with disk_errors(folder):
        lacking = [png.name for png in files.values() if not png.is_file()]
    if lacking:
        raise InputMissingError("masks-missing", f"{folder} lacks {named(lacking)}", "Unpack the PNGs again")
    return MaskSet(
        file,
        tuple(files),
        lambda key: _panoptic(files[key], classes[key]),
        coco.names,
        files=files,
        instances=(lambda key: _panoptic(files[key], things[key])) if coco.things else None,
    )


def open_instances(path: Path) -> MaskSet:
    """The category of the smallest instance at each pixel, 0 where there is none, with the categories' names.

    Crowds (iscrowd) are void, 255, except under instances. `path` is the JSON file, or a folder that holds one called
    instances_*.json, itself or in annotations/. Raises InputMissingError, DataError or UsageError.
    """
    with disk_errors(path):
        file = path if path.is_file() else _only(path, _below(path, "instances*.json"), "instances_*.json")
        coco = _read(file, "segmentation")
    shapes: dict[str, list[tuple[int, Any, str]]] = {image.key: [] for image in coco.images.values()}
    sizes = {image.key: image for image in coco.images.values()}
    for annotation in coco.annotations:
        where = f"annotation {_short(annotation.get('id'))}"
        category = coco.category_of(annotation, where, (BACKGROUND, VOID))
        shape = (VOID if annotation.get("iscrowd") else category, annotation.get("segmentation"), where)
        shapes[coco.image_of(annotation).key].append(shape)

    def load(key: str) -> np.ndarray:
        return _painted(file, shapes[key], sizes[key])

    return MaskSet(file, tuple(shapes), load, coco.names | {BACKGROUND: "background"})


def _segments(coco: _Coco, annotation: dict[str, Any], key: str) -> dict[int, int]:
    """The class id of each segment id of an image."""
    segments = annotation.get("segments_info")
    if not isinstance(segments, list):
        raise _bad(coco.file, f"image {key} has no segments_info")
    found = {0: VOID}
    for segment in segments:
        number = segment.get("id") if isinstance(segment, dict) else None
        if type(number) is not int or not 0 < number < 1 << 24 or number in found:
            raise _bad(
                coco.file, f"image {key} has a segment of id {_short(number)}, not one of its own from 1 to 2^24 - 1"
            )
        found[number] = coco.category_of(segment, f"segment {number} of image {key}", (VOID,))
    return found


def _panoptic(png: Path, classes: dict[int, int]) -> np.ndarray:
    """The class ids (H, W) int64 of a PNG of segment ids, R + 256 G + 65536 B."""
    values, _ = read_png(png)
    if values.ndim != 3 or values.shape[2] != 3:
        raise DataError("bad-mask", f"{png} is no RGB picture of segment ids", "Unpack COCO's panoptic PNGs again")
    ids = values.astype(np.int64) @ np.array([1, 256, 65536])
    known = np.array(sorted(classes))
    places = np.searchsorted(known, ids).clip(max=len(known) - 1)
    unknown = ids[known[places] != ids]
    if len(unknown):
        raise DataError(
            "bad-mask",
            f"{png} holds segment {unknown[0]}, which its JSON file lacks",
            "Give PNGs and JSON of one release",
        )
    return np.array([classes[one] for one in known.tolist()], np.int64)[places]


def _painted(file: Path, shapes: Sequence[tuple[int, Any, str]], image: _Image) -> np.ndarray:
    """The class ids (H, W) int64 of shapes (class, segmentation, name), the smaller on top, void at the bottom."""
    size = image.height, image.width
    mask, area = np.full(size, BACKGROUND, np.int64), np.full(size, image.height * image.width + 2)
    for category, segmentation, where in shapes:
        try:
            pixels = covered(segmentation, *size)
        except ValueError as error:
            raise _bad(file, f"{where}: {error}") from None
        own = image.height * image.width + 1 if category == VOID else int(pixels.sum())
        pixels &= own < area
        mask[pixels], area[pixels] = category, own
    return mask


def _read(file: Path, field: str) -> _Coco:
    """The JSON file, its ids and sizes checked; its annotations have `field`. Raises DataError."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise _bad(file, "it is no JSON") from None
    images: dict[Hashable, _Image] = {}
    for one in _list(file, content, "images"):
        name, height, width = one.get("file_name"), one.get("height"), one.get("width")
        number = one.get("id")
        if not isinstance(number, int | str) or number in images:
            raise _bad(file, f"its images have no ids of their own: {_short(number)}")
        if (
            type(height) is not int
            or type(width) is not int
            or not (height > 0 < width and height * width <= MOST_PIXELS)
        ):
            raise _bad(file, f"image {_short(number)} is {_short(width)} x {_short(height)} pixels")
        key = inside(Path(), name, f"{file}, image {_short(number)},").with_suffix("").as_posix()
        images[number] = _Image(key, height, width)
    if len({image.key for image in images.values()}) < len(images):
        raise _bad(file, "two of its images have one file_name")
    names: dict[int, str] = {}
    things = set()
    for one in _list(file, content, "categories"):
        number, name = one.get("id"), one.get("name")
        if type(number) is not int or not 0 <= number < 1 << 31 or number in names or not is_text(name):
            raise _bad(file, f"its categories have no ids and names of their own: {_short(number)}, {_short(name)}")
        names[number] = name
        if one.get("isthing"):
            things.add(number)
    annotations = _list(file, content, "annotations")
    if not all(field in one for one in annotations):
        raise _bad(file, f"its annotations have no {field}")
    return _Coco(file, images, names, frozenset(things), annotations)


def _list(file: Path, content: Any, name: str) -> list[dict[str, Any]]:
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise _bad(file, f"it has no list of {name}")
    return found


def _panoptic_pair(path: Path) -> tuple[Path, Path]:
    """(the JSON file, the folder of its PNGs)."""
    if path.is_file():
        folders = (path.parent / path.stem, path.parent.parent / path.stem)
        folder = next((found for found in folders if found.is_dir()), None)
        if folder is None:
            raise InputMissingError(
                "masks-missing", f"{folders[0]} does not exist", f"Unpack the PNGs of {path.name} beside it"
            )
        return path, folder
    beside = (path.parent / f"{path.name}.json", path.parent / "annotations" / f"{path.name}.json")
    file = next((found for found in beside if path.is_dir() and found.is_file()), None)
    return (file, path) if file else _panoptic_pair(_only(path, _below(path, "panoptic*.json"), "panoptic_*.json"))


def _below(path: Path, pattern: str) -> list[Path]:
    return sorted(found for folder in (path, path / "annotations") for found in folder.glob(pattern) if found.is_file())


def _only(path: Path, found: Sequence[Path], wanted: str) -> Path:
    if not found:
        raise InputMissingError("masks-missing", f"{path} holds no {wanted}", "Give COCO's JSON file")
    if len(found) > 1:
        told = named([one.name for one in found])
        raise UsageError("which-masks", f"{path} holds {len(found)} of {wanted}: {told}", "Give one of these files")
    return found[0]


def _short(value: object) -> str:
    return reprlib.repr(value)


def _bad(file: Path, told: str) -> DataError:
    return DataError(
        "bad-annotations", f"{file}: {told}", "Give COCO's file for --dataset coco-panoptic or coco-instances"
    )
