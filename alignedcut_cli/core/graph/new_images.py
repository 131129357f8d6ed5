"""Out-of-sample extension of a joint cut of graphs to new images: Nystrom, then one more iteration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.mean_of_graphs import GridMap
from alignedcut_cli.core.graph.nearest_search import COLUMN_TILE, ROW_TILE
from alignedcut_cli.core.graph.neighbours import nearest_among, nearest_within
from alignedcut_cli.core.graph.parallel_tiles import share_tiles
from alignedcut_cli.core.graph.sparse_graph import as_rows, symmetric
from alignedcut_cli.core.numerics import NumericsError

__all__ = ["SMALLEST_EIGENVALUE", "Edges", "KnownGraph", "Limits", "edges_of", "embedded_rows"]

SMALLEST_EIGENVALUE = 0.01
"""Columns with smaller eigenvalues would be mostly amplified noise."""


@dataclass(frozen=True)
class Limits:
    """Which neighbours a graph keeps: `within` the image, `across` other images, above `threshold`."""

    within: int
    across: int
    threshold: float


@dataclass(frozen=True)
class KnownGraph:
    """One graph of the cut: queries and keys (M, D) of its places, their `degrees` and `least` (M,) (see SparseGraph)."""

    queries: Tensor
    keys: Tensor
    degrees: Tensor
    least: Tensor


@dataclass(frozen=True)
class Edges:
    """The edges of new places in one graph: `sums` (n, C) = A D^-1/2 X over the cut's places, `to_cut` (n,) the row sums
    of A over these, `own` the A (n, n) within each new image, a scipy sparse matrix."""

    sums: Tensor
    to_cut: Tensor
    own: Any
    grid: tuple[int, int]
    weight: float

    @property
    def degrees(self) -> Tensor:
        """Of the new places (n,): to the cut's and to their own image."""
        return self.to_cut + torch.from_numpy(np.asarray(self.own.sum(1), np.float32).reshape(-1))


def edges_of(
    known: KnownGraph,
    queries: Tensor,
    keys: Tensor,
    vectors: Tensor,
    limits: Limits,
    *,
    fine: tuple[int, int],
    grid: tuple[int, int],
    weight: float = 1.0,
) -> Edges:
    """The edges of the places of new images, queries and keys (n, D), with the cut's places, and within each image.

    S_ij = cos(q_i, k_j) for the `across` nearest of the cut's places, S_ji = cos(q_j, k_i) where it exceeds least_j, so
    that i would be a neighbour of the cut's place j; A = (S + S^T) / 2. `vectors` (B * fine, C) are the cut's.
    """
    queries, keys = unit_rows(queries), unit_rows(keys)
    theirs = unit_rows(known.queries), unit_rows(known.keys)
    small = vectors if fine == grid else GridMap(fine, grid).down(vectors)
    scale = known.degrees.clamp_min(torch.finfo(torch.float32).tiny).rsqrt().where(known.degrees > 0, 0)
    columns = torch.cat([scale[:, None] * small, torch.ones(len(small), 1)], 1)  # (M, C + 1)
    near = nearest_among(queries, theirs[1], limits.across, limits.threshold)
    found = torch.from_numpy(as_rows(near, len(theirs[1])) @ columns.numpy())
    found = (found + _sought(keys, theirs[0], known.least, columns)) / 2
    per_image = grid[0] * grid[1]
    own = symmetric([nearest_within(queries, keys, per_image, limits.within, limits.threshold)], len(queries))
    return Edges(found[:, :-1], found[:, -1], own, grid, weight)


def _sought(keys: Tensor, queries: Tensor, least: Tensor, columns: Tensor) -> Tensor:
    """sum_j S_ji c_j of new places i (n, C + 1): S_ji = cos(q_j, k_i) where it exceeds least_j, over the cut's places j."""
    total = torch.zeros(len(keys), columns.shape[1])

    def work(tiles: Iterator[tuple[int, int]]) -> None:
        for start, stop in tiles:
            for first in range(0, len(queries), COLUMN_TILE):
                part = slice(first, first + COLUMN_TILE)
                cosines = keys[start:stop] @ queries[part].T
                total[start:stop] += cosines.where(cosines > least[part], 0) @ columns[part]

    share_tiles(len(keys), ROW_TILE, torch.device("cpu"), work)
    return total


def embedded_rows(edges: Sequence[Edges], eigenvalues: Tensor, fine: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(rows (n, C) of new places on the scale of the cut's eigenvectors, which places (n,) have no neighbour).

    First the Nystrom extension from the cut's places, with the weighted mean over graphs l of R_l^T N_l:
    y = (sum_l w_l R_l^T a_l^-1/2 A_l D_l^-1/2 R_l X) / lambda, a_l = A_l 1; then the eigenvectors' equation N X = X lambda
    once in the rows of the new places, edges within their own image included, d_l = a_l + B_l 1:
    x = (sum_l w_l R_l^T d_l^-1/2 (A_l D_l^-1/2 R_l X + B_l d_l^-1/2 R_l y)) / lambda. New images are independent of each
    other. Raises NumericsError for eigenvalues below 0.01, which would amplify noise.
    """
    if float(eigenvalues.min()) < SMALLEST_EIGENVALUE:
        raise NumericsError(f"eigenvalue {float(eigenvalues.min()):.2g} is less than {SMALLEST_EIGENVALUE:g}")
    whole = sum(one.weight for one in edges)
    first = sum((one.weight / whole) * _up(_rooted(one.to_cut) * one.sums, one, fine) for one in edges) / eigenvalues
    assert isinstance(first, Tensor)
    rows, degrees = torch.zeros_like(first), torch.zeros(len(first))
    for one in edges:
        root = _rooted(one.degrees)
        small = first if one.grid == fine else GridMap(fine, one.grid).down(first)
        own = torch.from_numpy(one.own @ (root * small).numpy())
        rows += (one.weight / whole) * _up(root * (one.sums + own), one, fine)
        degrees += one.weight * _up(one.degrees[:, None], one, fine).squeeze(1).clamp_min(0)
    alone = degrees == 0
    rows[alone] = 0
    return rows / eigenvalues, alone


def _rooted(degrees: Tensor) -> Tensor:
    """d^-1/2 (n, 1), 0 where a place has no neighbour."""
    return degrees.clamp_min(torch.finfo(torch.float32).tiny).rsqrt().where(degrees > 0, 0)[:, None]


def _up(rows: Tensor, one: Edges, fine: tuple[int, int]) -> Tensor:
    return rows if one.grid == fine else GridMap(fine, one.grid).up(rows)
