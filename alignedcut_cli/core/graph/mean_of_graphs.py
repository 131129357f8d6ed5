"""One cut of many graphs over the same places: the mean of their normalized operators, and its top eigenvectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.graph.block_krylov import top_eigenpairs
from alignedcut_cli.core.graph.ncut import Cut, certificate_of_all, start_block
from alignedcut_cli.core.graph.sparse_graph import SparseGraph
from alignedcut_cli.core.numerics import NumericsError, fix_signs, stream

__all__ = ["GridMap", "LayerGraph", "MeanOperator", "area_average", "ncut_of_graphs"]

TOLERANCE, ROUNDS = 5e-6, 30
MORE_COLUMNS = 12
"""Extra columns of the block beyond the eigenvectors wanted, as sparse graphs have no wide eigengaps."""


@cache
def area_average(fine: int, coarse: int) -> Tensor:
    """R (coarse, fine), float32, with R R^T = I: averages over the share of cells that each coarse cell covers.

    R = (W W^T)^-1/2 W with W_cf = the length of fine cell f inside coarse cell c. Where `coarse` divides `fine`, it is the
    plain mean times sqrt(fine / coarse).
    """
    edges = np.arange(coarse + 1) * (fine / coarse)
    cells = np.arange(fine)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    shares = torch.from_numpy(overlap.clip(0))  # (coarse, fine)
    values, vectors = torch.linalg.eigh(shares @ shares.T)
    return (vectors * values.rsqrt() @ vectors.T @ shares).float()


@dataclass(frozen=True)
class GridMap:
    """The linear map of rows on a fine grid (rows, cols) of every image to a coarser grid, with orthonormal rows."""

    fine: tuple[int, int]
    coarse: tuple[int, int]

    @property
    def is_identity(self) -> bool:
        return self.fine == self.coarse

    def down(self, vectors: Tensor) -> Tensor:
        """R X: (B * fine, b) -> (B * coarse, b)."""
        return self._apply(
            vectors, self.fine, *(area_average(f, c) for f, c in zip(self.fine, self.coarse, strict=True))
        )

    def up(self, vectors: Tensor) -> Tensor:
        """R^T X: (B * coarse, b) -> (B * fine, b)."""
        maps = (area_average(f, c).T for f, c in zip(self.fine, self.coarse, strict=True))
        return self._apply(vectors, self.coarse, *maps)

    def _apply(self, vectors: Tensor, grid: tuple[int, int], rows: Tensor, columns: Tensor) -> Tensor:
        laid = vectors.reshape(-1, *grid, vectors.shape[1])
        return torch.einsum("rf,cg,bfgk->brck", rows, columns, laid).reshape(-1, vectors.shape[1])


@dataclass(frozen=True)
class LayerGraph:
    """One of the graphs: over a grid (rows, cols) of each image, with its weight in the mean."""

    graph: SparseGraph
    grid: tuple[int, int]
    weight: float = 1.0


class MeanOperator:
    """x -> sum_l w_l R_l^T N_l R_l x over the places of the finest grid, sum_l w_l = 1: symmetric, eigenvalues at most 1.

    N_l = D_l^-1/2 A_l D_l^-1/2 and R_l the area average onto the grid of graph l. `alone` (M,) are the places (patches)
    without a neighbour in any graph: their rows are zero.
    """

    def __init__(self, layers: Sequence[LayerGraph]) -> None:
        self.grid = (max(one.grid[0] for one in layers), max(one.grid[1] for one in layers))
        self.images = len(layers[0].graph) // (layers[0].grid[0] * layers[0].grid[1])
        whole = sum(one.weight for one in layers)
        self._parts = [(one.graph, GridMap(self.grid, one.grid), one.weight / whole) for one in layers]
        self.degrees = self._mean_degrees()
        self.alone = self.degrees == 0

    def __len__(self) -> int:
        return self.images * self.grid[0] * self.grid[1]

    def __call__(self, vectors: Tensor) -> Tensor:
        """N X of X (M, b), float32 on the CPU."""
        result = torch.zeros_like(vectors).contiguous()
        for graph, grids, weight in self._parts:
            if grids.is_identity:
                graph.add_product(vectors, weight, result)
                continue
            small = grids.down(vectors)
            made = torch.zeros_like(small)
            graph.add_product(small, weight, made)
            result += grids.up(made)
        return result

    def _mean_degrees(self) -> Tensor:
        """sum_l w_l R_l^T d_l of each place (M,): the degrees of a coarse cell are spread over its places."""
        total = torch.zeros(len(self))
        for graph, grids, weight in self._parts:
            degrees = torch.from_numpy(graph.degrees)[:, None]
            total += weight * (degrees if grids.is_identity else grids.up(degrees).clamp_min(0)).squeeze(1)
        return total


def ncut_of_graphs(layers: Sequence[LayerGraph], eigenvectors: int = 20, *, seed: int = 0) -> Cut:
    """The top C eigenvectors (M, C) of the weighted mean of the graphs' normalized operators, float32 on the CPU.

    They are the orthonormal X of the largest tr(X^T N X): the optimum of the relaxed problem whose minimisers Zhang,
    Yunis and Maire (2023) approximate by gradient descent. Rows of places without any neighbour are zero. Raises
    NumericsError where there are fewer places with neighbours than eigenvectors.
    """
    operator = MeanOperator(layers)
    joined = int((~operator.alone).sum())
    if eigenvectors > joined:
        raise NumericsError(
            f"{eigenvectors} eigenvectors were asked, and {joined} of {len(operator)} places have a neighbour in any graph"
        )
    width = min(joined, eigenvectors + MORE_COLUMNS)
    start = start_block(operator.degrees.sqrt()[:, None], width, stream(seed, "eigen"))
    start[operator.alone] = 0
    pairs = top_eigenpairs(operator, start, eigenvectors, tolerance=TOLERANCE, rounds=ROUNDS)
    ids = torch.arange(len(operator))
    vectors = fix_signs(pairs.vectors)
    vectors[operator.alone] = 0  # up to rounding they are
    return Cut(vectors, pairs.values, pairs.residuals, ids, certificate_of_all(pairs, len(operator)))
