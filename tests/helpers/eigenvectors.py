"""Rows similar to eigenvectors, for timing t-SNE."""

from __future__ import annotations

import numpy as np

__all__ = ["rows_like_eigenvectors"]


def rows_like_eigenvectors(nodes: int, width: int = 20, groups: int = 40) -> np.ndarray:
    """(m, C) float32: groups of skewed sizes on curves, with noise."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.full(groups, 0.7))
    member = generator.choice(groups, nodes, p=shares)
    along = generator.uniform(-1, 1, (nodes, 1))
    centre, line, bend = generator.normal(size=(3, groups, width))
    rows = 2 * centre[member] + along * line[member] + along**2 * bend[member]
    return (rows + generator.normal(size=rows.shape) * 0.15).astype(np.float32)
