"""A ground truth in the form that all readers return: masks by key, and the names of class ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alignedcut_cli.datasets.mask_matching import match_masks
from alignedcut_cli.errors import DataError, InputMissingError

__all__ = ["MaskSet", "named"]

_NAMED = 3


def named(things: Sequence[str]) -> str:
    """The first few items, and the count of the others."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more


@dataclass(frozen=True)
class MaskSet:
    """Masks of class ids: `keys` are image paths without extension, `load` returns one mask (H, W) int64.

    `key_of` makes a key from an image's path or file name; `files` are those of the keys, where each has its own; `notes`
    tell the user how they were found. `instances`, if known, returns the instance (H, W) int64 at each pixel of a key's
    mask, numbered within the image, 0 for none.
    """

    place: Path
    keys: tuple[str, ...]
    load: Callable[[str], np.ndarray] = field(repr=False)
    names: Mapping[int, str] = field(default_factory=dict)
    key_of: Callable[[str], str] = field(default=lambda path: path, repr=False)
    files: Mapping[str, Path] = field(default_factory=dict, repr=False)
    notes: Sequence[str] = ()
    instances: Callable[[str], np.ndarray] | None = field(default=None, repr=False)

    def match(self, images: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """The key of each image's mask, None where there is none. Raises DataError as `match_masks` does."""
        return match_masks(self.place, self.keys, [image["path"] for image in images], self.key_of)

    def read_all(self, images: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        """The mask (H, W) int64 of each image. Raises InputMissingError if one has none, DataError as `read` and `match`."""
        keys = self.match(images)
        lacking = [image["path"] for image, key in zip(images, keys, strict=True) if key is None]
        if lacking:
            told = f"{self.place} has no mask for {len(lacking)} images, such as {lacking[0]}"
            raise InputMissingError("masks-missing", told, "Add them as PNG")
        return [self.read(str(key), image) for image, key in zip(images, keys, strict=True)]

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
