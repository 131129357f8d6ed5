"""The repulsion of t-SNE by a tree of places: what is far pushes as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignedcut_cli.core.embed.kernels import push_lists, walk
from alignedcut_cli.core.embed.threads import share_rows
from alignedcut_cli.core.embed.tsne_exact import in_three_rows

__all__ = ["Tree"]


@dataclass(frozen=True)
class _Lists:
    """What pushes which group: the order (m,) of the places in the tree, edges of each level's nodes, and of the groups.

    The list of group g is sources[starts[g]:starts[g + 1]]: numbers of nodes, then of places in the order of the tree.
    `where` (m, 3) are the places at which the lists were made.
    """

    order: np.ndarray
    edges: list[np.ndarray]
    groups: np.ndarray
    starts: np.ndarray
    sources: np.ndarray
    where: np.ndarray


class Tree:
    """The repulsion by groups of near places: what is far pushes as its mean times its number (Barnes and Hut 1986).

    One traversal serves a group of targets, so that the work is products of small matrices. A node that reaches r from
    its mean c is far from a group of mean g and reach R if r <= theta max(0, |g - c| - R), or if r <= `flat`, where
    1 / (1 + d^2) does not change. Lists serve at most `kept` times, and until the places have moved (root mean square)
    by `slack` times their spread, or times 2 where that is more. `leaf` >= 2. Called as exact_repulsion; O(m log m).
    """

    def __init__(
        self,
        theta: float = 0.5,
        flat: float = 0.05,
        leaf: int = 8,
        group: int = 64,
        slack: float = 0.02,
        kept: int = 10,
    ) -> None:
        self._theta, self._flat, self._leaf, self._group = theta, flat, leaf, group
        self._slack, self._kept = slack, kept
        self._lists: _Lists | None = None
        self._age = 0

    def __call__(self, places: np.ndarray) -> tuple[np.ndarray, float]:
        centred = places - places.mean(0)
        lists = self._lists_for(centred)
        counts, means = _means(centred[lists.order], lists.edges)
        nodes = len(counts)
        table = np.ones((4, nodes + len(places)), np.float32)
        table[:3] = in_three_rows(np.concatenate([means, centred[lists.order]]))
        table[3, :nodes] = counts
        pushed, sums = np.empty((3, len(places)), np.float32), np.empty(len(places), np.float32)
        found = (lists.sources, lists.starts, lists.groups, nodes)
        share_rows(len(lists.groups) - 1, lambda a, b: push_lists(table, *found, a, b, pushed, sums))
        forces = np.empty_like(centred)
        forces[lists.order] = pushed[: places.shape[1]].T
        return forces, float(sums.sum(dtype=np.float64)) - len(places)

    def _lists_for(self, places: np.ndarray) -> _Lists:
        if self._lists is None or self._age >= self._kept or self._moved(places) > self._slack:
            self._lists, self._age = _make_lists(places, self._theta, self._flat, self._leaf, self._group), 0
        self._age += 1
        return self._lists

    def _moved(self, places: np.ndarray) -> float:
        """How far the places are from where the lists were made, relative to their spread, or to 2."""
        assert self._lists is not None
        moved, spread = (np.sqrt((one**2).sum(1).mean()) for one in (places - self._lists.where, places))
        return float(moved / max(spread, 2))


def _make_lists(places: np.ndarray, theta: float, flat: float, leaf: int, group: int) -> _Lists:
    """The tree of places (m, d) and, for each of its groups, the nodes that are far and the places that are near."""
    from scipy.spatial import KDTree

    order = KDTree(places, leafsize=leaf, balanced_tree=True, compact_nodes=False).indices
    edges = _all_edges(len(places), leaf)
    ordered = places[order]
    _, means = _means(ordered, edges)
    reach = _reach(ordered, means, edges)
    level = next((n for n, one in enumerate(edges) if np.diff(one).max() <= group), len(edges) - 1)
    groups = slice(2**level - 1, 2 ** (level + 1) - 1)
    middles = in_three_rows(means)
    tree = (middles[:, groups], reach[groups], middles, np.where(reach <= flat, 0, reach / theta), edges[-1])
    starts = np.zeros(2**level + 1, np.int64)
    share_rows(2**level, lambda a, b: walk(*tree, a, b, starts, np.empty(0, np.int32)))
    starts = np.cumsum(starts)
    sources = np.empty(starts[-1], np.int32)
    share_rows(2**level, lambda a, b: walk(*tree, a, b, starts, sources))
    return _Lists(order, edges, edges[level], starts, sources, places)


def _all_edges(total: int, leaf: int) -> list[np.ndarray]:
    """Edges of the nodes of each level: halves of halves of range(total), until none holds more than `leaf`."""
    edges = [np.array([0, total])]
    while np.diff(edges[-1]).max() > leaf:
        last = edges[-1]
        finer = np.empty(2 * len(last) - 1, last.dtype)
        finer[::2], finer[1::2] = last, (last[:-1] + last[1:]) // 2
        edges.append(finer)
    return edges


def _means(ordered: np.ndarray, edges: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Number (n,) and mean (n, d) of the places of all nodes, root first."""
    sums = [np.add.reduceat(ordered, edges[-1][:-1])]
    while len(sums[-1]) > 1:
        sums.append(sums[-1].reshape(-1, 2, ordered.shape[1]).sum(1))
    counts = np.concatenate([np.diff(one) for one in edges])
    return counts, np.concatenate(sums[::-1]) / counts[:, None]


def _reach(ordered: np.ndarray, means: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Distance (n,) of the farthest place of each node from its mean."""
    found = []
    for level, one in enumerate(edges):
        middles = np.repeat(means[2**level - 1 : 2 ** (level + 1) - 1], np.diff(one), 0)
        found.append(np.maximum.reduceat(((ordered - middles) ** 2).sum(1), one[:-1]))
    return np.sqrt(np.concatenate(found))
