"""The class of each cell of a grid, from a mask of class ids."""

from __future__ import annotations

import numpy as np

__all__ = ["grid_labels"]


def grid_labels(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The most frequent class id of each cell (rows, cols) of the grid, ties to the smaller id: int64."""
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
