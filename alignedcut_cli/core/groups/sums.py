"""Sums of rows by group, in a compiled loop."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import compiled

__all__ = ["add_rows"]


@compiled
def add_rows(rows: np.ndarray, groups: np.ndarray, sums: np.ndarray) -> None:
    """sums[groups[i]] += rows[i], in the order of i: rows (n, c) and sums (g, c) float64, groups (n,) int64 below g."""
    for i in range(len(rows)):
        for j in range(rows.shape[1]):
            sums[groups[i], j] += rows[i, j]
