"""Gradient descent on soft groups: its objective, its gradient, and its distance from the direct solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from alignedcut_cli.core.graph.gradient_cut import (
    _QuadraticForms,
    _terms,
    gradient_cut_of_data_set,
    gradient_cut_of_image,
)
from alignedcut_cli.core.graph.mean_of_graphs import LayerGraph, MeanOperator, ncut_of_graphs
from alignedcut_cli.core.graph.sparse_graph import cosine_graph, normalized
from alignedcut_cli.core.groups.kway import kmeans_clusters
from tests.graph.test_graphs import dense_of

SIDE = 6


def quadrants(side: int, between: float = 0.02) -> tuple[LayerGraph, np.ndarray]:
    """Four quadrants of an image, joined to one another by weak edges, and the quadrant of each place."""
    half = np.arange(side) * 2 // side
    quadrant = (half[:, None] * 2 + half[None]).reshape(-1)
    affinity = np.where(quadrant[:, None] == quadrant[None], 1.0, between).astype(np.float32)
    np.fill_diagonal(affinity, 0)
    return LayerGraph(normalized(csr_matrix(affinity)), (side, side)), quadrant


def test_the_gradient_is_that_of_the_dense_form() -> None:
    rows = torch.randn(24, 5, generator=torch.Generator().manual_seed(0)) + 1
    graph = cosine_graph(rows, rows, 12, within=4, across=4)
    dense = torch.from_numpy(dense_of(graph)).float()
    left, right = torch.rand(24) + 0.5, torch.rand(24) + 0.5
    ours, theirs = (torch.randn(24, 3, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    weights = torch.tensor([1.0, -2.0, 0.5])
    (_QuadraticForms.apply(ours, graph, left, right) * weights).sum().backward()  # type: ignore[operator]
    wanted = torch.einsum("nk,n,nm,m,mk->k", theirs, left, dense, right, theirs)
    (wanted * weights).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("random_walk", [True, False])
def test_true_groups_have_no_loss_and_one_group_for_all_is_told_by_its_overlaps(random_walk: bool) -> None:
    layer, quadrant = quadrants(SIDE, between=0.0)
    groups = torch.nn.functional.one_hot(torch.from_numpy(quadrant)).float()
    values, overlaps = _terms(groups, (SIDE, SIDE), layer, random_walk=random_walk)
    assert float(values) < 1e-5 and float(overlaps) < 1e-10
    values, overlaps = _terms(torch.full_like(groups, 0.25), (SIDE, SIDE), layer, random_walk=random_walk)
    assert float(values) < 1e-5, "a single group for all satisfies the cut"
    assert float(overlaps) == pytest.approx(12 / 16, abs=1e-4), "and only its overlaps speak against it"


def test_descent_finds_the_quadrants_and_no_better_objective_than_the_direct_solver() -> None:
    (fine, quadrant), (coarse, _) = quadrants(SIDE), quadrants(4)
    layers = [fine, coarse]
    found = gradient_cut_of_image(layers, 4, updates=40, seed=0)
    direct = ncut_of_graphs(layers, 4)
    assert found.losses.shape == (40, 3) and float(found.losses[-1, 0]) < 0.5 * float(found.losses[0, 0])
    assert float(found.cut.eigenvalues.sum()) <= float(direct.eigenvalues.sum()) + 1e-5
    clusters = kmeans_clusters(found.cut.eigenvectors.numpy(), 4, 0)
    assert len({(a, b) for a, b in zip(quadrant.tolist(), clusters.tolist(), strict=True)}) == 4
    gram = found.cut.eigenvectors.T @ found.cut.eigenvectors
    torch.testing.assert_close(gram, torch.eye(4), atol=1e-5, rtol=0)
    again = gradient_cut_of_image(layers, 4, updates=40, seed=0)
    assert torch.equal(found.cut.eigenvectors, again.cut.eigenvectors)


def test_tables_in_mini_batches_group_a_data_set() -> None:
    """Places of ten images in three groups: descent in batches of four images, graphs made for each batch."""
    random = torch.Generator().manual_seed(0)
    group = torch.randint(3, (10 * 16,), generator=random)
    rows = torch.nn.functional.one_hot(group).float() + 0.1 * torch.randn(160, 3, generator=random)

    def graphs_of(ids: torch.Tensor) -> list[LayerGraph]:
        places = (ids[:, None] * 16 + torch.arange(16)).reshape(-1)
        return [LayerGraph(cosine_graph(rows[places], rows[places], 16, within=8, across=8, threshold=0.3), (4, 4))]

    ticks: list[int] = []
    found = gradient_cut_of_data_set(graphs_of, 10, (4, 4), 3, epochs=25, batch=4, seed=1, tick=ticks.append)
    assert len(ticks) == 25 and found.losses.shape == (25 * 3 * 5, 3)
    assert float(found.losses[-15:, 0].mean()) < 0.6 * float(found.losses[:15, 0].mean())
    assert float(found.cut.eigenvalues[0]) > 0.8
    whole = gradient_cut_of_data_set(graphs_of, 10, (4, 4), 3, epochs=15, batch=40, seed=1)
    operator = MeanOperator(graphs_of(torch.arange(10)))
    wanted = (whole.cut.eigenvectors * operator(whole.cut.eigenvectors.contiguous())).sum(0)
    torch.testing.assert_close(whole.cut.eigenvalues, wanted, atol=1e-5, rtol=0)
    assert float(whole.cut.eigenvalues.sum()) < float(ncut_of_graphs(graphs_of(torch.arange(10)), 3).eigenvalues.sum())
