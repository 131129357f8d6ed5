"""Arrays as encoded in the page: int8 columns, gzip, base64; and the resulting error of cosines."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Code", "Directions", "cosine_cost", "directions", "pack", "quantised"]

LARGEST = 127
_SAMPLE, _PICKS = 2000, 64


@dataclass(frozen=True)
class Code:
    """Rows (n, C) quantised: data (C, n) int8, column c being data[c] * scale[c]."""

    data: np.ndarray
    scale: np.ndarray

    def rows(self) -> np.ndarray:
        """The decoded rows (n, C) float32."""
        return (self.data.T * self.scale).astype(np.float32)


def quantised(rows: np.ndarray) -> Code:
    """The nearest int8 multiples of 1/127 of each column's largest magnitude."""
    scale = np.abs(rows).max(0, initial=0).astype(np.float64) / LARGEST  # (C,)
    steps = np.where(scale > 0, scale, 1.0)
    data = np.rint(rows / steps).astype(np.int8)  # (n, C)
    return Code(np.ascontiguousarray(data.T), scale)


def pack(array: np.ndarray) -> str:
    """The array's bytes, little-endian, as gzip in base64; the same array gives the same text."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return base64.b64encode(gzip.compress(plain, 6, mtime=0)).decode("ascii")


def cosine_cost(exact: np.ndarray, coded: np.ndarray) -> float:
    """The largest error of cosines between rows of `coded` instead of `exact` (n, C), over sampled pairs."""
    chosen = np.linspace(0, len(exact) - 1, min(len(exact), _SAMPLE)).astype(int)
    cosines = []
    for rows in (exact[chosen], coded[chosen]):
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        units = rows / np.where(lengths > 0, lengths, 1.0)
        cosines.append(units[:: max(1, len(units) // _PICKS)] @ units.T)
    return float(np.abs(cosines[0] - cosines[1]).max(initial=0))


@dataclass(frozen=True)
class Directions:
    """Rows in few dimensions: a unit row is about units @ basis.T; `lengths` (n,) float32 are the rows' norms.

    `kept` is the share of the unit rows' squared norm in the basis (E, k).
    """

    units: np.ndarray
    lengths: np.ndarray
    basis: np.ndarray
    kept: float


def directions(tiles: Callable[[], Iterable[np.ndarray]], count: int, rank: int) -> Directions:
    """The best `rank` dimensions for the unit rows of tiles (t, E), `count` rows in all, which are read twice.

    The basis is the top eigenvectors of sum u u^T over unit rows u, not centred, so that cosines are preserved.
    """
    gram: np.ndarray | None = None
    for tile in tiles():
        units, _ = _parted(tile)
        gram = units.T @ units if gram is None else gram + units.T @ units
    assert gram is not None
    values, vectors = np.linalg.eigh(gram)
    basis = vectors[:, ::-1][:, :rank]  # (E, k)
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
    found, lengths, start = np.empty((count, basis.shape[1]), np.float32), np.empty(count, np.float32), 0
    for tile in tiles():
        units, long = _parted(tile)
        found[start : start + len(units)] = units @ basis
        lengths[start : start + len(units)] = long
        start += len(units)
    return Directions(found, lengths, basis, float(values[::-1][:rank].sum() / max(values.sum(), 1e-300)))


def _parted(tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows (t, E) float64 and their lengths (t,)."""
    rows = tile.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    return rows / np.where(lengths > 0, lengths, 1.0)[:, None], lengths
