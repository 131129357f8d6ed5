"""The choice of approximate solver: the errors of both against the exact cut of a sample of the graph."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from alignedcut_cli.core.graph.lowrank import landmark_count, ncut_lowrank
from alignedcut_cli.core.graph.ncut import ncut_exact, ncut_nystrom
from alignedcut_cli.core.graph.sampling import uniform_sample
from alignedcut_cli.core.graph.subspaces import subspace_error
from alignedcut_cli.core.numerics import stream

__all__ = ["sample_errors"]


def sample_errors(
    take: Callable[[Tensor], Tensor],
    total: int,
    size: int,
    *,
    count: int = 10,
    gamma: float = 1.0,
    neighbors: int = 100,
    seed: int = 0,
) -> dict[str, float]:
    """{solver: subspace error of its top `count` eigenvectors} on n = `size` of M nodes, whose exact cut is computed.

    lowrank gets as many landmarks as for all nodes, at most n / 3: its error depends only on their number.
    Nystrom gets n / 2 sampled nodes: its error falls with their density, so this is an upper bound for a graph with more
    than n / 2 of them.
    """
    rows = take(uniform_sample(total, min(size, total), stream(seed, "sample")))  # (n, D)

    def read(start: int, stop: int) -> Tensor:
        return rows[start:stop]

    def pick(ids: Tensor) -> Tensor:
        return rows[ids.to(rows.device)]

    exact = ncut_exact(rows, count, gamma=gamma, seed=seed).eigenvectors
    landmarks = min(landmark_count(total), len(rows) // 3)
    low = ncut_lowrank(read, len(rows), count, nodes=landmarks, gamma=gamma, seed=seed, take=pick)
    near = ncut_nystrom(
        read, len(rows), count, nodes=len(rows) // 2, neighbors=neighbors, gamma=gamma, seed=seed, take=pick
    )
    return {
        "lowrank": subspace_error(low.eigenvectors, exact),
        "nystrom": subspace_error(near.eigenvectors, exact),
    }
