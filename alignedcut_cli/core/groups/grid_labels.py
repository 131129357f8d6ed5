"""The class of each cell of a grid, from a mask of class ids."""

from __future__ import annotations

import numpy as np

__all__ = ["grid_labels"]


def grid_labels(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The most frequent class id of each cell (rows, cols) of the grid, ties to the smaller id: int64."""
    (rows, down), (columns, across) = (_lines_of(*both) for both in zip(mask.shape, grid, strict=True))
    ids, codes = np.unique(mask, return_inverse=True)
    places = (down[:, None] * grid[1] + across) * len(ids) + codes.reshape(mask.shape)[np.ix_(rows, columns)]
    counts = np.bincount(places.ravel(), minlength=grid[0] * grid[1] * len(ids))
    return ids[counts.reshape(*grid, -1).argmax(-1)].astype(np.int64)


def _lines_of(pixels: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The lines of pixels of each cell along an axis, at least one each, cell after cell, and the cell of each."""
    edges = np.linspace(0, pixels, cells + 1).round().astype(np.int64)
    first = np.minimum(edges[:-1], pixels - 1)
    counts = np.maximum(edges[1:] - first, 1)
    cell = np.arange(cells).repeat(counts)
    return first[cell] + np.arange(len(cell)) - (counts.cumsum() - counts)[cell], cell
