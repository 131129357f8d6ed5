"""Noise ceilings: the share of each voxel's variance that can be explained."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.errors import DataError

__all__ = ["as_share"]

_ROUNDING = 1e-3


def as_share(values: np.ndarray, where: str) -> tuple[np.ndarray, str | None]:
    """Ceilings as shares in 0..1, float32 (N,), NaN where unknown, and a note if percentages were given.

    If any value is above 1, all are percentages. Raises DataError for a value below 0, above 100, or infinite.
    """
    with np.errstate(over="ignore"):  # overflow gives infinity, which is refused below
        shares = np.array(values, np.float32)
    note = None
    if np.nanmax(shares, initial=0.0) > 1 + _ROUNDING:
        shares, note = shares / 100, f"{where}: percentages, divided by 100"
    wrong = np.isinf(shares) | (shares < -_ROUNDING) | (shares > 1 + _ROUNDING)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            "ceiling-range",
            f"{where}: ceilings must be shares in 0..1 or percentages, and {values[first]} stands at {first}",
            "Give the share of variance that can be explained, NaN where it is unknown",
        )
    return shares.clip(0, 1), note
