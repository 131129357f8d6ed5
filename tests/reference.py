"""Slow, obvious float64 references, derived from the equations and from nothing in the package."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


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


def clusters(nodes: int, width: int = 48, groups: int = 8, seed: int = 0, spread: float = 0.6) -> Tensor:
    """Made-up features (M, D) float32 in clusters, and so with a gap after `groups` eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, width, generator=generator)
    member = torch.randint(groups, (nodes,), generator=generator)
    return centres[member] + spread * torch.randn(nodes, width, generator=generator)
