"""The class of each image: from a table of image and label, or the name of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from alignedcut_cli.brain import match_images
from alignedcut_cli.brain.delimited import image_columns, open_delimited
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError, InputMissingError

__all__ = ["FOLDERS", "Labels", "read_labels"]

FOLDERS = "folders"
_COLUMNS = ("label", "class", "category", "name")


@dataclass(frozen=True)
class Labels:
    """Indices of images in a feature set (B,), their names, their class index (B,), and the classes' names, sorted."""

    places: np.ndarray
    images: tuple[str, ...]
    numbers: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Rows:
    images: tuple[str, ...]

    @property
    def files(self) -> tuple[Path | None, ...]:
        return (None,) * len(self.images)


def read_labels(given: str, images: Sequence[Mapping[str, Any]]) -> Labels:
    """The labels of images that have one. Raises InputMissingError, or DataError for fewer than two classes."""
    if given == FOLDERS:
        named = [(place, image["path"], PurePosixPath(image["path"]).parent.name) for place, image in enumerate(images)]
        found = [one for one in named if one[2]]
    else:
        rows, labels = _read_table(Path(given))
        matched = match_images(_Rows(tuple(rows)), images)
        pairs = sorted(zip(matched.places.tolist(), matched.rows.tolist(), strict=True))
        found = [(place, images[place]["path"], labels[row]) for place, row in pairs]
    classes = sorted({label for _, _, label in found})
    if len(classes) < 2:
        told = f"--labels {given}: the images have {len(classes)} classes ({few(classes) or 'none'})"
        raise DataError("labels-few", told, "Give two classes or more")
    return Labels(
        np.array([place for place, _, _ in found], np.int64),
        tuple(path for _, path, _ in found),
        np.array([classes.index(label) for _, _, label in found], np.int64),
        tuple(classes),
    )


def _read_table(path: Path) -> tuple[list[str], list[str]]:
    if not path.is_file():
        raise InputMissingError("labels-missing", f"--labels {path}: there is no such file", "Give a csv, or folders")
    table = open_delimited(path)
    header = [name.strip().lower() for name in table.header]
    image = image_columns(table.header)
    label = next((header.index(name) for name in _COLUMNS if name in header), None)
    if not image or label is None:
        told = f"{path} must have columns `image` and `label`, and has {few(table.header)}"
        raise DataError("labels-columns", told, "Name them so")
    rows = [cells for _, cells in table.rows() if cells]
    return [row[image[0]].strip() for row in rows], [row[label].strip() for row in rows]
