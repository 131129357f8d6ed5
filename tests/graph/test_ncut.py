"""Normalized cut against dense float64 and scikit-learn, and its relations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alignedcut_cli.core.graph.affinity import affinity_product, tile_rows, unit_rows
from alignedcut_cli.core.graph.block_krylov import top_eigenpairs
from alignedcut_cli.core.graph.ncut import ncut_exact, ncut_nystrom, propagate
from alignedcut_cli.core.graph.sampling import SAMPLINGS, farthest_points
from alignedcut_cli.core.numerics import NumericsError, fix_signs, halving, stream
from tests.helpers.reference import (
    assert_same_subspace,
    clusters,
    dense_affinity,
    dense_cut,
    nystrom_rows,
    projector_distance,
)


@pytest.mark.parametrize("gamma", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("nodes", [40, 300, 900])
def test_exact_cut_is_the_dense_eigendecomposition(nodes: int, gamma: float) -> None:
    features = clusters(nodes)
    values, vectors = dense_cut(features, 8, gamma)
    cut = ncut_exact(features, 8, gamma=gamma, tile=128)
    assert_same_subspace(cut.eigenvectors, vectors, 1e-4)
    torch.testing.assert_close(cut.eigenvalues.double(), values, atol=1e-5, rtol=0)
    assert float(cut.residuals.max()) < 1e-5
    gram = cut.eigenvectors.double().T @ cut.eigenvectors.double()
    torch.testing.assert_close(gram, torch.eye(8, dtype=torch.float64), atol=1e-5, rtol=0)


def test_exact_cut_agrees_with_scikit_learn() -> None:
    """scikit-learn embeds by the same Laplacian: its rows are the eigenvectors divided by sqrt(degree)."""
    from sklearn.manifold import spectral_embedding

    features = clusters(250)
    matrix = dense_affinity(features).numpy()
    loops = np.diag(matrix).copy()
    embedded = spectral_embedding(matrix, n_components=8, drop_first=False, random_state=0, eigen_solver="arpack")
    # scikit-learn leaves self-affinity out of the degrees; the same graph with loops taken out is cut densely
    degrees = matrix.sum(1) - loops
    without = matrix - np.diag(loops)
    values, vectors = np.linalg.eigh(without / np.sqrt(np.outer(degrees, degrees)))
    theirs = np.linalg.qr(embedded * np.sqrt(degrees)[:, None])[0]
    assert_same_subspace(torch.from_numpy(theirs), torch.from_numpy(vectors[:, ::-1][:, :8].copy()), 1e-6)
    ours = ncut_exact(features, 8).eigenvectors
    # self-affinity moves the subspace by the order of 1 / M only
    assert projector_distance(ours, torch.from_numpy(theirs)) < 0.02
    assert values[-1] == pytest.approx(1)


def test_the_comparison_of_subspaces_can_fail() -> None:
    features = clusters(100)
    _, vectors = dense_cut(features, 9)
    with pytest.raises(AssertionError, match="subspaces differ"):
        assert_same_subspace(vectors[:, :8], vectors[:, 1:], 1e-4)


def test_first_eigenpair_is_one_and_root_of_the_degrees() -> None:
    features = clusters(400)
    cut = ncut_exact(features, 5)
    assert float(cut.eigenvalues[0]) == pytest.approx(1, abs=1e-6)
    root = dense_affinity(features).sum(1).sqrt()
    torch.testing.assert_close(cut.eigenvectors[:, 0].double(), root / root.norm(), atol=1e-6, rtol=0)


def test_permuting_the_nodes_permutes_the_rows() -> None:
    features = clusters(500)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    cut, permuted = ncut_exact(features, 8), ncut_exact(features[order], 8)
    torch.testing.assert_close(permuted.eigenvectors, cut.eigenvectors[order], atol=2e-4, rtol=0)


@pytest.mark.parametrize("tile", [16, 100, 501, 4096])
def test_the_tile_does_not_matter(tile: int) -> None:
    features = clusters(500)
    cut = ncut_exact(features, 8, tile=tile)
    assert_same_subspace(cut.eigenvectors, ncut_exact(features, 8, tile=250).eigenvectors, 1e-5)


def test_duplicated_nodes_get_equal_rows() -> None:
    """Every node twice: the same eigenvalues, and each pair shares its row, scaled by 1 / sqrt(2)."""
    features = clusters(200)
    single, double = ncut_exact(features, 8), ncut_exact(features.repeat(2, 1), 8)
    torch.testing.assert_close(double.eigenvalues, single.eigenvalues, atol=1e-5, rtol=0)
    torch.testing.assert_close(double.eigenvectors[:200], double.eigenvectors[200:], atol=1e-5, rtol=0)
    assert_same_subspace(double.eigenvectors[:200] * 2**0.5, single.eigenvectors, 1e-4)


def test_nodes_of_few_directions_are_cut_though_the_affinity_has_low_rank() -> None:
    features = clusters(6, groups=6, spread=0.0).repeat(50, 1)
    _, vectors = dense_cut(features, 4)
    cut = ncut_exact(features, 12)
    assert torch.isfinite(cut.eigenvectors).all()
    found = ncut_exact(features, 4)
    values = torch.linalg.eigvalsh(dense_affinity(features)).flip(0)
    assert float(values[6]) < 1e-8
    assert_same_subspace(found.eigenvectors, vectors, 1e-4)


def test_scaling_a_row_changes_nothing() -> None:
    features = clusters(200)
    scale = torch.linspace(0.1, 50, 200).unsqueeze(1)
    torch.testing.assert_close(
        ncut_exact(features * scale, 6).eigenvectors, ncut_exact(features, 6).eigenvectors, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("sampling", sorted(SAMPLINGS))
def test_nystrom_with_all_nodes_is_exact(sampling: str) -> None:
    features = clusters(300)
    cut = ncut_nystrom(lambda a, b: features[a:b], 300, 8, nodes=300, sampling=sampling, tile=64)
    assert_same_subspace(cut.eigenvectors, ncut_exact(features, 8).eigenvectors, 1e-5)


@pytest.mark.parametrize("neighbors", [1, 7, 500])
@pytest.mark.parametrize("sampling", sorted(SAMPLINGS))
def test_nystrom_is_equation_four(sampling: str, neighbors: int) -> None:
    features = clusters(150)
    cut = ncut_nystrom(
        lambda a, b: features[a:b], 150, 5, nodes=40, neighbors=neighbors, sampling=sampling, gamma=0.5, tile=64
    )
    assert len(cut.sampled.unique()) == 40
    expected = nystrom_rows(features, cut.sampled, cut.eigenvectors[cut.sampled], neighbors, 0.5)
    torch.testing.assert_close(cut.eigenvectors.double(), expected, atol=1e-5, rtol=0)


def test_nystrom_approaches_the_exact_cut() -> None:
    features = clusters(1200)
    exact = ncut_exact(features, 6).eigenvectors
    errors = []
    for size in (30, 120, 600):
        rows = ncut_nystrom(lambda a, b: features[a:b], 1200, 6, nodes=size, neighbors=10).eigenvectors
        errors.append(projector_distance(torch.linalg.qr(rows.double())[0], exact))
    assert errors[0] > errors[1] > errors[2]


def test_nystrom_does_not_depend_on_the_tile() -> None:
    features = clusters(333)
    first, second = (
        ncut_nystrom(lambda a, b: features[a:b], 333, 5, nodes=64, sampling="fps", tile=tile) for tile in (32, 1000)
    )
    assert torch.equal(first.sampled, second.sampled)
    torch.testing.assert_close(first.eigenvectors, second.eigenvectors, atol=1e-5, rtol=0)


def test_a_landmark_is_its_own_nearest() -> None:
    units = unit_rows(clusters(50))
    values = torch.randn(50, 3)
    torch.testing.assert_close(propagate(units, units, values, 1), values)


def test_farthest_points_are_the_greedy_choice() -> None:
    units = unit_rows(clusters(60))
    chosen = farthest_points(units, 10, seed=3).tolist()
    for count in range(1, 10):
        nearest = (units @ units[chosen[:count]].T).max(1).values
        nearest[chosen[:count]] = 9
        assert float(nearest[chosen[count]]) == pytest.approx(float(nearest.min()), abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(nodes=st.integers(2, 70), width=st.integers(1, 9), block=st.integers(1, 4), tile=st.integers(1, 80))
def test_tiled_product_is_the_matrix_product(nodes: int, width: int, block: int, tile: int) -> None:
    generator = torch.Generator().manual_seed(nodes * 100 + width)
    features = torch.randn(nodes, width, generator=generator)
    vectors = torch.randn(nodes, block, generator=generator)
    product = affinity_product(unit_rows(features), vectors, 0.7, tile)
    expected = dense_affinity(features, 0.7) @ vectors.double()
    torch.testing.assert_close(product.double(), expected, atol=1e-4, rtol=1e-4)


def test_ticks_count_every_row_of_every_product() -> None:
    rows = []
    affinity_product(unit_rows(clusters(105)), torch.ones(105, 1), 1.0, 50, rows.append)
    assert rows == [50, 50, 5]


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (torch.zeros(5, 3), "5 of 5 nodes have no direction: node 0 is zero"),
        (torch.tensor([[1.0, 2], [float("nan"), 1]]), "1 of 2 nodes have no direction: node 1 is not finite"),
        (torch.tensor([[1.0, 2], [float("inf"), 1]]), "node 1 is not finite"),
    ],
)
def test_nodes_without_a_direction_are_refused(features: torch.Tensor, told: str) -> None:
    with pytest.raises(NumericsError, match=told):
        ncut_exact(features, 1)


def test_more_eigenvectors_than_nodes_are_refused() -> None:
    with pytest.raises(NumericsError, match="9 eigenvectors were asked of a graph of 8 nodes"):
        ncut_exact(clusters(8), 9)


def test_as_many_eigenvectors_as_nodes_are_a_whole_basis() -> None:
    cut = ncut_exact(clusters(8), 8)
    assert_same_subspace(cut.eigenvectors, torch.eye(8), 1e-5)


def test_the_lengths_of_the_start_do_not_matter() -> None:
    """A column that is a hundred million times as long as the others hides none of them."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(200, 200, generator=generator, dtype=torch.float64)
    matrix, start = root @ root.T / 200, torch.randn(200, 6, generator=generator, dtype=torch.float64)
    start[:, 0] *= 1e8
    expected = torch.linalg.eigvalsh(matrix).flip(0)[:4]
    torch.testing.assert_close(top_eigenpairs(lambda block: matrix @ block, start, 4).values, expected)


