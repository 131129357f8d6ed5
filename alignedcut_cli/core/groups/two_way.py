"""Values of (image, place) freed of additive effects of image and place, by least squares in one dense solve."""

from __future__ import annotations

import numpy as np

__all__ = ["without_effects"]

_RIDGE = 1e-10


def without_effects(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The residuals of `values` (B, P, c) after effects of image and of place, over the cells of `there` (B, P) bool.

    v_bp ~ a_b + c_p. Without a, c solves L c = sum_b (v_bp - mean_b v) with the Laplacian L = diag(n_p) - N^T diag(1/n_b) N
    of the cells N; L is singular (c is known up to a constant for each connected part, which a takes up), so it is solved
    with 1e-10 of its largest entry added. (B, P, c) float64, 0 where no cell is. Holds B x P x c and P x P numbers.
    """
    from scipy.linalg import cho_factor, cho_solve

    cells = there.astype(np.float64)
    values = values * cells[..., None]
    in_image, in_place = cells.sum(1), cells.sum(0)
    means = values.sum(1) / np.maximum(in_image, 1)[:, None]  # (B, c)
    used = np.flatnonzero(in_place)
    if not len(used):
        return values
    kept = cells[:, used]
    laplacian = np.diag(in_place[used]) - kept.T @ (kept / np.maximum(in_image, 1)[:, None])
    factor = cho_factor(laplacian + _RIDGE * in_place.max() * np.eye(len(used)))
    right = values[:, used].sum(0) - kept.T @ means  # (P, c)
    place = cho_solve(factor, right)
    place += cho_solve(factor, right - laplacian @ place)  # what the ridge left over
    image = means - (kept @ place) / np.maximum(in_image, 1)[:, None]
    left = np.zeros_like(values)
    left[:, used] = (values[:, used] - image[:, None] - place) * kept[..., None]
    return left
