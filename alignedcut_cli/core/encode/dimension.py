"""How many dimensions features fill, and how wide they spread."""

from __future__ import annotations

import torch
from torch import Tensor

from alignedcut_cli.core.numerics import NumericsError

__all__ = ["effective_dimension", "explained_curve", "principal_variances", "radius"]


def principal_variances(centred: Tensor) -> Tensor:
    """The variances l of features (n, D) along their principal axes (ddof 1), descending, float64 (n - 1,).

    From their Gram matrix J F F^T J (n, n): what is beyond min(n - 1, D) is 0. Raises NumericsError if all images are alike.
    """
    values = torch.linalg.eigvalsh(centred.double()).flip(0)[:-1].clamp_min(0) / (len(centred) - 1)
    if not float(values.sum()) > 0:
        raise NumericsError("the features of all images are equal")
    return values


def effective_dimension(variances: Tensor) -> float:
    """(sum l)^2 / sum l^2: D for a ball in D dimensions, 1 for a line."""
    return float(variances.sum().square() / variances.square().sum())


def radius(variances: Tensor, units: int) -> float:
    """sqrt(mean l) over the D = `units` dimensions."""
    return float((variances.sum() / units).sqrt())


def explained_curve(variances: Tensor) -> Tensor:
    """The share of variance that the first k axes hold, k = 1, 2, ...: (n - 1,) in 0..1."""
    return variances.cumsum(0) / variances.sum()
