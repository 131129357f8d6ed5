"""p-values: against a null of permutations, of a difference by its draws, and of many tests together."""

from __future__ import annotations

import numpy as np

__all__ = ["difference_p", "holm", "tail_p"]


def tail_p(score: float, null: np.ndarray, tolerance: float = 0.0) -> float:
    """The permutation p-value: (1 + number of null scores >= score - tolerance) / (1 + P), in (0, 1]."""
    return float((1 + (null >= score - tolerance).sum()) / (1 + len(null)))


def difference_p(draws: np.ndarray) -> float:
    """Two-sided p-value of a difference being 0, from its bootstrap draws (T,): twice the smaller tail, in (0, 1]."""
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(1.0, 2 * (1 + tail) / (1 + len(draws))))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values (n,) adjusted by Holm's step-down rule for n tests: (n,) float64."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted
