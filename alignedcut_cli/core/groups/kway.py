"""K-way discretisation: eigenvectors to clusters without labels, and clusters to classes by overlap."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.groups.unit_rows import unit_rows

__all__ = ["DISCRETISERS", "column_clusters", "kmeans_clusters", "match_clusters", "rotation_clusters"]

KMEANS_NODES = 100_000
ROUNDS = 100
STARTS = 10


def rotation_clusters(eigenvectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster (0 to count - 1) of each node, by the rotation of Yu and Shi 2003: (M,) int64.

    The top `count` eigenvectors Z (M, count) of D^-1/2 A D^-1/2 with rows of unit length, Z~, are rotated towards cluster
    indicators: max over partitions X and rotations R of tr(X^T Z~ R), X and R alternately, from `STARTS` starts whose axes
    are nodes chosen greedily to be orthogonal (the first drawn by `seed`). The best start is kept.
    """
    rows = unit_rows(eigenvectors[:, :count])
    random = np.random.default_rng(seed)
    starts = [_turned(rows, _spread_axes(rows, int(random.integers(len(rows))))) for _ in range(STARTS)]
    return max(starts, key=lambda found: found[0])[1]


def kmeans_clusters(eigenvectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster (0 to count - 1) of each node, by k-means of the same unit rows (scikit-learn): (M,) int64.

    Centres are fitted to at most 100,000 nodes, drawn by `seed`; every node takes the nearest.
    """
    return _kmeans(unit_rows(eigenvectors[:, :count]).astype(np.float32), count, seed)


def column_clusters(scaled: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster of each node by k-means of the first `count` columns of X diag(lambda), rows not normalised: (M,) int64.

    Zhang, Yunis and Maire (2023) segment so without labels, by U S of a singular value decomposition.
    """
    return _kmeans(scaled[:, :count].astype(np.float32), count, seed)


def _kmeans(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    random = np.random.default_rng(seed)
    sample = rows if len(rows) <= KMEANS_NODES else rows[random.choice(len(rows), KMEANS_NODES, replace=False)]
    fitted = KMeans(count, n_init=STARTS, random_state=int(random.integers(1 << 31))).fit(sample)  # type: ignore[arg-type]
    return np.asarray(fitted.predict(rows), np.int64)


DISCRETISERS = {"rotation": rotation_clusters, "kmeans": kmeans_clusters, "columns": column_clusters}


def _spread_axes(rows: np.ndarray, first: int) -> np.ndarray:
    """The starting R (count, count): rows of nodes, each the least similar to all before it."""
    count = rows.shape[1]
    axes = np.zeros((count, count))
    axes[:, 0] = rows[first]
    alike = np.zeros(len(rows))
    for number in range(1, count):
        alike += np.abs(rows @ axes[:, number - 1])
        axes[:, number] = rows[alike.argmin()]
    return axes


def _turned(rows: np.ndarray, turn: np.ndarray) -> tuple[float, np.ndarray]:
    """(tr(X^T Z~ R), clusters) once X and R no longer change."""
    count, last, score = rows.shape[1], -np.inf, 0.0
    clusters = np.zeros(len(rows), np.int64)
    for _ in range(ROUNDS):
        clusters = (rows @ turn).argmax(1)
        sums = np.zeros((count, count))
        np.add.at(sums, clusters, rows)  # X^T Z~
        left, values, right = np.linalg.svd(sums)
        turn, score = right.T @ left.T, float(values.sum())
        if score <= last + 1e-9 * max(1.0, abs(last)):
            break
        last = score
    return score, clusters


def match_clusters(table: np.ndarray) -> np.ndarray:
    """The one-to-one assignment of classes to clusters with the most correct pixels (Hungarian algorithm): (q,) int64.

    `table` (q, k) counts pixels of each cluster in each class. With more clusters than classes, those left over
    get -1.
    """
    from scipy.optimize import linear_sum_assignment

    clusters, classes = linear_sum_assignment(table, maximize=True)
    matched = np.full(len(table), -1, np.int64)
    matched[clusters] = classes
    return matched
