"""Values of (image, place) freed of additive effects of image and place, by least squares in one dense solve."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.groups.sums import add_rows

__all__ = ["without_effects"]

_RIDGE = 1e-10


def without_effects(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The residuals of `values` (B, P, c) after effects of image and of place, over the n cells of `there` (B, P) bool.

    v_bp ~ a_b + c_p. With a eliminated, c solves L c = sum_b (v_bp - mean_b v) with the Laplacian L = diag(n_p) - N^T
    diag(1/n_b) N of the incidence N; L is singular (a constant per connected component, which a absorbs), so 1e-10 of its
    largest entry is added. (n, c) float64, the cells in the order of np.nonzero. Memory: P x P.
    """
    from scipy.linalg import cho_factor, cho_solve

    image, place = np.nonzero(there)
    rows = values[image, place].astype(np.float64)  # (n, c)
    if not len(rows):
        return rows
    by_image, by_place = (np.zeros((count, rows.shape[1])) for count in there.shape)
    add_rows(rows, image, by_image)
    add_rows(rows, place, by_place)
    cells = there.astype(np.float64)
    in_image, in_place = np.maximum(cells.sum(1), 1), cells.sum(0)
    means = by_image / in_image[:, None]  # (B, c)
    used = np.flatnonzero(in_place)
    kept = cells[:, used]
    laplacian = np.diag(in_place[used]) - kept.T @ (kept / in_image[:, None])
    factor = cho_factor(laplacian + _RIDGE * in_place.max() * np.eye(len(used)))
    right = by_place[used] - kept.T @ means  # (P, c)
    effects = cho_solve(factor, right)
    effects += cho_solve(factor, right - laplacian @ effects)  # one refinement step, against the ridge
    by_place[used] = effects
    by_image = means - (kept @ effects) / in_image[:, None]
    return rows - by_image[image] - by_place[place]
