"""The draws of bootstraps and permutation tests, as numpy arrays: weights, permutations and indices of units.

How a measure uses them, T draws of n images (or other units):

    weights = bootstrap_weights(n, T, seed)            # (T, n), or `grouped_weights` where images come in groups
    draws = measure(weights)                           # (T,): weighted sums over images, then the measure of the sums
    low, high = percentile(draws)                      # core/resample/intervals, which has others, and differences
    told = stated("images", T)                         # the interval in words

    orders = random_orders(n, P, seed)                 # (P, n)
    p = tail_p(value, null_of(orders))                 # core/resample/nulls, which also has Holm's correction

`seed` is a `numerics.stream` of the run's one seed. The same number of units and the same seed give the same draws, so
comparisons under them are paired over the same images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alignedcut_cli.core.numerics import stream

__all__ = [
    "bootstrap_weights",
    "dealt_folds",
    "drawn_places",
    "grouped_weights",
    "mean_over_drawn",
    "random_orders",
    "sums_of_drawn",
]

_CHUNK = 1 << 23


def bootstrap_weights(units: int, draws: int, seed: int) -> np.ndarray:
    """Bootstrap counts, how often each of n units is drawn in n draws with replacement: (T, n) float64, rows of sum n."""
    random = np.random.default_rng(stream(seed, "bootstrap", units))
    return random.multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64)


def grouped_weights(groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Cluster-bootstrap weights (T, n) of units in `groups` (n,): whole groups are drawn, as many as there are."""
    _, place = np.unique(groups, return_inverse=True)
    return bootstrap_weights(int(place.max()) + 1, draws, seed)[:, place]


def random_orders(units: int, count: int, seed: int) -> np.ndarray:
    """Random permutations of units: (P, n) int64."""
    random = np.random.default_rng(stream(seed, "permutation", units))
    return random.permuted(np.tile(np.arange(units), (count, 1)), axis=1)


def dealt_folds(units: int, parts: int, seed: int) -> np.ndarray:
    """The random fold (0 to `parts` - 1) of each unit, sizes equal or one apart: (n,) int64."""
    return np.random.default_rng(stream(seed, "folds")).permutation(units) % parts


def drawn_places(units: int, draws: int, seed: int, kind: str = "entries") -> np.ndarray:
    """Indices of units drawn with replacement, for measures that take no weights, such as ranks: (T, n) int64."""
    return np.random.default_rng(stream(seed, kind, units)).integers(units, size=(max(draws, 1), units))


def mean_over_drawn(draws: np.ndarray, seed: int) -> np.ndarray:
    """Bootstrap draws (T,) of the mean over resampled subjects, from each subject's own draws (s, T)."""
    subjects, count = draws.shape
    random = np.random.default_rng(stream(seed, "subjects", subjects))
    chosen = random.integers(subjects, size=(subjects, count))
    return np.take_along_axis(draws, chosen, 0).mean(0)


def sums_of_drawn(weights: np.ndarray, each: np.ndarray) -> Iterator[np.ndarray]:
    """Weighted sums (t, ...) over units of `each` (n, ...), some draws of `weights` (T, n) at a time, float64."""
    flat = each.reshape(len(each), -1).astype(np.float64)
    step = max(1, _CHUNK // max(1, flat.shape[1]))
    for start in range(0, len(weights), step):
        yield (weights[start : start + step] @ flat).reshape(-1, *each.shape[1:])