def test_a_start_of_too_few_dimensions_is_refused() -> None:
    with pytest.raises(NumericsError, match="4 eigenvectors were asked of a start of 1 dimensions"):
        top_eigenpairs(lambda block: block, torch.ones(50, 6), 4)


def test_the_solver_says_what_it_could_not_reach() -> None:
    """An operator with no gap: the residuals are honest, whatever they are."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(300, 300, generator=generator))[0]
    values = 1 - torch.arange(300) * 1e-5
    matrix = basis * values @ basis.T
    pairs = top_eigenpairs(lambda block: matrix @ block, torch.randn(300, 6, generator=generator), 4, rounds=1, depth=3)
    honest = (matrix @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0)
    torch.testing.assert_close(pairs.residuals, honest, atol=1e-6, rtol=0.05)


def test_signs_do_not_depend_on_the_order_or_on_the_sign() -> None:
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(fix_signs(-vectors), fix_signs(vectors))
    torch.testing.assert_close(fix_signs(vectors[order]), fix_signs(vectors)[order])
    symmetric = torch.tensor([[0.5], [-0.5], [0.5], [-0.5]])
    assert torch.isfinite(fix_signs(symmetric)).all()
    assert float(fix_signs(symmetric).abs().min()) == 0.5


def test_streams_are_different_and_stable() -> None:
    assert stream(0, "cut", 1) == stream(0, "cut", 1)
    assert len({stream(0, "cut", 1), stream(1, "cut", 1), stream(0, "cut", 2), stream(0, "color", 1)}) == 4
    assert 0 <= stream(0, "x") < 1 << 63


def test_halving_goes_on_with_less_and_says_so() -> None:
    said: list[str] = []

    def run(size: int) -> int:
        if size > 3:
            raise MemoryError
        return size

    assert halving(run, 16, said.append, "tiles of") == 2
    assert said == [f"out of memory: going on with tiles of {size}" for size in (8, 4, 2)]
    with pytest.raises(ValueError, match="other"):
        halving(lambda _: (_ for _ in ()).throw(ValueError("other")), 4, said.append, "tiles of")


def test_tiles_fit_their_memory() -> None:
    for memory in (1 << 12, 1 << 20, 1 << 24, 1 << 40):
        rows = tile_rows(memory, torch.device("cpu"))
        assert rows == 16 or 8 * rows * rows <= memory
        assert rows <= 1024
