"""A ground truth as its readers give it: masks by key, and the names of class ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from alignedcut_cli.errors import DataError

__all__ = ["MaskSet", "named"]

_NAMED = 3


def named(things: Sequence[str]) -> str:
    """The first few of some things, and how many more there are."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more


@dataclass(frozen=True)
class MaskSet:
    """Masks of class ids: `keys` as an image's path names them (without extension), `load` gives one (H, W) int64.

    `key_of` makes a key of an image's path or file name; `files` are those of the keys, where each has its own.
    """

    place: Path
    keys: tuple[str, ...]
    load: Callable[[str], np.ndarray] = field(repr=False)
    names: Mapping[int, str] = field(default_factory=dict)
    key_of: Callable[[str], str] = field(default=lambda path: path, repr=False)
    files: Mapping[str, Path] = field(default_factory=dict, repr=False)

    def match(self, images: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """The key of each image's mask, by its path without extension, or else its file name; None where there is none.

        Raises DataError if two images share a mask.
        """
        there = set(self.keys)
        found = [self._key(PurePosixPath(image["path"]), there) for image in images]
        owners: dict[str, str] = {}
        for image, key in zip(images, found, strict=True):
            if key is not None and owners.setdefault(key, image["path"]) != image["path"]:
                raise DataError(
                    "mask-shared",
                    f"{owners[key]} and {image['path']} would share the mask {key} of {self.place}",
                    "Put masks into folders like those of the images",
                )
        return found

    def _key(self, path: PurePosixPath, there: set[str]) -> str | None:
        candidates = (self.key_of(path.with_suffix("").as_posix()), self.key_of(path.stem))
        return next((key for key in candidates if key in there), None)

    def read(self, key: str, image: Mapping[str, Any]) -> np.ndarray:
        """One mask (H, W) int64, of the size of its image. Raises DataError otherwise."""
        mask = self.load(key)
        size = (image["width"], image["height"])
        if mask.shape != size[::-1]:
            where = self.files.get(key) or f"{self.place / key}{'.png' if self.place.is_dir() else ''}"
            remedy = (
                "One of the two was turned: give the mask upright, or with its photograph's orientation tag"
                if mask.shape == size
                else "Masks have the size of their images"
            )
            raise DataError(
                "bad-mask", f"{where} is {mask.shape[1]} x {mask.shape[0]}, its image {size[0]} x {size[1]}", remedy
            )
        return mask
