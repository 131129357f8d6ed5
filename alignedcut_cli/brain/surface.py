"""The positions of a subject's vertices on fsaverage, the surface that all subjects share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.arrays import map_npy
from alignedcut_cli.errors import DataError

__all__ = ["FSAVERAGE", "read_vertices"]

FSAVERAGE = 163_842
"""Vertices per hemisphere of fsaverage."""


def read_vertices(folder: Path, widths: Mapping[str, int]) -> np.ndarray | None:
    """The fsaverage vertex of each of a subject's vertices, int64 (columns,), hemispheres in the order of `widths`.

    Read from {lh,rh}.all-vertices_fsaverage_space.npy, which mark the vertices that were measured; None where one is
    missing. Raises DataError if a file is not such a mask, or marks another number of vertices than were measured.
    """
    paths = {side: folder / f"{side}.all-vertices_fsaverage_space.npy" for side in widths}
    if not all(path.is_file() for path in paths.values()):
        return None
    return np.concatenate([_marked(paths[side], width) for side, width in widths.items()])


def _marked(path: Path, width: int) -> np.ndarray:
    mask = map_npy(path)
    if mask.shape != (FSAVERAGE,) or not np.isin(mask, (0, 1)).all():
        raise DataError(
            "vertices-mask",
            f"{path} must hold 0 or 1 for each of {FSAVERAGE} vertices, and has shape {mask.shape}",
            "Fetch the file again",
        )
    found = np.flatnonzero(mask)
    if len(found) != width:
        raise DataError(
            "vertices-count",
            f"{path} marks {len(found)} vertices, and {width} have responses",
            "Give the masks of this subject",
        )
    return found.astype(np.int64)
