"""Normalized cut of the affinity graph: exactly (Eq. 3), or from sampled nodes (Eq. 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import affinity_product, unit_rows
from alignedcut_cli.core.graph.attention import attention_product, attention_serves
from alignedcut_cli.core.graph.block_krylov import Eigenpairs, top_eigenpairs
from alignedcut_cli.core.graph.certificate import Certificate, orthogonality_defect, weighted_gram
from alignedcut_cli.core.graph.landmarks import Extension
from alignedcut_cli.core.graph.sampling import SAMPLINGS
from alignedcut_cli.core.numerics import NumericsError, Tick, fix_signs, stream

__all__ = ["Cut", "certificate_of_all", "gather", "ncut_exact", "ncut_nystrom", "propagate", "start_block"]

EXTRA_BLOCK = 4


@dataclass(frozen=True)
class Cut:
    """The result of a cut: eigenvectors (M, C), eigenvalues (C,) descending, residuals (C,), sampled node ids (m,).

    The eigenvectors of the solved graph are orthonormal over its nodes; residuals are |N x - lambda x| on that graph
    (for cuts by landmarks, estimated on the exact rows of the certificate). `certificate` bounds the distance from the
    exact cut; `extension` is the out-of-sample map to rows, if the solver has one.
    """

    eigenvectors: Tensor
    eigenvalues: Tensor
    residuals: Tensor
    sampled: Tensor
    certificate: Certificate | None = None
    extension: Extension | None = None


def ncut_exact(
    features: Tensor,
    eigenvectors: int = 20,
    *,
    gamma: float = 1.0,
    seed: int = 0,
    weights: Tensor | None = None,
    tile: int = 1024,
    tick: Tick | None = None,
) -> Cut:
    """The top C eigenvectors of D^-1/2 A D^-1/2 over all nodes (Eq. 3), from features (M, D); float32, on their device.

    A_ij = exp((cos(v_i, v_j) - 1) / gamma), D_ii = sum_j A_ij. No M x M matrix is held: about ten products with A, by
    `attention_product` where it applies, else in tiles. `weights` (M,) are multiplicities of nodes: X^T diag(w) X = I.
    `tick` counts rows of products. Raises NumericsError for C > M and for zero or non-finite rows.
    """
    units = unit_rows(features)
    if eigenvectors > len(units):
        raise NumericsError(f"{eigenvectors} eigenvectors were asked of a graph of {len(units)} nodes")
    root = units.new_ones(len(units), 1) if weights is None else weights.to(units.device).sqrt()[:, None]
    degrees = affinity_product(units, root.square(), gamma, tile, tick)  # (M, 1)
    fused = attention_serves(units)
    scale = root * degrees.rsqrt()
    sums = (
        degrees if weights is None or not fused else affinity_product(units, torch.ones_like(root), gamma, tile, tick)
    )

    def apply(block: Tensor) -> Tensor:
        if fused:
            return scale * attention_product(units, scale * block, gamma, sums)
        return scale * affinity_product(units, scale * block, gamma, tile, tick)

    start = start_block(root * degrees.sqrt(), min(len(units), eigenvectors + EXTRA_BLOCK), stream(seed, "eigen"))
    pairs = top_eigenpairs(apply, start, eigenvectors)
    vectors = fix_signs(pairs.vectors / root)
    return Cut(vectors, pairs.values, pairs.residuals, torch.arange(len(units)), certificate_of_all(pairs, len(units)))


def certificate_of_all(pairs: Eigenpairs, total: int) -> Certificate:
    """The certificate of an eigensolver on the whole graph: its own residuals, no rows sampled."""
    smallest = max(float(pairs.values[-1]), torch.finfo(torch.float32).tiny)
    residual = float(pairs.residuals.square().mean().sqrt()) / smallest
    return Certificate(residual, orthogonality_defect(weighted_gram(pairs.vectors)), total, total)


def start_block(first: Tensor, width: int, seed: int) -> Tensor:
    """The first block (M, width): the first eigenvector (w D)^1/2, (M, 1), and Gaussian columns."""
    generator = torch.Generator().manual_seed(seed)
    block = torch.randn(len(first), width, generator=generator).to(first.device)
    block[:, :1] = first
    return block


def ncut_nystrom(
    read: Callable[[int, int], Tensor],
    total: int,
    eigenvectors: int = 20,
    *,
    nodes: int = 10_000,
    neighbors: int = 100,
    sampling: str = "uniform",
    gamma: float = 1.0,
    seed: int = 0,
    tile: int = 1024,
    take: Callable[[Tensor], Tensor] | None = None,
    tick: Tick | None = None,
) -> Cut:
    """The cut of m = `nodes` sampled nodes, solved exactly and propagated to all M = `total` nodes (Eq. 4).

    X~_i = sum_k A_ki X'_k / sum_k A_ki over the K = `neighbors` nearest sampled nodes k of node i. A sampled node keeps
    its own row of X', so that m = M gives the exact cut. `read(start, stop)` returns features (stop - start, D), and
    `take(ids)` the rows of ascending ids (by reading all of them where it is not given). `tick` counts rows of products
    and propagated rows. Raises NumericsError as `ncut_exact` does.
    """
    size = min(nodes, total)

    def read_units(ids: Tensor) -> Tensor:
        return unit_rows(take(ids) if take else gather(read, total, ids, tile))

    sampled = SAMPLINGS[sampling](total, size, stream(seed, "sample"), read_units)
    landmarks = read_units(sampled)  # (m, D)
    solved = ncut_exact(landmarks, eigenvectors, gamma=gamma, seed=seed, tile=tile, tick=tick)
    carried = torch.empty(total, eigenvectors, device=landmarks.device)
    for start in range(0, total, tile):
        stop = min(start + tile, total)
        units = unit_rows(read(start, stop))
        carried[start:stop] = propagate(units, landmarks, solved.eigenvectors, neighbors, gamma)
        if tick:
            tick(stop - start)
    carried[sampled.to(carried.device)] = solved.eigenvectors
    return Cut(carried, solved.eigenvalues, solved.residuals, sampled)


def propagate(units: Tensor, landmarks: Tensor, values: Tensor, neighbors: int, gamma: float = 1.0) -> Tensor:
    """Eq. 4: the affinity-weighted mean of `values` (m, C) over each row's K nearest landmarks: (t, C).

    `units` (t, D) and `landmarks` (m, D) are unit rows; K = min(neighbors, m). Holds t x m cosines.
    """
    nearest = (units @ landmarks.T).topk(min(neighbors, len(landmarks)), dim=1)  # (t, K)
    weights = nearest.values.sub_(1).div_(gamma).softmax(1)  # (t, K)
    return torch.einsum("tk,tkc->tc", weights, values[nearest.indices])


def gather(read: Callable[[int, int], Tensor], total: int, ids: Tensor, tile: int) -> Tensor:
    """The rows with ascending `ids` (m,), read in ranges of at most `tile` nodes: (m, D)."""
    parts = []
    for start in range(0, total, tile):
        stop = min(start + tile, total)
        first, last = torch.searchsorted(ids, torch.tensor([start, stop])).tolist()
        if last > first:
            rows = read(start, stop)
            parts.append(rows[(ids[first:last] - start).to(rows.device)])
    return torch.cat(parts)
