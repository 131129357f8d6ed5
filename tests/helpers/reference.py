"""Slow, obvious float64 references, derived from the equations, independent of the package."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense_affinity(features: Tensor, gamma: float = 1.0) -> Tensor:
    """A_ij = exp((cos(v_i, v_j) - 1) / gamma), entry by entry as written (Eq. 3): (M, M) float64."""
    values = features.double()
    products, lengths = values @ values.T, (values**2).sum(1).sqrt()
    return ((products / torch.outer(lengths, lengths) - 1) / gamma).exp()


def dense_cut(features: Tensor, count: int, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """Eigenvalues (C,) and eigenvectors (M, C) of D^-1/2 A D^-1/2 by a full float64 eigendecomposition."""
    matrix = dense_affinity(features, gamma)
    root = torch.diag(matrix.sum(1) ** -0.5)
    values, vectors = torch.linalg.eigh(root @ matrix @ root)
    return values.flip(0)[:count], vectors.flip(1)[:, :count]


def nystrom_rows(features: Tensor, sampled: Tensor, solved: Tensor, neighbors: int, gamma: float = 1.0) -> Tensor:
    """Eq. 4, node by node in plain loops: (M, C) float64; sampled nodes keep their own rows."""
    matrix = dense_affinity(features, gamma)[:, sampled]
    rows = []
    for node in range(len(features)):
        if node in sampled.tolist():
            rows.append(solved[sampled.tolist().index(node)].double())
            continue
        nearest = sorted(range(len(sampled)), key=lambda k: -float(matrix[node, k]))[:neighbors]
        weight = sum(float(matrix[node, k]) for k in nearest)
        rows.append(sum(float(matrix[node, k]) * solved[k].double() for k in nearest) / weight)
    return torch.stack(rows)


def projector_distance(left: Tensor, right: Tensor) -> float:
    """||X X^T - Y Y^T||_F / sqrt(2 C) of two orthonormal bases (M, C): 0 for the same subspace, 1 for orthogonal ones."""
    left, right = left.double(), right.double()
    difference = left @ left.T - right @ right.T
    return float(difference.norm() / np.sqrt(2 * left.shape[1]))


def assert_same_subspace(left: Tensor, right: Tensor, tolerance: float) -> None:
    """Raise AssertionError unless two bases span the same subspace up to `tolerance`."""
    distance = projector_distance(left, right)
    assert distance <= tolerance, f"subspaces differ by {distance:.2e}, allowed {tolerance:.0e}"


def top_projector_of(matrix: Tensor, count: int) -> Tensor:
    """X X^T of the top `count` eigenvectors of symmetric `matrix` (m, m), differentiable where eigenvalues differ."""
    kept = torch.linalg.eigh(matrix)[1][:, -count:]
    return kept @ kept.T


def affinity_projector(nodes: Tensor, count: int) -> Tensor:
    """X X^T (m, m) of the top `count` eigenvectors of D^-1/2 A D^-1/2 (Eq. 3), D a matrix as written."""
    matrix = dense_affinity(nodes)
    root = torch.diag(matrix.sum(1) ** -0.5)
    return top_projector_of(root @ matrix @ root, count)


def align_terms(
    tokens: list[Tensor],
    nodes: list[Tensor],
    responses: Tensor,
    transforms: list[Tensor],
    beta: Tensor,
    eps: Tensor,
    count: int = 6,
) -> dict[str, Tensor]:
    """Eq. 2 and 6 to 9 as written, from all tokens (B, P, D_i) and the nodes (m, D_i) that the regularisers see.

    And the agreement of slots: one minus the cosine of a slot's centred image means with the mean over slots, the same
    for its nodes, and the mean of both.
    """
    shared = sum(block @ matrix for block, matrix in zip(tokens, transforms, strict=True)) / len(tokens)  # (B, P, E)
    predicted = shared.mean(1) @ beta + eps  # (B, N)
    eigen = []
    for before, matrix in zip(nodes, transforms, strict=True):
        difference = affinity_projector(before, count) - affinity_projector(before @ matrix, count)
        eigen.append(((difference * torch.exp(-dense_affinity(before))) ** 2).sum() ** 0.5)
    after = torch.cat([block @ matrix for block, matrix in zip(nodes, transforms, strict=True)])  # (n m, E)
    middle = after.mean(0)
    covariance = sum(torch.outer(row - middle, row - middle) for row in after) / (len(after) - 1)  # (E, E)
    off_diagonal = covariance - torch.diag(torch.diag(covariance))
    images = [(block @ matrix).mean(1) for block, matrix in zip(tokens, transforms, strict=True)]  # (B, E) each
    places = [block @ matrix for block, matrix in zip(nodes, transforms, strict=True)]  # (m, E) each
    return {
        "brain": (responses - predicted).abs().sum() / responses.numel(),
        "eigen": torch.stack(eigen).mean(),
        "zero": middle.abs().mean(),
        "cov": (off_diagonal**2).sum() / after.shape[1],
        "agree": (disagreement(images) + disagreement(places)) / 2,
    }


def disagreement(each: list[Tensor]) -> Tensor:
    """One minus the cosine of each slot's centred rows with the mean of all slots' rows: mean over slots."""
    alone = [rows - rows.mean(0) for rows in each]
    common = sum(alone) / len(alone)
    return sum(1 - (rows * common).sum() / (rows.norm() * common.norm()) for rows in alone) / len(alone)


def ridge_objective(
    features: list[Tensor], maps: list[Tensor], responses: Tensor, alpha: float, agree: float
) -> Tensor:
    """|Y - 1/n sum_i X_i B_i|^2 + agree/n sum_i |Y - X_i B_i|^2 + alpha/n sum_i |B_i|^2 for any maps B_i (D_i, N)."""
    alone = [block @ matrix for block, matrix in zip(features, maps, strict=True)]
    together = sum(alone) / len(alone)
    return (
        (responses - together).square().sum()
        + agree / len(alone) * sum((responses - made).square().sum() for made in alone)
        + alpha / len(alone) * sum(matrix.square().sum() for matrix in maps)
    )


def agreeing_ridge(features: list[Tensor], responses: Tensor, alpha: float, agree: float) -> list[Tensor]:
    """The B_i (D_i, N) that minimise `ridge_objective`, by its normal equations over the stacked maps."""
    count, stacked = len(features), torch.cat(features, 1)
    own = torch.block_diag(*(block.T @ block for block in features))
    hessian = stacked.T @ stacked / count**2 + (agree * own + alpha * torch.eye(len(own), dtype=own.dtype)) / count
    found = torch.linalg.solve(hessian, (1 + agree) / count * stacked.T @ responses)
    return list(found.split([block.shape[1] for block in features]))


def clusters(nodes: int, width: int = 48, groups: int = 8, seed: int = 0, spread: float = 0.6) -> Tensor:
    """Synthetic features (M, D) float32 in clusters, with a gap after `groups` eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, width, generator=generator)
    member = torch.randint(groups, (nodes,), generator=generator)
    return centres[member] + spread * torch.randn(nodes, width, generator=generator)


