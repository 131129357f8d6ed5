"""A mask of class ids from a PNG file, and the labels of a cut's nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.errors import DataError

__all__ = ["node_labels", "read_mask"]

_MODES = ("L", "P", "I", "I;16", "1")
_LARGEST = 1 << 26


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
