"""Ground-truth masks: PNGs of class ids, brought to the grid of a slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from alignedcut_cli.errors import DataError, InputMissingError
from alignedcut_cli.store.files import disk_errors

__all__ = ["grid_labels", "read_masks"]

_MODES = ("L", "P", "I", "I;16", "1")
_LARGEST = 1 << 26


def read_masks(folder: Path, images: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """The mask (H, W) int64 of each image, found by its name without extension; palette PNGs are read as indices.

    Raises InputMissingError if the folder or a mask is not there, DataError for a mask of colours or of another size.
    """
    with disk_errors(folder):
        if not folder.is_dir():
            raise InputMissingError("masks-missing", f"{folder} is no folder", "Give the folder with the PNG masks")
        there = {path.stem: path for path in sorted(folder.glob("*.png"))}
    lacking = [image["path"] for image in images if PurePosixPath(image["path"]).stem not in there]
    if lacking:
        raise InputMissingError(
            "masks-missing", f"{folder} has no mask for {len(lacking)} images, such as {lacking[0]}", "Add them as PNG"
        )
    return [_read(there[PurePosixPath(image["path"]).stem], image) for image in images]


def _read(path: Path, image: Mapping[str, Any]) -> np.ndarray:
    try:
        with Image.open(path, formats=["PNG"]) as mask:
            size, mode = mask.size, mask.mode
            if size[0] * size[1] <= _LARGEST and mode in _MODES:
                mask.load()
                pixels = np.array(mask).astype(np.int64)
            else:
                raise DataError(
                    "bad-mask", f"{path} has mode {mode}, {size}", "Save class ids as a grey or palette PNG"
                )
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError("bad-mask", f"{path} cannot be read ({error})", "Save it again as PNG") from None
    if size != (image["width"], image["height"]):
        raise DataError(
            "bad-mask",
            f"{path} is {size[0]} x {size[1]}, its image {image['width']} x {image['height']}",
            "Masks have the size of their images",
        )
    return pixels


def grid_labels(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The most frequent class id of each cell (rows, cols) of the grid, the smaller of equals: int64."""
    rows, columns = grid
    lines = np.linspace(0, mask.shape[0], rows + 1).round().astype(int)
    edges = np.linspace(0, mask.shape[1], columns + 1).round().astype(int)
    found = np.empty(grid, np.int64)
    for row in range(rows):
        for column in range(columns):
            top, left = min(lines[row], mask.shape[0] - 1), min(edges[column], mask.shape[1] - 1)
            cell = mask[top : max(top + 1, lines[row + 1]), left : max(left + 1, edges[column + 1])]
            values, counts = np.unique(cell, return_counts=True)
            found[row, column] = values[counts.argmax()]
    return found
