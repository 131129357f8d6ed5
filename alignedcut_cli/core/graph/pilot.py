"""The pilot of a low-rank cut: what sampled nodes say of all, and what of it a pass over all nodes needs.

A = kappa 1 1^T + B ~ Phi Phi^T, Phi = [sqrt(kappa) 1, K P] (see lowrank).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.block_krylov import top_eigenpairs
from alignedcut_cli.core.graph.certificate import CERTIFICATE_ROWS
from alignedcut_cli.core.graph.landmarks import BLOCK, Factor
from alignedcut_cli.core.graph.parallel_tiles import fold_tiles
from alignedcut_cli.core.graph.sampling import uniform_sample
from alignedcut_cli.core.numerics import stream, torch_threads

__all__ = ["Pilot", "Seen", "guide", "see"]

Take = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Seen:
    """The pilot's nodes: S (r + 1, p), the top eigenvectors of `gram` G = Phi^T D^-1 Phi (r + 1, r + 1), and t = Phi^T 1,
    all float64.

    Phi (n, r + 1) of these nodes; `degrees` (n,) by t, at least 1, the self-affinity.
    """

    directions: Tensor
    gram: Tensor
    total: Tensor
    phi: Tensor
    degrees: Tensor


@dataclass(frozen=True)
class Pilot:
    """What a pass over all M nodes needs, so that any process can do a part of it: Y = [1, K] `maps` (M, p).

    landmarks   (m, D), unit rows, and `sampled` (m,), the nodes that they are or lie around
    maps        (m + 1, p), float64
    guess       (p,), float64: the degrees as the pilot saw them are Y guess
    correction  (p, m + 1), float64: with mass = [1, K]^T w of all nodes, the degrees nearest to those of t as the pass
                found it, over the pilot's nodes, are Y (correction mass)
    chosen      (n,), the nodes whose rows of the affinity are exact, their directions `units` (n, D) and `weights` (n,)
    rank        that of the factor
    """

    landmarks: Tensor
    sampled: Tensor
    maps: Tensor
    guess: Tensor
    correction: Tensor
    chosen: Tensor
    units: Tensor
    weights: Tensor
    gamma: float
    rank: int


def see(
    factor: Factor, take: Take, ids: Tensor, total: int, columns: int, *, weights: Tensor, seed: int, tile: int
) -> Seen:
    """What the nodes `ids` (n,) say of all M = `total`: each stands for M / n nodes, times its own of `weights` (n,)."""
    device = factor.landmarks.device
    weights = weights.to(device) * (total / len(ids))
    phi = torch.empty(len(ids), factor.rank, device=device)
    degrees = torch.empty(len(ids), device=device)
    mass = torch.zeros(factor.rank, dtype=torch.float64, device=device)
    gram = torch.zeros(factor.rank, factor.rank, dtype=torch.float64, device=device)

    def made(start: int, stop: int) -> Tensor:
        phi[start:stop] = factor.rows(unit_rows(take(ids[start:stop])))
        return phi[start:stop].double().T @ weights[start:stop].double()

    fold_tiles(len(ids), tile, device, made, mass.add_)
    rounded = mass.float()

    def squared(start: int, stop: int) -> list[Tensor]:
        rows = phi[start:stop]
        degrees[start:stop] = (rows @ rounded).clamp_min_(1)
        return _upper_gram(rows, weights[start:stop] / degrees[start:stop])

    def add(blocks: list[Tensor]) -> None:
        for number, block in enumerate(blocks):
            first = number * BLOCK
            gram[first : first + BLOCK, first:] += block

    fold_tiles(len(ids), tile, device, squared, add)
    gram = gram.triu_() + gram.triu(1).T
    return Seen(_top_directions(gram, mass, columns, seed), gram, mass, phi, degrees)


def _upper_gram(rows: Tensor, weights: Tensor) -> list[Tensor]:
    """R^T diag(w) R of rows (t, r) and weights (t,): blocks of rows of its upper triangle; the lower is its mirror."""
    weighted = rows * weights[:, None]
    return [rows[:, first : first + BLOCK].T @ weighted[:, first:] for first in range(0, rows.shape[1], BLOCK)]


def _top_directions(gram: Tensor, mass: Tensor, columns: int, seed: int) -> Tensor:
    """The top p eigenvectors of G (r + 1, r + 1): (r + 1, p) float64. The first is t: G t = t unless a degree is clamped."""
    width = min(columns, len(gram))
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(len(gram), width, generator=generator, dtype=torch.float64).to(gram.device)
    start[:, 0] = mass
    with torch_threads(1):  # the digits of a factorisation depend on the number of threads
        return top_eigenpairs(lambda block: gram @ block, start, width, tolerance=1e-7).vectors


def guide(
    seen: Seen,
    factor: Factor,
    take: Take,
    total: int,
    sampled: Tensor,
    weights: Callable[[Tensor], Tensor],
    seed: int,
) -> Pilot:
    """The Pilot of what was seen. `weights` gives those of some ids; the exact rows are drawn by `seed`."""
    chosen = uniform_sample(total, min(total, CERTIFICATE_ROWS), stream(seed, "certificate"))
    with torch_threads(1):
        units = unit_rows(take(chosen))
        moved = seen.gram @ seen.directions  # (r + 1, p)
        correction = torch.linalg.solve(seen.directions.T @ moved, factor.exact_maps(moved).T)
        maps, guess = factor.exact_maps(seen.directions), seen.directions.T @ seen.total  # d = Phi t = Y S^T t
    return Pilot(
        factor.landmarks,
        sampled,
        maps.contiguous(),
        guess.contiguous(),
        correction.contiguous(),  # as it is read back from a file: the digits of a product depend on the layout
        chosen,
        units,
        weights(chosen).to(factor.landmarks.device).float(),
        factor.gamma,
        factor.rank,
    )
