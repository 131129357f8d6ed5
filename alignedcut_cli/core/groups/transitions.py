"""Transitions of nodes between the concepts of successive layers, and step lengths (paper, Sec. 3.4)."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.resample.intervals import clustered_error

__all__ = ["mean_by_image", "probabilities", "step_lengths", "transition_counts"]


def transition_counts(before: np.ndarray, after: np.ndarray, concepts: int) -> np.ndarray:
    """Number of nodes in concept i before and j after: (k + 1, k + 1) int64, the last row and column for no concept.

    `before` and `after` (M,) hold concepts 0 to k - 1, or -1, of the same M nodes in two layers.
    """
    size = concepts + 1
    pairs = np.where(before < 0, concepts, before) * size + np.where(after < 0, concepts, after)
    return np.bincount(pairs, minlength=size * size).reshape(size, size).astype(np.int64)


def probabilities(counts: np.ndarray) -> np.ndarray:
    """P(j | i) = n_ij / sum_j n_ij of counts (..., k + 1, k + 1): (..., k, k + 1) float64, the last column no concept.

    A concept without nodes before has a row of zeros.
    """
    rows = counts[..., :-1, :].astype(np.float64)
    total = rows.sum(-1, keepdims=True)
    return np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)


def step_lengths(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Euclidean distance between the positions (..., d) of the same nodes in two layers: (...) float64."""
    return np.sqrt(((np.asarray(after, np.float64) - np.asarray(before, np.float64)) ** 2).sum(-1))


def mean_by_image(values: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    """The mean of the chosen entries of `values` (B, P), and its standard error with images as the independent units.

    mean = sum_b s_b / sum_b n_b; error^2 = B / (B - 1) sum_b (s_b - mean n_b)^2 / (sum_b n_b)^2 over the B images with
    chosen entries (the linearised variance of a ratio). With one image the error is 0; with no entry both are 0.
    """
    sums, counts = (values * chosen).sum(1), chosen.sum(1)
    sums, counts = sums[counts > 0], counts[counts > 0]
    if not len(counts):
        return 0.0, 0.0
    mean = sums.sum() / counts.sum()
    if len(counts) < 2:
        return float(mean), 0.0
    return float(mean), float(clustered_error((sums - mean * counts) / counts.sum(), len(counts)))
