"""Confidence intervals from bootstrap draws or standard errors, and paired differences."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alignedcut_cli.core.resample.nulls import difference_p
from alignedcut_cli.core.resample.words import LEVEL

__all__ = [
    "Difference",
    "bca",
    "clustered_error",
    "from_error",
    "linear_difference",
    "paired_difference",
    "percentile",
    "recentred",
]

_NONE = (float("nan"), float("nan"))


class Difference(NamedTuple):
    """The difference of two scores, its interval, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def percentile(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of draws (T,), ignoring NaN; NaN if all are."""
    known = draws[np.isfinite(draws)]
    return _ends(known, (1 - level) / 2, (1 + level) / 2) if len(known) else _NONE


def recentred(draws: np.ndarray, value: float, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval, shifted so that the draws' mean is `value`: for scores that repeated images bias upwards."""
    known = draws[np.isfinite(draws)]
    if not len(known) or np.isnan(value):
        return _NONE
    shift = float(value - known.mean())
    low, high = percentile(known, level)
    return low + shift, high + shift


def bca(draws: np.ndarray, value: float, without: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Efron's bias-corrected and accelerated interval, from draws (T,), the value, and the jackknife scores (n,).

    Quantiles at Phi(z0 + (z0 + z) / (1 - a (z0 + z))): z0 from the share of draws below the value, a from the skewness of
    the jackknife (Efron 1987). NaN where there are no draws, the percentile interval where the jackknife does not vary.
    """
    from scipy.special import ndtr, ndtri

    known = draws[np.isfinite(draws)]
    if not len(known) or np.isnan(value):
        return _NONE
    below = ((known < value).sum() + (known == value).sum() / 2) / len(known)
    bias = float(ndtri(np.clip(below, 0.5 / len(known), 1 - 0.5 / len(known))))
    apart = without.mean() - without
    spread = float((apart**2).sum())
    skew = float((apart**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0
    ends = [bias + float(ndtri(share)) for share in ((1 - level) / 2, (1 + level) / 2)]
    low, high = (float(ndtr(bias + end / (1 - skew * end))) for end in ends)
    return _ends(known, low, high)


def _ends(known: np.ndarray, low: float, high: float) -> tuple[float, float]:
    found = np.quantile(known, [low, high])
    return float(found[0]), float(found[1])


def paired_difference(
    value: float, other: float, draws: np.ndarray, others: np.ndarray, level: float = LEVEL
) -> Difference:
    """`value` - `other`, from draws (T,) of both under the same weights of the same units."""
    apart = draws - others
    known = apart[np.isfinite(apart)]
    low, high = percentile(known, level)
    return Difference(value - other, low, high, difference_p(known) if len(known) else float("nan"))


def clustered_error(scores: np.ndarray, units: int) -> np.ndarray:
    """sqrt(n / (n - 1) sum_b scores_b^2): the linearised standard error of an estimate from the influence (B, ...) of its n
    independent units; NaN below two units: (...) float64."""
    if units < 2:
        return np.full(scores.shape[1:], np.nan)
    return np.sqrt((scores**2).sum(0) * (units / (units - 1)))


def from_error(value: np.ndarray, error: np.ndarray, units: int, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """value -+ t(n - 1) error, the interval from a standard error over n units; NaN below two units."""
    from scipy.special import stdtrit

    reach = float(stdtrit(units - 1, (1 + level) / 2)) if units > 1 else np.nan
    return value - reach * error, value + reach * error


def linear_difference(
    value: float, other: float, scores: np.ndarray, others: np.ndarray, level: float = LEVEL
) -> Difference:
    """`value` - `other` of estimates in which the same n units have the influences `scores` and `others` (n,): a paired t
    interval and p, which is 1 where the influences are equal.
    """
    from scipy.special import stdtr

    units, apart = len(scores), scores.astype(np.float64) - others
    error = clustered_error(apart, units)
    low, high = from_error(np.asarray(value - other), error, units, level)
    if not error > 0:
        return Difference(value - other, float(low), float(high), 1.0 if value == other else float("nan"))
    p = 2 * stdtr(units - 1, -abs(value - other) / error)
    return Difference(value - other, float(low), float(high), float(p))
