"""A folder of PNG masks of class ids, with an optional file that names the ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.datasets.masks import read_mask
from alignedcut_cli.datasets.masks_cityscapes import PHOTOGRAPH, cityscapes_names, cityscapes_suffix
from alignedcut_cli.errors import DataError, InputMissingError
from alignedcut_cli.store.files import disk_errors

__all__ = ["names_in", "open_folder", "read_masks", "read_names"]

NAMES_FILES = ("names.json", "names.txt")


def open_folder(folder: Path, names: Path | None = None, mask_suffix: str | None = None) -> MaskSet:
    """The masks of a folder and of the folders below. Names of ids come from `names`, or names.json or names.txt in it.

    With `mask_suffix`, the mask of a.jpg is a + mask_suffix + .png, and other files are none; Cityscapes' suffix is known
    by the names of its files, and its photographs' ending left out. Raises InputMissingError if the folder, or any mask
    in it, is missing, UsageError for Cityscapes' ids of two kinds, DataError for names that cannot be read.
    """
    with disk_errors(folder):
        if not folder.is_dir():
            raise InputMissingError("masks-missing", f"{folder} is no folder", "Give the folder with the PNG masks")
        paths = sorted(path.relative_to(folder) for path in folder.rglob("*.png") if path.is_file())
    suffix = (mask_suffix or "").removesuffix(".png") or cityscapes_suffix(folder, [path.stem for path in paths]) or ""
    files = {
        path.with_suffix("").as_posix().removesuffix(suffix): folder / path
        for path in paths
        if path.stem.endswith(suffix)
    }
    if not files:
        told = f" whose name ends in {suffix}.png" if suffix else ""
        raise InputMissingError("masks-missing", f"{folder} holds no mask{told}", "Give the folder with the PNG masks")
    return MaskSet(
        folder,
        tuple(files),
        lambda key: read_mask(files[key]),
        read_names(names, folder.absolute().name) if names else names_in(folder) or cityscapes_names(suffix),
        (lambda path: path.removesuffix(PHOTOGRAPH)) if suffix else (lambda path: path),
        files,
    )


def read_masks(folder: Path, images: Sequence[Mapping[str, Any]], mask_suffix: str | None = None) -> list[np.ndarray]:
    """The mask (H, W) int64 of each image, found by its name without extension; palette PNGs are read as indices.

    Raises InputMissingError if the folder or a mask is not there, DataError for a mask of colours or of another size.
    """
    masks = open_folder(folder, mask_suffix=mask_suffix)
    keys = masks.match(images)
    lacking = [image["path"] for image, key in zip(images, keys, strict=True) if key is None]
    if lacking:
        raise InputMissingError(
            "masks-missing", f"{folder} has no mask for {len(lacking)} images, such as {lacking[0]}", "Add them as PNG"
        )
    return [masks.read(str(key), image) for image, key in zip(images, keys, strict=True)]


def names_in(folder: Path) -> dict[int, str]:
    """The names of class ids that a folder of masks brings along; {} if it brings none. Raises DataError as read_names."""
    with disk_errors(folder):
        inside = [folder / name for name in NAMES_FILES if (folder / name).is_file()]
    return read_names(inside[0], folder.absolute().name) if inside else {}


def read_names(path: Path, section: str = "") -> dict[int, str]:
    """The name of each class id: {id: name}.

    JSON: a list (its places are the ids), an object from id to a name or to an object with a `name`, or an object that
    holds one of these under `section`. Text: a name a line, or lines of an id and a name. Raises DataError for others.
    """
    with disk_errors(path):
        text = path.read_bytes().decode("utf-8", errors="replace")
    try:
        return _from_json(json.loads(text), section) if path.suffix.lower() == ".json" else _from_lines(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DataError(
            "bad-names", f"{path} holds no names of class ids", 'Give lines such as "3 dog", or JSON {"3": "dog"}'
        ) from None


def _from_json(value: Any, section: str) -> dict[int, str]:
    if isinstance(value, Mapping) and section in value and not section.isdecimal():
        return _from_json(value[section], "")
    pairs = enumerate(value) if isinstance(value, list) else value.items()
    return {int(key): _name(one) for key, one in pairs}


def _name(value: Any) -> str:
    name = value["name"] if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        raise TypeError
    return name


def _from_lines(text: str) -> dict[int, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [line.partition("\t" if "\t" in line else " ") for line in lines]
    if all(head.rstrip(":").isdecimal() and rest.strip() for head, _, rest in pairs):
        return {int(head.rstrip(":")): rest.strip() for head, _, rest in pairs}
    return dict(enumerate(lines))
