"""Compiled loops of the nearest rows, by brute force: of others, and of a few among many.

They write only to the range of rows that they are given, so that threads share the work and results do not depend on their
number. Arrays are indexed without checks: callers keep the bounds that each docstring states.
"""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import compiled

__all__ = ["CHUNK", "nearest_mark", "nearest_others"]

CHUNK = 256
"""Rows that a search looks at together: 20 columns of them fit the fastest cache."""
_ROWS = 4


@compiled
def _squares(row: np.ndarray, columns: np.ndarray, start: int, apart: np.ndarray) -> None:
    """apart[j] = |row - z_(start + j)|^2 from differences: row (C,), columns (C, m) and apart (n,) float32, C a multiple of
    4, start + n <= m."""
    size = len(apart)
    apart[:] = 0
    for k in range(0, len(columns), 4):
        a, ai = columns[k, start : start + size], row[k]
        b, bi = columns[k + 1, start : start + size], row[k + 1]
        c, ci = columns[k + 2, start : start + size], row[k + 2]
        d, di = columns[k + 3, start : start + size], row[k + 3]
        for j in range(size):
            near = (ai - a[j]) * (ai - a[j]) + (bi - b[j]) * (bi - b[j])
            apart[j] += near + (ci - c[j]) * (ci - c[j]) + (di - d[j]) * (di - d[j])


