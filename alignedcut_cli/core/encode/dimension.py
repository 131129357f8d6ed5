"""Effective dimension and radius of a set of features."""

from __future__ import annotations

from torch import Tensor

from alignedcut_cli.core.numerics import NumericsError

__all__ = ["effective_dimension", "radius"]


def effective_dimension(centred: Tensor) -> float:
    """(sum l)^2 / sum l^2 over the variances l of features along their principal axes (participation ratio), 1 to D.

    From their Gram matrix J F F^T J (n, n), whose eigenvalues are (n - 1) l: its trace squared over its sum of squares.
    Raises NumericsError if all images have equal features.
    """
    squares = float(centred.double().square().sum())
    if not squares > 0:
        raise NumericsError("the features of all images are equal")
    return float(centred.double().trace().square()) / squares


def radius(centred: Tensor, units: int) -> float:
    """sqrt(mean l) over the D = `units` dimensions, l of n images with n - 1 degrees of freedom."""
    return float((centred.double().trace() / ((len(centred) - 1) * units)).sqrt())
