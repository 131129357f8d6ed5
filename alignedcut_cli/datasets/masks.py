"""Masks of class ids from PNG files, and their labels on the grid of a slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alignedcut_cli.errors import DataError, InputMissingError

__all__ = ["grid_labels", "node_labels", "read_mask", "read_masks"]

_MODES = ("L", "P", "I", "I;16", "1")
_LARGEST = 1 << 26


def read_masks(folder: Path, images: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """The mask (H, W) int64 of each image, found by its name without extension; palette PNGs are read as indices.

    Raises InputMissingError if the folder or a mask is not there, DataError for a mask of colours or of another size.
    """
    from alignedcut_cli.datasets.masks_folder import open_folder

    masks = open_folder(folder)
    keys = masks.match(images)
    lacking = [image["path"] for image, key in zip(images, keys, strict=True) if key is None]
    if lacking:
        raise InputMissingError(
            "masks-missing", f"{folder} has no mask for {len(lacking)} images, such as {lacking[0]}", "Add them as PNG"
        )
    return [masks.read(str(key), image) for image, key in zip(images, keys, strict=True)]


def read_mask(path: Path) -> np.ndarray:
    """The class ids (H, W) int64 of a grey or palette PNG. Raises DataError for colours, or for what cannot be read."""
    try:
        with Image.open(path, formats=["PNG"]) as mask:
            size, mode = mask.size, mask.mode
            if size[0] * size[1] > _LARGEST or mode not in _MODES:
                raise DataError(
                    "bad-mask", f"{path} has mode {mode}, {size}", "Save class ids as a grey or palette PNG"
                )
            mask.load()
            return np.array(mask).astype(np.int64)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError("bad-mask", f"{path} cannot be read ({error})", "Save it again as PNG") from None


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


def node_labels(
    nodes: np.ndarray,
    slots: Sequence[Mapping[str, Any]],
    masks: Sequence[np.ndarray | None],
    ignore: Sequence[int] = (),
) -> np.ndarray:
    """The class id of every node of a cut, the commonest of its cell: (M,) int64; -1 where it has none.

    `nodes` (M, 4) is the cut's table (image, slot, row, col) and `slots` its axis S; `masks` holds the ids (H, W) of each
    image, None for an image without. -1: class tokens, ids in `ignore`, images without a mask.
    """
    labels = np.full(len(nodes), -1, np.int64)
    grids = [tuple(slot["grid"]) for slot in slots]
    for grid in dict.fromkeys(grids):
        alike = np.isin(nodes[:, 1], [number for number, one in enumerate(grids) if one == grid]) & (nodes[:, 2] >= 0)
        cells = np.full((len(masks), *grid), -1, np.int64)
        for number, mask in enumerate(masks):
            if mask is not None:
                cells[number] = grid_labels(mask, grid)  # type: ignore[arg-type]
        labels[alike] = cells[nodes[alike, 0], nodes[alike, 2], nodes[alike, 3]]
    labels[np.isin(labels, np.asarray(ignore, np.int64))] = -1
    return labels
