"""The repulsion of t-SNE by a tree of places: what is far pushes as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.embed.tsne_exact import TILE, repulsion_tiles

__all__ = ["Tree"]


@dataclass(frozen=True)
class _Batch:
    """Groups evaluated at once: numbers of their places (b, t) and of what pushes them (b, s), both padded.

    Numbers count nodes, then places in the order of the tree; the last one is no place and weighs nothing.
    """

    targets: Tensor
    sources: Tensor


@dataclass(frozen=True)
class _Lists:
    """What pushes which group: order (m,) of the places in the tree, edges of each level's nodes, where (m, d) they were."""

    order: np.ndarray
    edges: list[np.ndarray]
    batches: list[_Batch]
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
        ordered = centred[lists.order]
        counts, means = _means(ordered, lists.edges)
        nothing = np.zeros((1, places.shape[1]))
        table = torch.from_numpy(np.concatenate([means, ordered, nothing]).astype(np.float32))  # (n + m + 1, d)
        weights = torch.ones(len(table))
        weights[: len(counts)] = torch.from_numpy(counts.astype(np.float32))
        weights[-1] = 0
        pushed, sums = torch.empty_like(table), torch.zeros(len(table))
        for batch in lists.batches:
            forces, kernel = _push(table, weights, batch)
            pushed[batch.targets] = forces
            sums[batch.targets] = kernel
        found = np.empty_like(centred)
        found[lists.order] = pushed[len(counts) : -1].numpy()
        return found, float(sums[:-1].double().sum()) - len(places)

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


def _push(table: Tensor, weights: Tensor, batch: _Batch) -> tuple[Tensor, Tensor]:
    """Forces (b, t, d) and sums of the kernel (b, t) on the targets of a batch."""
    targets, sources, heavy = table[batch.targets], table[batch.sources], weights[batch.sources]
    # Near the origin squared distances keep their digits
    middle = targets.mean(1, keepdim=True)
    return repulsion_tiles(targets - middle, sources - middle, heavy)


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
    needed = np.where(reach <= flat, 0, reach / theta)
    far, near = _walk(means[groups], reach[groups], means, needed, len(edges))
    sources, starts = _by_group(far, near, edges[-1], len(means), 2**level)
    return _Lists(order, edges, _batches(sources, starts, edges[level], len(means)), places)


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


def _walk(
    middles: np.ndarray, radii: np.ndarray, means: np.ndarray, needed: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """(group, node) pairs (2, n) that are far, and those of leaves that are not; `needed` (nodes,) is from edge to mean."""
    far: list[np.ndarray] = []
    near = np.empty((2, 0), np.int64)
    pairs = np.stack([np.arange(len(middles)), np.zeros(len(middles), np.int64)])
    for _ in range(levels):
        group, node = pairs
        distance = np.sqrt(((middles[group] - means[node]) ** 2).sum(1))
        is_far = np.maximum(distance - radii[group], 0) >= needed[node]
        far.append(pairs[:, is_far])
        near = pairs[:, ~is_far]
        pairs = np.repeat(near, 2, 1)
        pairs[1] = 2 * pairs[1] + 1
        pairs[1, 1::2] += 1
    return np.concatenate(far, 1), near


def _by_group(
    far: np.ndarray, near: np.ndarray, leaves: np.ndarray, nodes: int, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sources (n,) of all groups one after another, far nodes and near places; where each group's begin (groups + 1,)."""
    leaf = near[1] - (nodes - len(leaves) + 1)
    count = np.diff(leaves)[leaf]
    first = np.repeat(leaves[leaf] - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
    member = nodes + first + np.arange(count.sum())
    owner = np.concatenate([far[0], np.repeat(near[0], count)])
    order = np.argsort(owner, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=groups))])
    return np.concatenate([far[1], member])[order], starts


def _batches(sources: np.ndarray, starts: np.ndarray, edges: np.ndarray, nodes: int) -> list[_Batch]:
    """Groups with lists of like length, together as many as fill a tile."""
    sizes, lengths = np.diff(edges), np.diff(starts)
    most, nothing = int(sizes.max()), nodes + int(edges[-1])
    # A padded source weighs nothing; a padded target is the group's first again
    steps = np.arange(most)
    targets = nodes + edges[:-1, None] + np.where(steps < sizes[:, None], steps, 0)
    padded = np.append(sources, nothing)
    order = np.argsort(lengths, kind="stable")
    found = []
    while len(order):
        length = int(lengths[order[-1]])
        taken = order[-max(1, TILE["cpu"] // (most * length)) :]
        order = order[: -len(taken)]
        steps = np.arange(length)
        chosen = np.where(steps < lengths[taken, None], starts[taken, None] + steps, len(sources))
        found.append(_Batch(torch.from_numpy(targets[taken]), torch.from_numpy(padded[chosen])))
    return found
