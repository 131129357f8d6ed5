"""The compiled loop that finds how wide each row's Gaussian must be for the perplexity asked."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import compiled

__all__ = ["conditionals"]

_TINY = float(np.finfo(np.float64).tiny)


@compiled
def conditionals(
    squares: np.ndarray, entropy: float, steps: int, close: float, first: int, last: int, shares: np.ndarray
) -> None:
    """p_j|i = exp(-b_i d_ij^2) / sum_j exp(-b_i d_ij^2) of rows first to last - 1, the entropy of each as asked.

    squares (m, k) float32, shares (m, k) float64. log b_i by Newton's method between bounds, at most `steps`, until the
    entropy is off by less than `close`. A bound is used only once it is known: no number here is infinite.
    """
    count = squares.shape[1]
    apart = np.empty(count, np.float64)
    for i in range(first, last):
        least = np.float64(squares[i, 0])
        for j in range(count):
            least = min(least, np.float64(squares[i, j]))
        total = 0.0
        for j in range(count):
            apart[j] = np.float64(squares[i, j]) - least
            total += apart[j]
        place = -np.log(max(total / count, _TINY))  # log b
        low, high, has_low, has_high = 0.0, 0.0, False, False
        for _ in range(steps):
            scale = np.exp(place)
            total, mean, variance = 0.0, 0.0, 0.0
            for j in range(count):
                weight = np.exp(-scale * apart[j])
                shares[i, j] = weight
                total += weight
                mean += weight * apart[j]
            mean /= total
            for j in range(count):
                shares[i, j] /= total
                variance += shares[i, j] * (apart[j] - mean) ** 2
            excess = scale * mean + np.log(total) - entropy
            if abs(excess) < close:
                break
            if excess > 0:
                low, has_low = place, True
            else:
                high, has_high = place, True
            found = place + 1.0 if not has_high else place - 1.0 if not has_low else (low + high) / 2
            slope = scale * (scale * variance)  # the entropy falls by b^2 Var(d^2) for each unit of log b
            if slope * 4 > abs(excess):
                newton = place + excess / slope
                if (not has_low or newton > low) and (not has_high or newton < high):
                    found = newton
            place = min(600.0, max(-600.0, found))
