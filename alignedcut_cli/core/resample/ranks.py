"""Midranks of values, for rank correlations and their bootstrap draws."""

from __future__ import annotations

import numpy as np

__all__ = ["midranks"]


def midranks(values: np.ndarray) -> np.ndarray:
    """The rank of each of (..., P) in its row, from 1, ties at their mean rank, NaN left as it is: float64."""
    if not values.size:
        return np.zeros(values.shape)
    rows = values.reshape(-1, values.shape[-1])
    order = rows.argsort(-1, kind="stable")
    ranked = np.take_along_axis(rows, order, -1)
    begins = np.ones(rows.shape, bool)  # of a run of ties
    begins[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    run = begins.ravel().cumsum() - 1
    means = np.flatnonzero(begins) % rows.shape[1] + (np.bincount(run) + 1) / 2
    found = np.empty(rows.shape)
    np.put_along_axis(found, order, means[run].reshape(rows.shape), -1)
    found[np.isnan(rows)] = np.nan
    return found.reshape(values.shape)