@compiled
def nearest_others(columns: np.ndarray, first: int, last: int, indices: np.ndarray, squares: np.ndarray) -> None:
    """The k nearest others of rows first to last - 1, of m, and their squared distances, not sorted.

    columns (C, m) float32, C a multiple of 4; indices (m, k) int32 and squares (m, k) float32, k < m. As near rows are
    mostly adjacent, they are visited from shortly before the row, in a circle. Ties go to the first visited.
    """
    total = columns.shape[1]
    chunks = -(-total // CHUNK)
    count = indices.shape[1]
    apart = np.empty(CHUNK, np.float32)
    heap, held = np.empty(count, np.float32), np.empty(count, np.int32)  # the largest first
    for i in range(first, last):
        heap[:] = np.inf
        held[:] = -1
        begin = max(0, i // CHUNK - 1)
        for chunk in range(begin, begin + chunks):
            start = chunk % chunks * CHUNK
            size = min(CHUNK, total - start)
            _squares(columns[:, i], columns, start, apart[:size])
            for j in range(size):
                if apart[j] < heap[0] and start + j != i:
                    # replace the root and sift down
                    value, place = apart[j], 0
                    while True:
                        child = 2 * place + 1
                        if child >= count:
                            break
                        if child + 1 < count and heap[child + 1] > heap[child]:
                            child += 1
                        if heap[child] <= value:
                            break
                        heap[place], held[place] = heap[child], held[child]
                        place = child
                    heap[place], held[place] = value, start + j
        indices[i], squares[i] = held, heap


@compiled
def _least_of_chunks(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    w: np.ndarray,
    columns: np.ndarray,
    halves: np.ndarray,
    far: np.ndarray,
    least: np.ndarray,
) -> None:
    """least[r, n] = the least h_j - row_r c_j in chunk n, of four rows x, y, z and w (C,), h = `halves` and c = `columns`.

    As in `nearest_mark`; least (4, chunks), and far (4, CHUNK) as a buffer, float32. Four rows share what they read.
    """
    p, q, r, s = far[0], far[1], far[2], far[3]
    for chunk in range(columns.shape[1] // CHUNK):
        start = chunk * CHUNK
        h = halves[start : start + CHUNK]
        for k in range(0, len(columns), 4):
            a, b = columns[k, start : start + CHUNK], columns[k + 1, start : start + CHUNK]
            c, d = columns[k + 2, start : start + CHUNK], columns[k + 3, start : start + CHUNK]
            xa, xb, xc, xd = x[k], x[k + 1], x[k + 2], x[k + 3]
            ya, yb, yc, yd = y[k], y[k + 1], y[k + 2], y[k + 3]
            za, zb, zc, zd = z[k], z[k + 1], z[k + 2], z[k + 3]
            wa, wb, wc, wd = w[k], w[k + 1], w[k + 2], w[k + 3]
            if k == 0:  # a third faster than loops that begin with h
                for j in range(CHUNK):
                    p[j] = h[j] - (xa * a[j] + xb * b[j] + xc * c[j] + xd * d[j])
                    q[j] = h[j] - (ya * a[j] + yb * b[j] + yc * c[j] + yd * d[j])
                    r[j] = h[j] - (za * a[j] + zb * b[j] + zc * c[j] + zd * d[j])
                    s[j] = h[j] - (wa * a[j] + wb * b[j] + wc * c[j] + wd * d[j])
            else:
                for j in range(CHUNK):
                    p[j] -= xa * a[j] + xb * b[j] + xc * c[j] + xd * d[j]
                    q[j] -= ya * a[j] + yb * b[j] + yc * c[j] + yd * d[j]
                    r[j] -= za * a[j] + zb * b[j] + zc * c[j] + zd * d[j]
                    s[j] -= wa * a[j] + wb * b[j] + wc * c[j] + wd * d[j]
        half = CHUNK // 2
        while half:  # the least of each row, in steps that are taken many numbers at a time
            for j in range(half):
                p[j] = p[j + half] if p[j + half] < p[j] else p[j]
                q[j] = q[j + half] if q[j + half] < q[j] else q[j]
                r[j] = r[j + half] if r[j + half] < r[j] else r[j]
                s[j] = s[j + half] if s[j + half] < s[j] else s[j]
            half //= 2
        least[:, chunk] = far[:, 0]


@compiled
def nearest_mark(
    rows: np.ndarray, columns: np.ndarray, halves: np.ndarray, marks: int, first: int, last: int, found: np.ndarray
) -> None:
    """found[i], the nearest of m = `marks` rows of `columns` to rows[i], for rows first to last - 1; the first on ties.

    rows (n, C), columns (C, t) and halves (t,) float32, C a multiple of 4 and t one of CHUNK; found (n,) int32. halves holds
    |z|^2 / 2 of each mark, and more than any number that occurs beyond the m-th.

    |z|^2 / 2 - x z, of half the work of |x - z|^2, says in which chunks the nearest can lie: those whose least value is
    within the rounding of both ways, at most 2 e with e = eps (C + 4) (|x| + max |z|)^2, of the least of all. There the
    distances from differences decide.
    """
    width, chunks = len(columns), columns.shape[1] // CHUNK
    far, least = np.empty((_ROWS, CHUNK), np.float32), np.empty((_ROWS, chunks), np.float32)
    longest = np.float32(0)
    for j in range(marks):
        longest = max(longest, halves[j])
    longest = np.sqrt(2 * longest)
    for i in range(first, last, _ROWS):
        x, y, z, w = rows[i], rows[min(i + 1, last - 1)], rows[min(i + 2, last - 1)], rows[min(i + 3, last - 1)]
        _least_of_chunks(x, y, z, w, columns, halves, far, least)
        for own in range(min(_ROWS, last - i)):
            row = rows[i + own]
            length, limit = np.float32(0), least[own, 0]
            for k in range(width):
                length += row[k] * row[k]
            for chunk in range(1, chunks):
                limit = min(limit, least[own, chunk])
            reach = np.sqrt(length) + longest
            limit += np.float32(2 * 1.2e-7) * (width + 4) * reach * reach
            nearest, place = np.float32(np.inf), 0
            for chunk in range(chunks):
                if least[own, chunk] <= limit:
                    start = chunk * CHUNK
                    apart = far[0, : min(CHUNK, marks - start)]
                    _squares(row, columns, start, apart)
                    for j in range(len(apart)):
                        if apart[j] < nearest:
                            nearest, place = apart[j], start + j
            found[i + own] = place
