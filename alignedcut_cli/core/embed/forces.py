"""The repulsion of t-SNE on the CPU: over all pairs, or approximated by a tree (Barnes-Hut)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from alignedcut_cli.core.embed.kernels import push_all, push_lists, split, tabulate, walk
from alignedcut_cli.core.embed.threads import Threads

__all__ = ["AllPairs", "Repulsion", "Tree"]

_LARGE = 1000
_NO_SOURCES, _NO_REACH = np.empty(0, np.int32), np.empty(0, np.float32)


class Repulsion(Protocol):
    """F_i = sum_j (y_i - y_j) k_ij^2 with k_ij = 1 / (1 + |y_i - y_j|^2), and Z = sum over i != j of k_ij.

    places (m, 3) float32, centred; F (m, 3) float32, its sums in float32.
    """

    def __call__(self, places: np.ndarray) -> tuple[np.ndarray, float]: ...


def _z(sums: np.ndarray) -> float:
    return float(sums.sum(dtype=np.float64)) - len(sums)


class AllPairs:
    """The repulsion over all m^2 pairs."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def __call__(self, places: np.ndarray) -> tuple[np.ndarray, float]:
        columns = np.ones((4, len(places)), np.float32)
        columns[:3] = places.T
        forces, sums = np.empty_like(places), np.empty(len(places), np.float32)
        work = lambda a, b: push_all(columns, a, b, forces, sums)  # noqa: E731
        self._threads.share(len(places), work, large=len(places) > _LARGE)
        return forces, _z(sums)


@dataclass(frozen=True)
class _Lists:
    """Interaction lists: that of group g is sources[starts[g]:starts[g + 1]], rows of the tree's table.

    `edges` delimit the groups, and `where` (m, 3) are the points for which the lists were made.
    """

    edges: np.ndarray
    starts: np.ndarray
    sources: np.ndarray
    where: np.ndarray


class Tree:
    """The repulsion approximated by tree nodes: a far node acts as one point at its mean (Barnes and Hut 1986).

    One traversal serves a group of targets. A node of radius r around its mean c is far from a group with mean g and
    radius R if r <= theta max(0, |g - c| - R), or if r <= `flat`, where 1 / (1 + d^2) is nearly constant. Interaction lists
    are reused at most `kept` times, and until the points have moved (root mean square) by `slack` times their spread or 2,
    whichever is larger. Leaves hold at most `leaf` points, at least 2. O(m log m).
    """

    def __init__(
        self,
        threads: Threads,
        theta: float = 0.5,
        flat: float = 0.05,
        leaf: int = 8,
        group: int = 64,
        slack: float = 0.02,
        kept: int = 10,
    ) -> None:
        self._threads = threads
        self._theta, self._flat, self._leaf, self._group = theta, flat, leaf, group
        self._slack, self._kept = slack, kept
        self._order = np.empty(0, np.int32)
        self._lists: _Lists | None = None
        self._age = 0

    def __call__(self, places: np.ndarray) -> tuple[np.ndarray, float]:
        total = len(places)
        levels = _halvings(total, self._leaf)
        table = np.empty((2 ** (levels + 1) - 1 + total, 4), np.float32)
        if self._lists is None or self._age >= self._kept or self._moved(places) > self._slack:
            self._lists, self._age = self._make_lists(places, levels, table), 0
        else:
            tabulate(places, self._order, levels, table, _NO_REACH)
        self._age += 1
        forces, sums = np.empty_like(places), np.empty(total, np.float32)
        known = (self._lists.sources, self._lists.starts, self._lists.edges, self._order)
        work = lambda a, b: push_lists(table, *known, a, b, forces, sums)  # noqa: E731
        self._threads.share(len(self._lists.edges) - 1, work)
        return forces, _z(sums)

    def _moved(self, places: np.ndarray) -> float:
        """The root mean square displacement since the lists were made, relative to the points' spread or 2, the larger."""
        assert self._lists is not None
        moved, spread = (np.sqrt(np.vdot(one, one) / len(one)) for one in (places - self._lists.where, places))
        return float(moved / max(spread, 2))

    def _make_lists(self, places: np.ndarray, levels: int, table: np.ndarray) -> _Lists:
        """The tree's table and order, and the interaction list of each group: far nodes and near points."""
        total = len(places)
        if len(self._order) != total:
            self._order = np.arange(total, dtype=np.int32)
        self._split(places, levels)
        reach = np.empty(2 ** (levels + 1) - 1, np.float32)
        tabulate(places, self._order, levels, table, reach)
        needed = np.where(reach <= self._flat, np.float32(0), reach / np.float32(self._theta))
        level = _halvings(total, self._group)
        tree = (table, reach, needed, level, levels, total)
        starts = np.zeros(2**level + 1, np.int64)
        self._threads.share(2**level, lambda a, b: walk(*tree, a, b, starts, _NO_SOURCES))
        starts = np.cumsum(starts)
        sources = np.empty(starts[-1], np.int32)
        self._threads.share(2**level, lambda a, b: walk(*tree, a, b, starts, sources))
        return _Lists(_edges(total, level), starts, sources, places.copy())

    def _split(self, places: np.ndarray, levels: int) -> None:
        """Order the points as a k-d tree, a part for each thread once there are so many."""
        upper = min(levels, (self._threads.count - 1).bit_length())
        split(places, self._order, upper)
        parts = [self._order[a:b] for a, b in pairwise(_edges(len(places), upper).tolist())]

        def work(first: int, last: int) -> None:
            for part in parts[first:last]:
                split(places, part, levels - upper)

        self._threads.share(len(parts), work)


def _halvings(total: int, most: int) -> int:
    """The number of times range(total) is halved until no part holds more than `most`."""
    count = 0
    while -(-total // 2**count) > most:
        count += 1
    return count


def _edges(total: int, level: int) -> np.ndarray:
    """Boundaries of the nodes of a level: range(total) halved `level` times."""
    edges = np.array([0, total])
    for _ in range(level):
        finer = np.empty(2 * len(edges) - 1, edges.dtype)
        finer[::2], finer[1::2] = edges, (edges[:-1] + edges[1:]) // 2
        edges = finer
    return edges
