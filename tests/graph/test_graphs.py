"""Graphs of neighbours and their joint cut against dense float64, on planted graphs, and in their relations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.graph import nearest_search
from alignedcut_cli.core.graph.mean_of_graphs import GridMap, LayerGraph, MeanOperator, area_average, ncut_of_graphs
from alignedcut_cli.core.graph.neighbours import nearest_across, nearest_within
from alignedcut_cli.core.graph.sparse_graph import SparseGraph, attention_graph, cosine_graph, split_heads
from alignedcut_cli.core.groups.kway import kmeans_clusters
from alignedcut_cli.core.numerics import NumericsError
from tests.helpers.reference import assert_same_subspace, projector_distance

P, GRID = 12, (3, 4)


def places(images: int, width: int = 16, seed: int = 0, groups: int = 5) -> Tensor:
    """Features (images * P, width) around a few directions."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, width, generator=random)
    chosen = torch.randint(groups, (images * P,), generator=random)
    return centres[chosen] + 0.6 * torch.randn(images * P, width, generator=random)


def dense_graph(queries: Tensor, keys: Tensor, within: int, across: int, threshold: float) -> np.ndarray:
    """A (N, N) float64 as the docstring has it, row by row in plain loops."""
    q, k = (one.double().numpy() for one in (queries, keys))
    cosines = (q @ k.T) / np.outer(np.linalg.norm(q, axis=1), np.linalg.norm(k, axis=1))
    kept = np.zeros_like(cosines)
    for i, row in enumerate(cosines):
        own = [j for j in range(len(row)) if j // P == i // P and j != i]
        others = [j for j in range(len(row)) if j // P != i // P]
        for ids, count in ((own, within), (others, across)):
            for j in sorted(ids, key=lambda j: -row[j])[:count]:
                kept[i, j] = row[j] if row[j] > threshold else 0
    return (kept + kept.T) / 2


def dense_normalized(affinity: np.ndarray) -> np.ndarray:
    degrees = affinity.sum(1)
    root = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    return affinity * np.outer(root, root)


def dense_of(graph: SparseGraph) -> np.ndarray:
    found = np.zeros((len(graph), len(graph)))
    for i, (start, stop) in enumerate(itertools.pairwise(graph.starts)):
        found[i, graph.columns[start:stop]] = graph.entries[start:stop]
    return found


def dense_top(matrix: np.ndarray, count: int) -> tuple[np.ndarray, Tensor]:
    values, vectors = np.linalg.eigh(matrix)
    return values[::-1][:count], torch.from_numpy(vectors[:, ::-1][:, :count].copy())


@pytest.mark.parametrize(("within", "across", "threshold"), [(4, 6, 0.1), (50, 3, 0.4), (2, 500, 0.0), (3, 0, 0.1)])
def test_a_graph_is_that_of_the_definition(within: int, across: int, threshold: float) -> None:
    queries, keys = places(6, seed=1), places(6, seed=2)
    found = cosine_graph(queries, keys, P, within=within, across=across, threshold=threshold)
    wanted = dense_graph(queries, keys, within, across, threshold)
    np.testing.assert_allclose(dense_of(found), dense_normalized(wanted), atol=1e-6)
    np.testing.assert_allclose(found.degrees, wanted.sum(1), rtol=1e-5)


def test_the_joint_cut_is_the_dense_one_of_the_mean() -> None:
    layers = [places(10, seed=seed) for seed in range(3)]
    weights = [1.0, 2.0, 0.5]
    graphs = [cosine_graph(one, one, P, within=5, across=8) for one in layers]
    mean = sum(
        weight * dense_normalized(dense_graph(one, one, 5, 8, 0.1)) for weight, one in zip(weights, layers, strict=True)
    ) / sum(weights)
    cut = ncut_of_graphs([LayerGraph(one, GRID, weight) for one, weight in zip(graphs, weights, strict=True)], 6)
    values, vectors = dense_top(mean, 6)
    assert_same_subspace(cut.eigenvectors, vectors, 1e-4)
    np.testing.assert_allclose(cut.eigenvalues, values, atol=1e-5)
    assert cut.certificate is not None
    assert float(cut.residuals.max()) < 2e-5 and cut.certificate.orthogonality < 1e-5 and cut.certificate.rows == 120


def test_the_objective_of_the_cut_is_reached_by_no_other_orthonormal_vectors() -> None:
    """tr(X^T N X) of the cut against random and against rotated-off vectors: Ky Fan's maximum."""
    graph = cosine_graph(places(8), places(8), P, within=5, across=8)
    operator = MeanOperator([LayerGraph(graph, GRID)])
    cut = ncut_of_graphs([LayerGraph(graph, GRID)], 5)
    best = float(cut.eigenvalues.sum())
    for seed in range(20):
        noise = torch.randn(len(graph), 5, generator=torch.Generator().manual_seed(seed))
        near = torch.linalg.qr(cut.eigenvectors + 0.02 * noise)[0]
        assert float((near * operator(near)).sum()) < best


# neighbours


def test_neither_tiles_nor_the_order_of_images_change_the_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys = places(9, seed=3), places(9, seed=4)
    whole = cosine_graph(queries, keys, P, within=4, across=7)
    monkeypatch.setattr(nearest_search, "ROW_TILE", 5)
    monkeypatch.setattr(nearest_search, "COLUMN_TILE", 13)
    tiled = cosine_graph(queries, keys, P, within=4, across=7)
    np.testing.assert_array_equal(tiled.columns, whole.columns)
    np.testing.assert_allclose(tiled.entries, whole.entries, atol=1e-6)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    rows = (order[:, None] * P + torch.arange(P)).reshape(-1)
    turned = cosine_graph(queries[rows], keys[rows], P, within=4, across=7)
    np.testing.assert_allclose(dense_of(turned), dense_of(whole)[np.ix_(rows, rows)], atol=1e-6)


def test_of_equal_cosines_the_first_places_are_kept() -> None:
    """All alike: neighbours are the first of the own image and the first of the others, whatever the buffers hold."""
    rows = torch.nn.functional.normalize(torch.ones(60 * P, 4), dim=1)
    across, within = nearest_across(rows, rows, P, 5, 0.1), nearest_within(rows, rows, P, 3, 0.1)
    assert across.ids[0].tolist() == [12, 13, 14, 15, 16] and across.ids[300].tolist() == [0, 1, 2, 3, 4]
    assert within.ids[0].tolist() == [1, 2, 3] and within.ids[26].tolist() == [24, 25, 27]


def test_duplicated_images_are_cut_alike() -> None:
    rows = places(8, seed=5)
    twice = torch.cat([rows, rows])
    graph = cosine_graph(twice, twice, P, within=P, across=200, threshold=0.1)
    vectors = ncut_of_graphs([LayerGraph(graph, GRID)], 5).eigenvectors
    assert float(graph.degrees.std()) > 0
    # an image and its copy differ in one edge, between a place and its own copy
    assert projector_distance(*(torch.linalg.qr(half)[0] for half in vectors.chunk(2))) < 0.02


def test_one_image_has_no_neighbours_across() -> None:
    rows = places(1)
    alone, joined = (cosine_graph(rows, rows, P, within=4, across=across) for across in (0, 50))
    np.testing.assert_array_equal(alone.columns, joined.columns)


# planted graphs


def test_block_graphs_give_the_blocks_back() -> None:
    block = torch.randint(4, (20 * P,), generator=torch.Generator().manual_seed(0))
    rows = torch.nn.functional.one_hot(block, 4).float()
    graph = cosine_graph(rows, rows, P, within=P, across=20 * P, threshold=0.1)
    cut = ncut_of_graphs([LayerGraph(graph, GRID)] * 2, 4)
    torch.testing.assert_close(cut.eigenvalues, torch.ones(4), atol=1e-5, rtol=0)
    indicators = rows / rows.sum(0).sqrt()
    assert_same_subspace(cut.eigenvectors, indicators, 0.03)  # no place is its own neighbour: degrees differ by one
    clusters = kmeans_clusters(cut.eigenvectors.numpy(), 4, 0)
    assert len({(a, b) for a, b in zip(block.tolist(), clusters.tolist(), strict=True)}) == 4


def test_two_partitions_that_conflict_in_two_layers_both_come_out() -> None:
    """Layer 1 groups places by row, layer 2 by column: the span of the joint cut holds the indicators of both."""
    row, column = (torch.arange(30 * P) % P // 4), (torch.arange(30 * P) % 4)
    layers = [torch.nn.functional.one_hot(one).float() for one in (row, column)]
    graphs = [LayerGraph(cosine_graph(one, one, P, within=P, across=360), GRID) for one in layers]
    joint = ncut_of_graphs(graphs, 6).eigenvectors.double()
    for indicators, alone in zip(layers, (graphs[:1], graphs[1:]), strict=True):
        units = (indicators / indicators.norm(dim=0)).double()
        assert float((units - joint @ (joint.T @ units)).norm()) < 0.02
        other = ncut_of_graphs(alone, indicators.shape[1]).eigenvectors.double()
        rest = next(one for one in layers if one is not indicators)
        missing = (rest / rest.norm(dim=0)).double()
        assert float((missing - other @ (other.T @ missing)).norm()) > 1, "one layer alone knows of one partition"


def test_isolated_places_have_no_say_and_are_counted() -> None:
    rows = places(4, 16)
    rows[7] = torch.nn.functional.one_hot(torch.tensor(3), 16).float()
    others = rows.clone()
    others[:, 3] = 0
    others[7] = rows[7]
    graph = cosine_graph(others, others, P, within=4, across=4)
    assert graph.isolated.nonzero()[0].tolist() == [7]
    alone = ncut_of_graphs([LayerGraph(graph, GRID)], 4)
    assert torch.isfinite(alone.eigenvectors).all() and not alone.eigenvectors[7].any()
    with_a_voice = ncut_of_graphs([LayerGraph(graph, GRID), LayerGraph(cosine_graph(rows, rows, P), GRID)], 4)
    assert torch.isfinite(with_a_voice.eigenvectors).all()
    empty = cosine_graph(torch.eye(P), torch.eye(P), P)
    with pytest.raises(NumericsError, match="2 eigenvectors were asked, and 0 of 12 places have a neighbour"):
        ncut_of_graphs([LayerGraph(empty, GRID)], 2)


# attention and heads


def test_attention_is_that_of_the_patches_alone() -> None:
    queries, keys = places(3, 8, seed=1), places(3, 8, seed=2)
    found = dense_of(attention_graph(queries, keys, P, [0.5, 0.25], within=P))
    for image in range(3):
        rows = slice(image * P, (image + 1) * P)
        maps = [
            torch.softmax(
                scale * queries[rows, first : first + 4].double() @ keys[rows, first : first + 4].double().T, 1
            )
            for scale, first in ((0.5, 0), (0.25, 4))
        ]
        mean = ((maps[0] + maps[1]) / 2).numpy()
        np.fill_diagonal(mean, 0)
        np.testing.assert_allclose(found[rows, rows], dense_normalized((mean + mean.T) / 2), atol=1e-6)
    assert not found[:P, P:].any()


def test_heads_are_split_side_by_side() -> None:
    rows = torch.arange(12.0).reshape(2, 6)
    assert [head.tolist() for head in split_heads(rows, 3)] == [
        [[0, 1], [6, 7]],
        [[2, 3], [8, 9]],
        [[4, 5], [10, 11]],
    ]


# grids


@pytest.mark.parametrize(("fine", "coarse"), [(16, 8), (14, 7), (14, 8), (5, 3), (6, 6), (7, 1)])
def test_averages_have_orthonormal_rows_of_the_cells_they_cover(fine: int, coarse: int) -> None:
    averages = area_average(fine, coarse)
    torch.testing.assert_close(averages @ averages.T, torch.eye(coarse), atol=1e-5, rtol=0)
    if fine % coarse == 0:
        ratio = fine // coarse
        plain = torch.eye(coarse).repeat_interleave(ratio, 1) / ratio**0.5
        torch.testing.assert_close(averages, plain, atol=1e-6, rtol=0)


def test_a_coarser_graph_joins_as_the_dense_map_says() -> None:
    fine, coarse = places(3), places(3, seed=9)[: 3 * 4]
    parts = [
        LayerGraph(cosine_graph(fine, fine, P, within=5, across=8), (3, 4)),
        LayerGraph(cosine_graph(coarse, coarse, 4, within=3, across=5), (2, 2)),
    ]
    one_image = torch.kron(area_average(3, 2), area_average(4, 2))  # (4, 12)
    down = torch.kron(torch.eye(3), one_image).double().numpy()  # (12, 36)
    mean = (dense_of(parts[0].graph) + down.T @ dense_of(parts[1].graph) @ down) / 2
    vectors = torch.randn(36, 3)
    torch.testing.assert_close(
        MeanOperator(parts)(vectors).double(), torch.from_numpy(mean) @ vectors.double(), atol=1e-5, rtol=0
    )
    values, top = dense_top(mean, 4)
    cut = ncut_of_graphs(parts, 4)
    assert_same_subspace(cut.eigenvectors, top, 1e-4)
    np.testing.assert_allclose(cut.eigenvalues, values, atol=1e-5)
    assert GridMap((3, 4), (3, 4)).is_identity