def consensus_transforms(
    features: list[Tensor], tokens: list[Tensor], places: list[int], target: Tensor, alpha: float, agree: float
) -> list[Tensor]:
    """W_i that minimise |T - 1/n sum_i X_i W_i|^2 + agree/n sum_i |T - X_i W_i|^2 + alpha/n sum_i |W_i|^2 and, with
    k = 0.1 sum_i |X_i|^2 / sum_i |V_i|^2, agree k/n sum_i |V_i W_i - mean of V_j W_j over the j of the same places|^2.

    The terms are stacked as rows of one least-squares problem.
    """
    widths, n = [block.shape[1] for block in features], len(features)
    ratio = 0.1 * sum(float(one.square().sum()) for one in features) / sum(float(one.square().sum()) for one in tokens)

    def row(parts: dict[int, Tensor]) -> Tensor:
        height = len(next(iter(parts.values())))
        blocks = [parts.get(slot, torch.zeros(height, width).to(target)) for slot, width in enumerate(widths)]
        return torch.cat(blocks, 1)

    rows, aims = [row({slot: block / n for slot, block in enumerate(features)})], [target]
    for slot, (block, held) in enumerate(zip(features, tokens, strict=True)):
        rows += [
            row({slot: block * (agree / n) ** 0.5}),
            row({slot: torch.eye(widths[slot]).to(target) * (alpha / n) ** 0.5}),
        ]
        aims += [target * (agree / n) ** 0.5, torch.zeros(widths[slot], target.shape[1]).to(target)]
        group = [other for other in range(n) if places[other] == places[slot]]
        parts = {other: -tokens[other] / len(group) for other in group}
        parts[slot] = parts[slot] + held
        rows.append(row({other: part * (agree * ratio / n) ** 0.5 for other, part in parts.items()}))
        aims.append(torch.zeros(len(held), target.shape[1]).to(target))
    return list(torch.linalg.lstsq(torch.cat(rows), torch.cat(aims)).solution.split(widths))
