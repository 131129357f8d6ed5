"""Adjusted mutual information of two labellings: of contingency tables, and over many images."""

from __future__ import annotations

import math

import numpy as np

from alignedcut_cli.core.numerics import compiled
from alignedcut_cli.core.resample.draws import bootstrap_weights, sums_of_drawn
from alignedcut_cli.core.resample.intervals import recentred

__all__ = ["adjusted_information", "grid_positions", "image_tables", "information_of_images", "shuffled_maps"]

_NEGLIGIBLE = 1e-13


@compiled
def _adjusted_information(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """The adjusted mutual information of a contingency table (q, k) int64 with its sums over columns and over rows."""
    n = 0
    for count in rows:
        n += count
    mutual, expected = 0.0, 0.0
    for i in range(len(rows)):
        for j in range(len(columns)):
            a, b = rows[i], columns[j]
            if a == 0 or b == 0:
                continue
            if table[i, j] > 0:
                x = float(table[i, j])
                mutual += x / n * math.log(x * n / (float(a) * b))
            expected += _expected_term(a, b, n)
    entropy = 0.0
    for counts in (rows, columns):
        for count in counts:
            if count > 0:
                entropy -= count / n * math.log(count / n) / 2
    if abs(entropy - expected) < 1e-12:
        return 1.0 if abs(mutual - entropy) < 1e-12 else 0.0  # 0 / 0: the same partition, or a trivial one
    return (mutual - expected) / (entropy - expected)


@compiled
def _expected_term(a: int, b: int, n: int) -> float:
    """E[x/n log(x n / (a b))], x hypergeometric: a draws from n items, b of them successes. Summed from the mode on."""
    low, high = max(0, a + b - n), min(a, b)
    mode = min(high, max(low, ((a + 1) * (b + 1)) // (n + 2)))
    log_peak = (
        math.lgamma(a + 1) + math.lgamma(b + 1) + math.lgamma(n - a + 1) + math.lgamma(n - b + 1) - math.lgamma(n + 1)
        - math.lgamma(mode + 1) - math.lgamma(a - mode + 1) - math.lgamma(b - mode + 1)
        - math.lgamma(n - a - b + mode + 1)
    )  # fmt: skip
    peak, total, scale = math.exp(log_peak), 0.0, float(n) / (float(a) * float(b))
    chance = peak
    for x in range(mode, high + 1):
        if x > 0:
            total += chance * x * math.log(x * scale)
        chance *= float(a - x) * float(b - x) / (float(x + 1) * float(n - a - b + x + 1))
        if chance < _NEGLIGIBLE * peak:
            break
    chance = peak
    for x in range(mode, low, -1):
        chance *= float(x) * float(n - a - b + x) / (float(a - x + 1) * float(b - x + 1))
        if chance < _NEGLIGIBLE * peak:
            break
        if x > 1:
            total += chance * (x - 1) * math.log((x - 1) * scale)
    return total / n


@compiled
def _of_many(tables: np.ndarray, rows: np.ndarray, columns: np.ndarray, found: np.ndarray) -> None:
    """found[i] = the adjusted mutual information of tables[i], (t, q, k) int64; NaN where k has one class alone.

    rows (t, q), columns (t, k) are the sums of the tables, which numba takes seconds to compile.
    """
    for i in range(len(tables)):
        classes = 0
        for count in columns[i]:
            classes += 1 if count > 0 else 0
        found[i] = _adjusted_information(tables[i], rows[i], columns[i]) if classes > 1 else np.nan


def adjusted_information(tables: np.ndarray) -> np.ndarray:
    """Adjusted mutual information (t,) float64 of contingency tables (t, q, k): 0 for chance, 1 for the same partition.

    (I - E[I]) / ((H(U) + H(V)) / 2 - E[I]) with E over labellings of the same sizes (Vinh, Epps and Bailey 2010).
    scikit-learn computes the same from labels; here the sums stop once terms are negligible. NaN for a table with one
    class or none in its columns.
    """
    found, counts = np.empty(len(tables)), np.ascontiguousarray(tables, np.int64)
    _of_many(counts, counts.sum(2), counts.sum(1), found)
    return found


def image_tables(clusters: np.ndarray, labels: np.ndarray, count: int, classes: int) -> np.ndarray:
    """The contingency (B, q, k) int64 of each image, from clusters (B, P) in 0..q-1 and labels (B, P), -1 left out."""
    images = len(clusters)
    flat = (np.arange(images)[:, None] * count + clusters) * classes + labels
    counts = np.bincount(flat[labels >= 0], minlength=images * count * classes)
    return counts.reshape(images, count, classes)


def information_of_images(tables: np.ndarray, draws: int, seed: int) -> dict[str, float | tuple[float, float] | None]:
    """Over the data set (the tables' sum) and within images (the mean over images), with 95% bootstrap intervals.

    {"dataset", "dataset.interval", "within", "within.interval"}; images are drawn with replacement, and intervals recentred
    on the value, as repeated images raise mutual information. The mean within images is over those with more than one
    class; a value is None where it is undefined.
    """
    whole = float(adjusted_information(tables.sum(0, keepdims=True))[0])
    each = adjusted_information(tables)
    told = ~np.isnan(each)
    found: dict[str, float | tuple[float, float] | None] = {
        "dataset": None if np.isnan(whole) else whole,
        "dataset.interval": None,
        "within": float(each[told].mean()) if told.any() else None,
        "within.interval": None,
    }
    images = len(tables)
    if draws and images > 1:
        times = bootstrap_weights(images, draws, seed)  # (draws, B)
        totals = np.concatenate([adjusted_information(some) for some in sums_of_drawn(times, tables)])
        found["dataset.interval"] = _or_none(recentred(totals, whole))
        weights = times[:, told]
        kept = weights.sum(1) > 0
        if kept.any():
            means = weights[kept] @ each[told] / weights[kept].sum(1)
            found["within.interval"] = _or_none(recentred(means, float(each[told].mean())))
    return found


def _or_none(interval: tuple[float, float]) -> tuple[float, float] | None:
    return None if np.isnan(interval[0]) else interval


def shuffled_maps(maps: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Cluster maps (B, rows, cols) permuted between images, each shifted cyclically by random rows and columns.

    This keeps the size and smoothness of clusters, and breaks where they lie and in which image: the null distribution of a
    map's information about classes and positions.
    """
    images, rows, columns = maps.shape
    order = random.permutation(images)
    down, right = random.integers(rows, size=images), random.integers(columns, size=images)
    i = (np.arange(rows)[None, :, None] + down[:, None, None]) % rows
    j = (np.arange(columns)[None, None, :] + right[:, None, None]) % columns
    return maps[order[:, None, None], i, j]


def grid_positions(grid: tuple[int, int], parts: int) -> np.ndarray:
    """Which of `parts` x `parts` equal parts of the image holds the middle of each grid cell: (rows, cols) int64."""
    rows, columns = ((np.arange(size) + 0.5) * parts // size for size in grid)
    return (rows[:, None] * parts + columns).astype(np.int64)
