"""Distance of two subspaces: principal angles, and the error of their projectors, also under bootstrap draws."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cosines_of_moments", "moments_by_image", "projector_error", "subspace_error"]


def subspace_error(found: Tensor, exact: Tensor) -> float:
    """|P - P_exact|_F / sqrt(2 C) of the spans of two (M, C): 0 for the same span, 1 for orthogonal ones.

    Equal to sqrt(mean sin^2) of the principal angles, which needs no (M, M) projector.
    """
    left, right = (torch.linalg.qr(columns.double())[0] for columns in (found, exact))
    rest = left - right @ (right.T @ left)
    return float(rest.norm() / left.shape[1] ** 0.5)


def projector_error(cosines: Tensor) -> Tensor:
    """|P - Q|_F / sqrt(2 C) from the principal cosines (..., C) of two spans: sqrt(mean sin^2), (...)."""
    return (1 - cosines.square()).clamp_min(0).mean(-1).sqrt()


def moments_by_image(left: Tensor, right: Tensor, images: Tensor, count: int) -> Tensor:
    """[X Y]^T [X Y] of the rows of each image: (B, C + K, C + K) float64, from X (M, C), Y (M, K), images (M,)."""
    both = torch.cat([left, right], 1).double()
    found = both.new_zeros(count, both.shape[1], both.shape[1])
    order = images.argsort(stable=True)
    sizes = torch.bincount(images, minlength=count).tolist()
    for number, rows in enumerate(both[order].split(sizes)):
        found[number] = rows.T @ rows
    return found


def cosines_of_moments(moments: Tensor, columns: int) -> Tensor:
    """The principal cosines, descending, of the spans of X and Y: (T, min(C, K)), from [X Y]^T [X Y] (T, C + K, C + K).

    X has `columns` columns. Null directions of the moments are left out of a span; their cosines are 0.
    """
    left, right = moments[:, :columns, :columns], moments[:, columns:, columns:]
    crossed = _whitening(left).mT @ moments[:, :columns, columns:] @ _whitening(right)
    return torch.linalg.svdvals(crossed).clamp(max=1)


def _whitening(gram: Tensor) -> Tensor:
    """W (T, C, C) with W^T G W = I on the range of G (T, C, C), 0 elsewhere."""
    values, vectors = torch.linalg.eigh(gram)
    floor = 1e-9 * values[:, -1:]
    return vectors * torch.where(values > floor, values, torch.inf).rsqrt()[:, None, :]
