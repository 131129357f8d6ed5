"""The loops of t-SNE that are compiled: forces over pairs, and the walk through a tree.

Each works on a range of rows and writes to these rows alone, so that threads share the work and the bytes do not depend
on their number. Arrays are indexed without checks: the callers hold the bounds that each docstring states.
"""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import compiled

__all__ = ["pull", "push_all", "push_lists", "walk"]

_ONE = np.float32(1)


@compiled
def push_all(places: np.ndarray, first: int, last: int, forces: np.ndarray, sums: np.ndarray) -> None:
    """forces[:, i] = sum_j (y_i - y_j) k_ij^2 and sums[i] = sum_j k_ij, k_ij = 1 / (1 + |y_i - y_j|^2), i in [first, last).

    places and forces (3, m) float32, sums (m,) float32, 0 <= first <= last <= m. j runs over all, i itself too.
    """
    x, y, z = places[0], places[1], places[2]
    for i in range(first, last):
        xi, yi, zi = x[i], y[i], z[i]
        fx = fy = fz = total = np.float32(0)
        for j in range(len(x)):
            dx, dy, dz = xi - x[j], yi - y[j], zi - z[j]
            kernel = _ONE / (_ONE + dx * dx + dy * dy + dz * dz)
            total += kernel
            kernel *= kernel
            fx += kernel * dx
            fy += kernel * dy
            fz += kernel * dz
        forces[0, i], forces[1, i], forces[2, i], sums[i] = fx, fy, fz, total


@compiled
def push_lists(
    table: np.ndarray,
    sources: np.ndarray,
    starts: np.ndarray,
    edges: np.ndarray,
    nodes: int,
    first: int,
    last: int,
    forces: np.ndarray,
    sums: np.ndarray,
) -> None:
    """The forces and sums of `push_all` on the places of groups first to last - 1, from the sources on each group's list.

    table (4, nodes + m) float32: coordinates and weight of the nodes, then of the m places; the list of group g is
    sources[starts[g]:starts[g + 1]], numbers of columns of the table, and pushes the places edges[g] to edges[g + 1] - 1.
    """
    longest = 0
    for g in range(first, last):
        longest = max(longest, starts[g + 1] - starts[g])
    x, y, z, weight = np.empty((4, longest), np.float32)
    for g in range(first, last):
        columns = sources[starts[g] : starts[g + 1]]
        count = len(columns)
        for s in range(count):
            column = columns[s]
            x[s], y[s], z[s], weight[s] = table[0, column], table[1, column], table[2, column], table[3, column]
        for i in range(edges[g], edges[g + 1]):
            xi, yi, zi = table[0, nodes + i], table[1, nodes + i], table[2, nodes + i]
            fx = fy = fz = total = np.float32(0)
            for s in range(count):
                dx, dy, dz = xi - x[s], yi - y[s], zi - z[s]
                kernel = _ONE / (_ONE + dx * dx + dy * dy + dz * dz)
                pushed = kernel * weight[s]
                total += pushed
                pushed *= kernel
                fx += pushed * dx
                fy += pushed * dy
                fz += pushed * dz
            forces[0, i], forces[1, i], forces[2, i], sums[i] = fx, fy, fz, total


@compiled
def walk(
    middles: np.ndarray,
    radii: np.ndarray,
    means: np.ndarray,
    needed: np.ndarray,
    leaves: np.ndarray,
    first: int,
    last: int,
    starts: np.ndarray,
    sources: np.ndarray,
) -> None:
    """The lists of groups first to last - 1: far nodes and near places, root first; with no `sources`, their lengths.

    A complete binary tree, the root node 0, the children of n 2 n + 1 and 2 n + 2, its last level the leaves (edges of
    their places: `leaves`). A node is far from a group (middle and radius) if its mean is at least `needed` away from the
    group's edge. Lengths go to starts[g + 1]; lists to sources[starts[g]:starts[g + 1]], places after the nodes.
    """
    nodes = means.shape[1]
    inner = nodes - (len(leaves) - 1)
    stack = np.empty(64, np.int64)
    for g in range(first, last):
        place = starts[g] if len(sources) else 0
        stack[0], top = 0, 1
        while top:
            top -= 1
            node = stack[top]
            apart = np.float64(0)
            for axis in range(3):
                apart += (middles[axis, g] - means[axis, node]) ** 2
            if max(np.sqrt(apart) - radii[g], 0.0) >= needed[node]:
                if len(sources):
                    sources[place] = node
                place += 1
            elif node < inner:
                stack[top], stack[top + 1] = 2 * node + 2, 2 * node + 1
                top += 2
            else:
                leaf = node - inner
                for member in range(leaves[leaf], leaves[leaf + 1]):
                    if len(sources):
                        sources[place] = nodes + member
                    place += 1
        if not len(sources):
            starts[g + 1] = place


@compiled
def pull(
    values: np.ndarray,
    columns: np.ndarray,
    bounds: np.ndarray,
    places: np.ndarray,
    first: int,
    last: int,
    forces: np.ndarray,
) -> None:
    """forces[:, i] = sum_j p_ij k_ij (y_i - y_j) for i in [first, last), P sparse by rows (values, columns, bounds).

    places and forces (3, m) float32.
    """
    x, y, z = places[0], places[1], places[2]
    for i in range(first, last):
        mine = slice(bounds[i], bounds[i + 1])
        weights, others = values[mine], columns[mine]
        xi, yi, zi = x[i], y[i], z[i]
        fx = fy = fz = np.float32(0)
        for entry in range(len(others)):
            j = others[entry]
            dx, dy, dz = xi - x[j], yi - y[j], zi - z[j]
            pulled = weights[entry] / (_ONE + dx * dx + dy * dy + dz * dz)
            fx += pulled * dx
            fy += pulled * dy
            fz += pulled * dz
        forces[0, i], forces[1, i], forces[2, i] = fx, fy, fz
