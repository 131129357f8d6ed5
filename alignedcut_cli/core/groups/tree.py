"""One hierarchical clustering of the rows of eigenvectors, with the bootstrap support of each clade over images.

Leaves are k-means clusters of unit rows; Ward's method (SciPy) joins their centres, so that the partitions into
2 to L clusters are nested. A clade is the set of nodes below a join; its support is how much of it is recovered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Tree", "clade_overlaps", "grow_tree", "nested_clusters", "supported_tree"]

SAMPLE = 20_000


@dataclass(frozen=True)
class Tree:
    """`leaf` (M,) of each node, SciPy's linkage `joins` (L - 1, 4), and the leaves of each of `clades` (2 L - 1, L) bool."""

    leaf: np.ndarray
    joins: np.ndarray
    clades: np.ndarray


def grow_tree(rows: np.ndarray, leaves: int, seed: int, among: np.ndarray | None = None) -> Tree:
    """The tree of rows (M, C), its leaves fitted to at most 20,000 of those in `among` (ids, with repeats)."""
    from scipy.cluster.hierarchy import linkage
    from sklearn.cluster import KMeans

    units = _unit_rows(rows)
    ids = np.arange(len(units)) if among is None else among
    random = np.random.default_rng(seed)
    if len(ids) > SAMPLE:
        ids = random.choice(ids, SAMPLE, replace=False)
    fitted = KMeans(leaves, n_init=1, random_state=int(random.integers(1 << 31))).fit(units[ids])  # type: ignore[arg-type]
    joins = linkage(fitted.cluster_centers_.astype(np.float64), "ward")
    clades = np.zeros((2 * leaves - 1, leaves), bool)
    clades[:leaves] = np.eye(leaves, dtype=bool)
    for number, (one, other, *_) in enumerate(joins):
        clades[leaves + number] = clades[int(one)] | clades[int(other)]
    return Tree(np.asarray(fitted.predict(units), np.int64), joins, clades)


def clade_overlaps(one: Tree, other: Tree) -> np.ndarray:
    """The largest intersection over union of each clade of one tree with a clade of the other: (2 L - 1,) float64."""
    size = one.clades.shape[1], other.clades.shape[1]
    table = np.bincount(one.leaf * size[1] + other.leaf, minlength=size[0] * size[1]).reshape(size).astype(np.float64)
    both = one.clades @ table @ other.clades.T
    either = (one.clades @ table.sum(1))[:, None] + (other.clades @ table.sum(0))[None, :] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0).max(1)


def supported_tree(
    rows: np.ndarray, images: np.ndarray, leaves: int, draws: np.ndarray, seed: int
) -> tuple[Tree, np.ndarray]:
    """The tree, and the mean over draws (T, B) of `clade_overlaps` with the tree of the drawn images: (2 L - 1,)."""
    tree = grow_tree(rows, leaves, seed)
    found = [
        clade_overlaps(tree, grow_tree(rows, leaves, seed, np.repeat(np.arange(len(rows)), times)))
        for times in draws.astype(np.int64)[:, images]
    ]
    return tree, np.mean(found, 0) if found else np.full(len(tree.clades), np.nan)


def nested_clusters(joins: np.ndarray) -> np.ndarray:
    """The cluster of each leaf in the partitions into 1, 2, .. L clusters: (L, L) int64; each splits one cluster in two.

    The first side of a split keeps the cluster's number, the other takes the next free one.
    """
    leaves = len(joins) + 1
    below = {number: [number] for number in range(leaves)}
    for number, (one, other, *_) in enumerate(joins):
        below[leaves + number] = below[int(one)] + below[int(other)]
    found = np.zeros((leaves, leaves), np.int64)
    for count in range(1, leaves):
        found[count] = found[count - 1]
        found[count, below[int(joins[-count, 1])]] = count
    return found


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32; zero rows are unchanged."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows, dtype=np.float32), where=lengths > 0)
