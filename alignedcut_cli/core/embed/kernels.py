"""Compiled loops of t-SNE: the Barnes-Hut tree, pairwise forces, and the gradient step.

Those that take a range of rows or groups write only to these, so that threads share the work and results do not depend
on their number. Arrays are indexed without checks: callers keep the bounds that each docstring states. Points (`places`)
are (m, 3) float32, the last column zero in two dimensions.
"""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import compiled

__all__ = ["LANES", "mismatch", "push_all", "push_lists", "split", "step", "tabulate", "walk"]

LANES = 32
"""Compiled loops take so many numbers at a time, and what is left one by one: lists are padded to multiples of it."""
_ONE = np.float32(1)


@compiled
def split(places: np.ndarray, order: np.ndarray, levels: int) -> None:
    """Order the points as a k-d tree of `levels` levels.

    Each node [a, b) is split at (a + b) // 2 along its widest axis. order (m,) int32 is a permutation of range(m),
    rearranged in place.
    """
    total = len(order)
    bounds = np.empty(2**levels + 1, np.int64)
    bounds[0], bounds[1] = 0, total
    for level in range(levels):
        nodes = 2**level
        for node in range(nodes - 1, -1, -1):  # from the end, as finer bounds overwrite coarser ones
            a, b = bounds[node], bounds[node + 1]
            middle = (a + b) // 2
            bounds[2 * node + 2], bounds[2 * node + 1] = b, middle
            if b - a < 2:
                continue
            axis, widest = 0, np.float32(-1)
            for candidate in range(3):
                low = high = places[order[a], candidate]
                for n in range(a + 1, b):
                    value = places[order[n], candidate]
                    low, high = min(low, value), max(high, value)
                if high - low > widest:
                    axis, widest = candidate, high - low
            along = places[:, axis]
            # Hoare's selection of the middle
            left, right = a, b - 1
            while left < right:
                pivot = along[order[(left + right) // 2]]
                i, j = left, right
                while i <= j:
                    while along[order[i]] < pivot:
                        i += 1
                    while along[order[j]] > pivot:
                        j -= 1
                    if i <= j:
                        order[i], order[j] = order[j], order[i]
                        i += 1
                        j -= 1
                if middle <= j:
                    right = j
                elif middle >= i:
                    left = i
                else:
                    break


@compiled
def tabulate(places: np.ndarray, order: np.ndarray, levels: int, table: np.ndarray, reach: np.ndarray) -> None:
    """Mean and count of the points of each node, root first, then each point with count 1: table (nodes + m, 4) float32.

    With a non-empty `reach` (nodes,) float32, also each node's radius: the distance of its farthest point from its mean.
    nodes = 2^(levels + 1) - 1, and 2^levels <= m.
    """
    total, nodes = len(order), 2 ** (levels + 1) - 1
    for n in range(total):
        for axis in range(3):
            table[nodes + n, axis] = places[order[n], axis]
        table[nodes + n, 3] = _ONE
    edges = np.empty(2**levels + 1, np.int64)
    edges[0], edges[1] = 0, total
    for level in range(levels):
        for node in range(2**level - 1, -1, -1):
            a, b = edges[node], edges[node + 1]
            edges[2 * node + 2], edges[2 * node + 1] = b, (a + b) // 2
    inner = 2**levels - 1
    sums = np.zeros((nodes, 4))
    for leaf in range(2**levels):
        for n in range(nodes + edges[leaf], nodes + edges[leaf + 1]):
            for axis in range(4):
                sums[inner + leaf, axis] += table[n, axis]
    for node in range(inner - 1, -1, -1):
        for axis in range(4):
            sums[node, axis] = sums[2 * node + 1, axis] + sums[2 * node + 2, axis]
    for node in range(nodes):
        for axis in range(3):
            table[node, axis] = sums[node, axis] / sums[node, 3]
        table[node, 3] = sums[node, 3]
    if not len(reach):
        return
    reach[:] = 0
    for leaf in range(2**levels):
        node = inner + leaf
        while True:
            x, y, z = table[node, 0], table[node, 1], table[node, 2]
            farthest = reach[node]
            for n in range(nodes + edges[leaf], nodes + edges[leaf + 1]):
                dx, dy, dz = table[n, 0] - x, table[n, 1] - y, table[n, 2] - z
                farthest = max(farthest, dx * dx + dy * dy + dz * dz)
            reach[node] = farthest
            if node == 0:
                break
            node = (node - 1) // 2
    for node in range(nodes):
        reach[node] = np.sqrt(reach[node])


@compiled
def walk(
    table: np.ndarray,
    reach: np.ndarray,
    needed: np.ndarray,
    level: int,
    levels: int,
    total: int,
    first: int,
    last: int,
    starts: np.ndarray,
    sources: np.ndarray,
) -> None:
    """Interaction lists of the nodes of a `level`, first to last - 1: far nodes, near points; without `sources`, lengths.

    table and reach as `tabulate` computes them for `total` points. A node is far from a group if its mean is at least
    `needed` away from the group's edge. Lengths go to starts[g + 1]; lists to sources[starts[g]:starts[g + 1]], points
    after the nodes.
    """
    nodes, inner = 2 ** (levels + 1) - 1, 2**levels - 1
    stack = np.empty(64, np.int64)
    for g in range(first, last):
        group = 2**level - 1 + g
        x, y, z, radius = table[group, 0], table[group, 1], table[group, 2], reach[group]
        place = starts[g] if len(sources) else 0
        stack[0], top = 0, 1
        while top:
            top -= 1
            node = stack[top]
            dx, dy, dz = x - table[node, 0], y - table[node, 1], z - table[node, 2]
            if max(np.sqrt(dx * dx + dy * dy + dz * dz) - radius, np.float32(0)) >= needed[node]:
                if len(sources):
                    sources[place] = node
                place += 1
            elif node < inner:
                stack[top], stack[top + 1] = 2 * node + 2, 2 * node + 1
                top += 2
            else:
                a, b = 0, total
                leaf = node - inner
                for bit in range(levels - 1, -1, -1):
                    middle = (a + b) // 2
                    if leaf >> bit & 1:
                        a = middle
                    else:
                        b = middle
                if len(sources):
                    for member in range(a, b):
                        sources[place + member - a] = nodes + member
                place += b - a
        if not len(sources):
            starts[g + 1] = place


@compiled
def _push(table: np.ndarray, count: int, target: np.ndarray, to: int, forces: np.ndarray, sums: np.ndarray) -> None:
    """Force and sum on a `target` (3,) from the first `count` weighted points, columns of `table`, into row `to`."""
    x, y, z, weight = table[0], table[1], table[2], table[3]
    xi, yi, zi = target[0], target[1], target[2]
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
    forces[to, 0], forces[to, 1], forces[to, 2], sums[to] = fx, fy, fz, total


@compiled
def push_lists(
    table: np.ndarray,
    sources: np.ndarray,
    starts: np.ndarray,
    edges: np.ndarray,
    order: np.ndarray,
    first: int,
    last: int,
    forces: np.ndarray,
    sums: np.ndarray,
) -> None:
    """F_i = sum_s w_s (y_i - y_s) k_is^2 and sum_s w_s k_is, k_is = 1 / (1 + |y_i - y_s|^2), of groups first to last - 1.

    table (n + m, 4) float32: coordinates and weights of n nodes, then of the m points; s runs over the list of group g,
    rows sources[starts[g]:starts[g + 1]] of the table, i over the points edges[g] to edges[g + 1] - 1. Force and sum of
    point i go to row order[i] of forces (m, 3) and sums (m,) float32.
    """
    nodes = len(table) - len(order)
    longest = 0
    for g in range(first, last):
        longest = max(longest, starts[g + 1] - starts[g])
    chosen = np.zeros((4, longest + LANES), np.float32)
    for g in range(first, last):
        listed = starts[g + 1] - starts[g]
        count = -(-listed // LANES) * LANES
        for s in range(listed):
            source = sources[starts[g] + s]
            for axis in range(4):
                chosen[axis, s] = table[source, axis]
        chosen[3, listed:count] = 0
        for i in range(edges[g], edges[g + 1]):
            _push(chosen, count, table[nodes + i], order[i], forces, sums)


@compiled
def push_all(places: np.ndarray, first: int, last: int, forces: np.ndarray, sums: np.ndarray) -> None:
    """The forces and sums of `push_lists` on points first to last - 1 from all m: places (4, m) float32, with weights."""
    for i in range(first, last):
        _push(places, places.shape[1], places[:, i], i, forces, sums)


@compiled
def step(
    values: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    height: int,
    places: np.ndarray,
    forces: np.ndarray,
    numbers: np.ndarray,
    updates: np.ndarray,
    gains: np.ndarray,
    moved: np.ndarray,
    first: int,
    last: int,
) -> None:
    """One step of blocks first to last - 1 down the gradient e sum_j p_ij k_ij (y_i - y_j) - F_i / Z, by momentum and gains.

    P in blocks (see `blocks`) of a height; forces F, and `updates` and `gains`, changed in place, (m, 3) float32. numbers:
    exaggeration e, 1 / Z, learning rate, momentum, smallest gain, longest step. New points go to `moved`.
    """
    exaggeration, share, rate = numbers[0], numbers[1], numbers[2]
    momentum, least, longest = numbers[3], numbers[4], numbers[5]
    most = 0
    for block in range(first, last):
        most = max(most, starts[block + 1] - starts[block])
    near = np.empty((3, most), np.float32)
    gradient = np.empty(3, np.float32)
    for block in range(first, last):
        others = columns[starts[block] : starts[block + 1]]
        count = len(others)
        x, y, z = near[0, :count], near[1, :count], near[2, :count]
        for entry in range(count):  # gather first, so that the loop over pairs is vectorised
            j = others[entry]
            x[entry], y[entry], z[entry] = places[j, 0], places[j, 1], places[j, 2]
        for i in range(block * height, min(len(places), block * height + height)):
            row = height * starts[block] + (i - block * height) * count
            weights = values[row : row + count]
            xi, yi, zi = places[i, 0], places[i, 1], places[i, 2]
            fx = fy = fz = np.float32(0)
            for entry in range(count):
                dx, dy, dz = xi - x[entry], yi - y[entry], zi - z[entry]
                pulled = weights[entry] / (_ONE + dx * dx + dy * dy + dz * dz)
                fx += pulled * dx
                fy += pulled * dy
                fz += pulled * dz
            gradient[0], gradient[1], gradient[2] = fx, fy, fz
            length = np.float32(0)
            for axis in range(3):
                before, now, gain = (
                    updates[i, axis],
                    exaggeration * gradient[axis] - share * forces[i, axis],
                    gains[i, axis],
                )
                alike = ((before > 0) == (now > 0)) & ((before < 0) == (now < 0))
                gain = gain * np.float32(0.8) + least if alike else gain + np.float32(0.2)
                before = momentum * before - rate * gain * now
                updates[i, axis], gains[i, axis] = before, gain
                length += before * before
            if length > longest * longest:
                for axis in range(3):
                    updates[i, axis] *= longest / np.sqrt(length)
            for axis in range(3):
                moved[i, axis] = places[i, axis] + updates[i, axis]


@compiled
def mismatch(
    values: np.ndarray,
    columns: np.ndarray,
    bounds: np.ndarray,
    places: np.ndarray,
    first: int,
    last: int,
    found: np.ndarray,
) -> None:
    """found[i] = sum_j p_ij log(p_ij / k_ij) float64 of rows first to last - 1, where p_ij > 0."""
    for i in range(first, last):
        total = 0.0
        for entry in range(bounds[i], bounds[i + 1]):
            j, weight = columns[entry], np.float64(values[entry])
            apart = 1.0
            for axis in range(3):
                apart += (np.float64(places[i, axis]) - places[j, axis]) ** 2
            if weight > 0:
                total += weight * np.log(weight * apart)
        found[i] = total
