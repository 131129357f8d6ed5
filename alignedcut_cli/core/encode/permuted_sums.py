"""Sums over pairs of permuted images, compiled: matrices that are permuted are never written down."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import compiled

__all__ = ["permuted_sums"]


@compiled
def permuted_sums(one: np.ndarray, others: np.ndarray, orders: np.ndarray, row: np.ndarray, sums: np.ndarray) -> None:
    """sums[r, p] += 2 sum_{i < j} A[order_i, order_j] B_r[i, j] for symmetric A, B_r with zero diagonals.

    one (n, n) and others (m, n, n) float32, orders (P, n) int64 of numbers 0 to n - 1, row (n,) float32 to write on, sums
    (m, P) float64.
    """
    images = len(one)
    for p in range(len(orders)):
        order = orders[p]
        for i in range(images - 1):
            source = one[order[i]]
            for j in range(i + 1, images):
                row[j] = source[order[j]]
            for r in range(len(others)):
                other = others[r, i]
                part = np.float32(0)
                for j in range(i + 1, images):
                    part += row[j] * other[j]
                sums[r, p] += 2 * part
