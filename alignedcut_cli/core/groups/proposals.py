"""Class-agnostic masks of one image from its eigenvectors: groups at several numbers of clusters, merged and ranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alignedcut_cli.core.groups.unit_rows import unit_rows

__all__ = ["AREAS", "CLUSTERS", "MOST", "OVERLAP", "Proposal", "mask_proposals", "silhouette", "suppressed"]

CLUSTERS = range(2, 10)
AREAS = (0.01, 0.9)
"""The smallest and largest share of the image that a mask may cover."""
OVERLAP, MOST = 0.7, 100
"""IoU with a better mask above which a mask is suppressed, and the most masks kept."""
STARTS = 1


@dataclass(frozen=True)
class Proposal:
    """A mask (rows, cols) bool and its score in [-1, 1]."""

    mask: np.ndarray
    score: float


def mask_proposals(vectors: np.ndarray, seed: int) -> list[Proposal]:
    """At most 100 masks of an image from its eigenvectors (rows, cols, C), the best first (Zhang, Yunis and Maire 2023).

    k-means of unit rows at 2 to 9 clusters; the connected components of each; every union in the tree that joins adjacent
    components by their means (average linkage). Masks of 1 to 90 % of the cells are kept, those that touch two or more
    borders of the image only where there are no others. The score is `silhouette`, with non-maximum suppression at IoU 0.7.
    """
    from sklearn.metrics import pairwise_distances

    grid = vectors.shape[:2]
    rows = unit_rows(vectors.reshape(-1, vectors.shape[2]))
    found: dict[bytes, np.ndarray] = {}
    for labels in _labels(rows, seed):
        for mask in _unions(_components(labels.reshape(grid)), rows):
            found.setdefault(np.packbits(mask).tobytes(), mask)
    masks = _inside([mask for mask in found.values() if AREAS[0] <= mask.mean() <= AREAS[1]])
    distances = pairwise_distances(rows)
    scored = [Proposal(mask, silhouette(distances, mask.reshape(-1))) for mask in masks]
    return suppressed(scored)


def _labels(rows: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """The cluster of each cell (P,) at each number of clusters that the number of distinct cells allows."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(rows, axis=0))
    for count in CLUSTERS:
        if count <= distinct:
            yield KMeans(count, n_init=STARTS, random_state=seed % (1 << 31)).fit_predict(rows)  # type: ignore[arg-type]


def _components(labels: np.ndarray) -> np.ndarray:
    """The connected component of each cell, from 0: cells of one cluster that share an edge; (rows, cols)."""
    from scipy.ndimage import label

    found, before = np.zeros(labels.shape, np.int64), 0
    for one in np.unique(labels):
        parts, count = label(labels == one)  # type: ignore[misc]
        found[parts > 0] = parts[parts > 0] - 1 + before
        before += count
    return found


def _unions(components: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The mask of each component, and of each union in the merge tree except the whole image."""
    from sklearn.cluster import AgglomerativeClustering

    count = int(components.max()) + 1
    members = [components == one for one in range(count)]
    yield from members
    if count < 3:
        return
    flat = components.reshape(-1)
    means = np.stack([rows[flat == one].mean(0) for one in range(count)])
    joined = _adjacency(components, count)
    tree = AgglomerativeClustering(n_clusters=1, connectivity=joined, linkage="average").fit(means)
    for one, other in tree.children_[:-1]:
        members.append(members[one] | members[other])
        yield members[-1]


def _adjacency(components: np.ndarray, count: int) -> np.ndarray:
    """Which components share an edge: (n, n) 0 or 1."""
    found = np.zeros((count, count))
    for one, other in ((components[:-1], components[1:]), (components[:, :-1], components[:, 1:])):
        found[one.reshape(-1), other.reshape(-1)] = found[other.reshape(-1), one.reshape(-1)] = 1
    np.fill_diagonal(found, 0)
    return found


def _inside(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The masks that touch fewer than two borders; if there are none, fewer than three; if there are none, all."""
    borders = [sum(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1])) for mask in masks]
    for most in (2, 3):
        kept = [mask for mask, count in zip(masks, borders, strict=True) if count < most]
        if kept:
            return kept
    return list(masks)


def silhouette(distances: np.ndarray, inside: np.ndarray) -> float:
    """How well cells `inside` (P,) separate from the nearest background: the mean silhouette of the two, in [-1, 1].

    The background is balanced: as many cells outside as inside (all, where fewer), those nearest to the mask's cells by
    mean distance. `distances` (P, P) are between the cells' rows; 0 with a single cell on one side.
    """
    from sklearn.metrics import silhouette_score

    own, others = np.flatnonzero(inside), np.flatnonzero(~inside)
    if len(own) + len(others) < 3 or not len(own) or not len(others):
        return 0.0
    near = others[distances[np.ix_(others, own)].mean(1).argsort(kind="stable")[: len(own)]]
    if len(own) + len(near) < 3:
        return 0.0
    both = np.concatenate([own, near])
    labels = np.arange(len(both)) < len(own)
    return float(silhouette_score(distances[np.ix_(both, both)], labels, metric="precomputed"))


def suppressed(proposals: Sequence[Proposal]) -> list[Proposal]:
    """The proposals after non-maximum suppression, best first: none has an IoU above 0.7 with a better one; at most 100."""
    if not proposals:
        return []
    ordered = sorted(proposals, key=lambda one: -one.score)
    flat = np.stack([one.mask.reshape(-1) for one in ordered]).astype(np.float64)
    both = flat @ flat.T
    sizes = flat.sum(1)
    overlap = both / (sizes[:, None] + sizes - both)
    kept: list[int] = []
    for number in range(len(ordered)):
        if not kept or overlap[number, kept].max() <= OVERLAP:
            kept.append(number)
        if len(kept) == MOST:
            break
    return [ordered[number] for number in kept]
