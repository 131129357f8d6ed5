"""Compiled loops over pairs of images, for each permutation or weighting, without forming permuted or weighted matrices."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import compiled

__all__ = ["permuted_sums", "rank_correlations"]


@compiled
def permuted_sums(one: np.ndarray, others: np.ndarray, orders: np.ndarray, row: np.ndarray, sums: np.ndarray) -> None:
    """sums[r, p] += 2 sum_{i < j} A[order_i, order_j] B_r[i, j] for symmetric A, B_r with zero diagonals.

    one (n, n) and others (m, n, n) float32, orders (P, n) int64 of numbers 0 to n - 1, row (n,) float32 as a buffer, sums
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


@compiled
def rank_correlations(
    one: np.ndarray, others: np.ndarray, weights: np.ndarray, pair: np.ndarray, total: np.ndarray, found: np.ndarray
) -> None:
    """found[r, t] = Pearson's r of weighted midranks of values A and B_r of pairs (i, j), i < j, with weights w_ti w_tj.

    A midrank is the weight of smaller values plus half that of equal ones; its mean is half the total weight. one (P,) and
    others (m, P) int32 number the distinct values from 0, ascending; weights (T, n) float64; buffers pair (2, P) float64
    and total float64, one longer than the largest number; found (m, T) float64.
    """
    images, pairs = weights.shape[1], len(one)
    for t in range(len(weights)):
        k, every = 0, 0.0
        for i in range(images - 1):
            for j in range(i + 1, images):
                pair[0, k] = weights[t, i] * weights[t, j]
                every += pair[0, k]
                k += 1
        first = 0.0
        for r in range(-1, len(others)):
            values = one if r < 0 else others[r]
            total[:] = 0.0
            for k in range(pairs):
                total[values[k]] += pair[0, k]
            below = 0.0
            for g in range(len(total)):
                here = total[g]
                total[g] = below + here / 2 - every / 2
                below += here
            own, shared = 0.0, 0.0
            for k in range(pairs):
                rank = total[values[k]]
                own += pair[0, k] * rank * rank
                if r < 0:
                    pair[1, k] = pair[0, k] * rank
                else:
                    shared += pair[1, k] * rank
            if r < 0:
                first = own
            else:
                found[r, t] = shared / np.sqrt(first * own) if first * own > 0 else np.nan
