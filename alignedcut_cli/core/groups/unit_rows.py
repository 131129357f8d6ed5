"""Rows of unit length, whose products are cosines."""

from __future__ import annotations

import numpy as np

__all__ = ["unit_rows"]


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (n, C) divided by their norms, float64; zero rows are unchanged."""
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
