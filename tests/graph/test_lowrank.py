"""The cut by landmarks against the dense matrix that it stands for, and its certificate against true residuals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.attention import attention_product
from alignedcut_cli.core.graph.certificate import Certificate, certify, weighted_gram
from alignedcut_cli.core.graph.density import voronoi_weights
from alignedcut_cli.core.graph.landmarks import Factor, whitening
from alignedcut_cli.core.graph.lowrank import landmark_count, ncut_lowrank, pilot_nodes
from alignedcut_cli.core.graph.ncut import Cut, ncut_exact, ncut_nystrom
from alignedcut_cli.core.graph.quantised_cosines import MOST_BLUR, PRECISIONS, blur, columns_at, quick_precisions
from alignedcut_cli.core.graph.refine import refine
from alignedcut_cli.core.graph.sampling import LANDMARK_CHOICES, choose_landmarks, nearest_means
from alignedcut_cli.core.numerics import NumericsError
from tests.helpers.reference import assert_same_subspace, clusters, dense_affinity, dense_cut, projector_distance


def lowrank(features: Tensor, count: int = 6, **options: object) -> Cut:
    return ncut_lowrank(lambda a, b: features[a:b], len(features), count, **options)  # type: ignore[arg-type]


def dense_factor_cut(features: Tensor, landmarks: Tensor, count: int, gamma: float) -> tuple[Tensor, Tensor]:
    """Eigenpairs of D^-1/2 A~ D^-1/2 with A~ = kappa + K W^+ K^T as written, all of it dense and float64."""
    units, marks = (rows.double() / rows.double().norm(dim=1, keepdim=True) for rows in (features, landmarks))
    columns, inner = (((rows @ marks.T - 1) / gamma).exp() - math.exp(-1 / gamma) for rows in (units, marks))
    low = math.exp(-1 / gamma) + columns @ torch.linalg.pinv(inner, rtol=1e-6, hermitian=True) @ columns.T
    root = torch.diag(low.sum(1) ** -0.5)
    values, vectors = torch.linalg.eigh(root @ low @ root)
    return values.flip(0)[:count], vectors.flip(1)[:, :count]


def true_residual(features: Tensor, vectors: Tensor, gamma: float = 1.0) -> float:
    """|N X - X X^T N X|_F / sqrt(C) of orthonormal X, over all rows of the dense N."""
    matrix = dense_affinity(features, gamma)
    root = matrix.sum(1).rsqrt()
    images = root[:, None] * matrix @ (root[:, None] * vectors.double())
    return float((images - vectors.double() @ (vectors.double().T @ images)).norm() / vectors.shape[1] ** 0.5)


@pytest.mark.parametrize("gamma", [1.0, 0.3])
@pytest.mark.parametrize("sampling", LANDMARK_CHOICES)
def test_the_cut_is_that_of_the_factor_written_out(sampling: str, gamma: float) -> None:
    features = clusters(400)
    cut = lowrank(features, nodes=60, sampling=sampling, gamma=gamma, tile=128)
    assert cut.extension is not None
    assert len(cut.sampled.unique()) == 60
    if sampling != "means":
        torch.testing.assert_close(cut.extension.landmarks, unit_rows(features[cut.sampled]))
    values, vectors = dense_factor_cut(features, cut.extension.landmarks, 6, gamma)
    assert_same_subspace(cut.eigenvectors, vectors, 2e-4)
    torch.testing.assert_close(cut.eigenvalues.double(), values, atol=1e-5, rtol=0)


def test_means_are_one_step_of_k_means_on_the_sphere() -> None:
    units = unit_rows(clusters(3000, seed=4))
    centres = units[::100]
    found = nearest_means(units, centres).double()
    nearest = (units.double() @ centres.double().T).argmax(1)
    for number in range(len(centres)):
        mean = units[nearest == number].double().mean(0)
        torch.testing.assert_close(found[number], mean / mean.norm(), atol=1e-6, rtol=0)


def test_a_centre_with_no_node_or_whose_nodes_cancel_stays() -> None:
    units = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0]])
    centres = torch.tensor([[0.0, 0, 1], [0, 1, 0], [0, -1, 0]])
    assert torch.equal(nearest_means(units, centres), centres)


def test_means_are_taken_over_eight_times_as_many_nodes_as_landmarks() -> None:
    units, read = unit_rows(clusters(3000)), []

    def take(ids: Tensor) -> Tensor:
        read.append(ids)
        return units[ids]

    ids, landmarks = choose_landmarks("means", 3000, 100, 5, take)
    (pool,) = read
    assert len(pool) == 800
    assert set(ids.tolist()) < set(pool.tolist())
    assert (ids.diff() > 0).all()
    assert torch.equal(landmarks, nearest_means(units[pool], units[ids]))


@pytest.mark.parametrize("gamma", [1.0, 0.3])
def test_means_leave_less_than_single_nodes(gamma: float) -> None:
    features = clusters(1500)
    _, vectors = dense_cut(features, 6, gamma)
    means, nodes = (
        projector_distance(lowrank(features, nodes=100, sampling=choice, gamma=gamma).eigenvectors.double(), vectors)
        for choice in ("means", "uniform")
    )
    assert means < 0.7 * nodes


@pytest.mark.parametrize("gamma", [1.0, 0.3, 0.1])
def test_with_all_nodes_as_landmarks_it_is_the_exact_cut(gamma: float) -> None:
    features = clusters(300)
    values, vectors = dense_cut(features, 6, gamma)
    cut = lowrank(features, nodes=300, gamma=gamma)
    torch.testing.assert_close(cut.eigenvalues.double(), values, atol=1e-4, rtol=0)
    assert_same_subspace(cut.eigenvectors, vectors, 1e-3)
    assert cut.certificate is not None and cut.certificate.residual < 1e-3


def test_a_graph_that_falls_apart_into_its_nodes_overflows_nothing() -> None:
    cut = lowrank(clusters(300), nodes=300, gamma=0.005)
    torch.testing.assert_close(cut.eigenvalues, torch.ones(6), atol=1e-4, rtol=0)
    assert torch.isfinite(cut.eigenvectors).all()


@pytest.mark.parametrize("pilot", [None, 500])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_eigenvectors_are_orthonormal_whatever_the_way(pilot: int | None, precision: str) -> None:
    cut = lowrank(clusters(2000), 8, nodes=100, pilot=pilot, precision=precision)
    gram = cut.eigenvectors.double().T @ cut.eigenvectors.double()
    torch.testing.assert_close(gram, torch.eye(8, dtype=torch.float64), atol=1e-5, rtol=0)
    assert cut.certificate is not None and cut.certificate.orthogonality < 1e-5
    assert float(cut.eigenvalues[0]) == pytest.approx(1, abs=2e-3)


def test_more_landmarks_come_closer_to_the_exact_cut() -> None:
    features = clusters(1500, width=64, groups=12, spread=1.0)
    exact = ncut_exact(features, 8).eigenvectors
    errors = [projector_distance(lowrank(features, 8, nodes=size).eigenvectors, exact) for size in (30, 120, 500)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_it_is_far_closer_than_equation_four() -> None:
    features = clusters(1500)
    exact = ncut_exact(features, 8).eigenvectors
    neighbours = ncut_nystrom(lambda a, b: features[a:b], 1500, 8, nodes=200).eigenvectors
    ours = projector_distance(lowrank(features, 8, nodes=200).eigenvectors, exact)
    assert 15 * ours < projector_distance(torch.linalg.qr(neighbours.double())[0], exact)


def test_one_pass_after_a_pilot_is_nearly_the_whole_factor() -> None:
    features = clusters(6000, width=64, groups=12, spread=1.0)
    whole = lowrank(features, 8, nodes=120, pilot=6000).eigenvectors
    gaps = [projector_distance(lowrank(features, 8, nodes=120, pilot=size).eigenvectors, whole) for size in (150, 3000)]
    assert gaps[1] < 0.01
    assert gaps[1] < gaps[0] / 3


@pytest.mark.parametrize("pilot", [None, 400])
def test_the_tile_does_not_matter(pilot: int | None) -> None:
    features = clusters(900)
    first, second = (lowrank(features, nodes=80, tile=tile, pilot=pilot) for tile in (64, 1000))
    assert torch.equal(first.sampled, second.sampled)
    torch.testing.assert_close(first.eigenvectors, second.eigenvectors, atol=2e-5, rtol=0)


@settings(deadline=None, max_examples=15)
@given(nodes=st.integers(12, 90), width=st.integers(6, 20), size=st.integers(6, 100), tile=st.integers(1, 100))
def test_any_shape_gives_finite_orthonormal_columns(nodes: int, width: int, size: int, tile: int) -> None:
    features = torch.randn(nodes, width, generator=torch.Generator().manual_seed(nodes * 100 + width))
    cut = lowrank(features, 4, nodes=size, tile=tile)
    assert cut.eigenvectors.shape == (nodes, 4)
    torch.testing.assert_close(weighted_gram(cut.eigenvectors), torch.eye(4, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("pilot", [None, 300])
def test_duplicated_nodes_get_equal_rows_and_duplicated_landmarks_do_no_harm(pilot: int | None) -> None:
    features = clusters(200).repeat(4, 1)
    cut = lowrank(features, nodes=400, pilot=pilot)
    torch.testing.assert_close(cut.eigenvectors[:200], cut.eigenvectors[600:], atol=1e-5, rtol=0)
    assert cut.certificate is not None and cut.certificate.rank <= 200


@pytest.mark.parametrize("pilot", [None, 400])
def test_a_weight_counts_as_that_many_copies(pilot: int | None) -> None:
    features = clusters(600)
    copies = torch.arange(600) % 3 + 1
    weighted = lowrank(features, nodes=600 if pilot is None else 300, weights=copies.float(), pilot=pilot)
    _, vectors = dense_cut(features.repeat_interleave(copies, 0), 6)
    first = torch.cumsum(copies, 0) - copies
    scaled = weighted.eigenvectors * copies.float().sqrt()[:, None]
    assert_same_subspace(scaled, vectors[first] * copies.double().sqrt()[:, None], 1e-3 if pilot is None else 0.02)
    torch.testing.assert_close(
        weighted_gram(weighted.eigenvectors, copies.float()), torch.eye(6, dtype=torch.float64), atol=1e-5, rtol=0
    )
    assert weighted.certificate is not None and weighted.certificate.residual < (1e-3 if pilot is None else 0.05)


@pytest.mark.parametrize("pilot", [None, 500])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_extension_gives_nodes_of_the_cut_their_own_rows(pilot: int | None, weighted: bool) -> None:
    features = clusters(1000)
    weights = torch.rand(1000, generator=torch.Generator().manual_seed(1)) + 0.5 if weighted else None
    cut = lowrank(features, nodes=90, pilot=pilot, weights=weights)
    assert cut.extension is not None
    torch.testing.assert_close(cut.extension.rows(unit_rows(features)), cut.eigenvectors, atol=2e-5, rtol=0)


def test_new_nodes_take_the_rows_that_a_cut_with_them_would_give() -> None:
    features = clusters(900)
    base = lowrank(features[:600], 8, nodes=200)
    assert base.extension is not None
    found = base.extension.rows(unit_rows(features[600:]))
    rows = dense_cut(features, 8)[1][600:].float() * 1.5**0.5
    rotation = torch.linalg.lstsq(found, rows)
    assert float((found @ rotation.solution - rows).norm() / rows.norm()) < 0.05


@pytest.mark.parametrize("gamma", [1.0, 0.3])
@pytest.mark.parametrize("pilot", [None, 600])
def test_the_certificate_is_the_true_residual_within_a_quarter(gamma: float, pilot: int | None) -> None:
    features = clusters(1500, width=64, groups=12, spread=1.0)
    cut = lowrank(features, 8, nodes=60, gamma=gamma, pilot=pilot)
    assert cut.certificate is not None
    truth = true_residual(features, cut.eigenvectors, gamma) / float(cut.eigenvalues[-1])
    assert cut.certificate.residual == pytest.approx(truth, rel=0.3)


def certified(features: Tensor, cut: Cut, **options: object) -> Certificate:
    return certify(
        lambda a, b: features[a:b], lambda ids: features[ids], cut.eigenvectors, cut.eigenvalues,
        gamma=1.0, rank=len(cut.sampled), seed=0, **options,  # type: ignore[arg-type]
    )[0]  # fmt: skip


def test_the_certificate_of_any_solver_ranks_the_solvers() -> None:
    features = clusters(1500)
    exact = certified(features, ncut_exact(features, 6))
    neighbours = ncut_nystrom(lambda a, b: features[a:b], 1500, 6, nodes=200)
    carried = certified(features, neighbours)
    assert exact.residual < 0.1 * carried.residual
    assert exact.orthogonality < 1e-5 < carried.orthogonality
    basis = torch.linalg.qr(neighbours.eigenvectors.double())[0]
    truth = true_residual(features, basis) / float(neighbours.eigenvalues[-1])
    assert carried.residual == pytest.approx(truth, rel=0.3)


def test_the_certificate_of_the_exact_cut_is_nought_where_degrees_are_known() -> None:
    features = clusters(700)
    found = certified(features, ncut_exact(features, 6), degrees=dense_affinity(features).sum(1).float(), tile=100)
    assert found.residual < 1e-4


def test_the_whitening_inverts_the_landmarks_kernel() -> None:
    units = unit_rows(clusters(80))
    white = whitening(units, 0.5)
    matrix = dense_affinity(units, 0.5) - math.exp(-2)
    torch.testing.assert_close(white.T @ matrix @ white, torch.eye(80, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("twice", [0, 40])
def test_the_factor_is_the_columns_times_the_whitening(twice: int) -> None:
    """With P triangular, and where landmarks that lie twice leave no Cholesky factor and so a lower rank."""
    units = unit_rows(clusters(400))
    landmarks = torch.cat([units[:300], units[:twice]])
    white = whitening(landmarks, 0.5)
    matrix = dense_affinity(landmarks, 0.5) - math.exp(-2)
    inverse = torch.linalg.pinv(matrix, rtol=1e-6, hermitian=True)
    torch.testing.assert_close(white @ white.T, inverse, atol=1e-6 * float(inverse.abs().max()), rtol=0)
    assert white.shape == (300 + twice, 300)
    assert (white.tril(-1).any() == 0) == (twice == 0)
    factor = Factor(landmarks, white.float(), 0.5)
    columns = dense_affinity(torch.cat([units, landmarks]), 0.5)[:400, 400:] - math.exp(-2)
    written_out = torch.cat([torch.full((400, 1), math.exp(-1)), columns.float() @ white.float()], 1)
    torch.testing.assert_close(factor.rows(units), written_out, atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("gamma", [1.0, 0.1])
def test_columns_are_the_affinity(precision: str, gamma: float) -> None:
    """Also where one channel is far larger than all others in every node, and for a node that is all zero but for it."""
    features = clusters(300, width=64, groups=12, spread=1.0)
    features[:, 3] += 40
    features[7] = 0
    features[7, 3] = 1
    units = unit_rows(features)
    found = columns_at(units[:50], gamma, precision)(units)
    assert found.dtype == torch.float32 and found.shape == (300, 50)
    wanted = dense_affinity(units, gamma)[:, :50]
    most = {"float32": 1e-5, "bfloat16": 1.2e-2 / gamma, "int8": 1e-3 / gamma}[precision]
    assert float((found - wanted).abs().max()) < most


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_low_precision_moves_little(precision: str) -> None:
    features = clusters(3000, width=64, groups=12, spread=1.0)
    assert 1e-5 < blur(unit_rows(features), 1.0, precision) < 1e-2
    vectors = [
        lowrank(features, 8, nodes=150, pilot=1500, precision=kind).eigenvectors for kind in ("float32", precision)
    ]
    assert projector_distance(*vectors) < 0.01


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_what_all_nodes_share_is_not_rounded(precision: str) -> None:
    """Cosines near 1, which bfloat16 itself can hardly tell apart."""
    units = unit_rows(clusters(500, width=64, groups=12, spread=1.0) + 30)
    assert float((units @ units.T).min()) > 0.99
    assert blur(units, 1.0, precision) < MOST_BLUR
    assert blur(units, 1.0, "float32") == 0


def test_quick_precisions_start_with_the_exact_one() -> None:
    found = quick_precisions(torch.device("cpu"))
    assert found[0] == "float32" and set(found) <= set(PRECISIONS)


def test_ticks_count_every_row_of_the_pass() -> None:
    rows: list[int] = []
    lowrank(clusters(1050), nodes=30, pilot=100, tile=500, tick=rows.append)
    assert rows == [500, 500, 50]


def test_too_few_landmarks_and_directionless_nodes_are_refused() -> None:
    with pytest.raises(NumericsError, match="3 landmarks give a factor of rank 4, which has no 6 eigenvectors"):
        lowrank(clusters(100), nodes=3)
    features = clusters(2000)
    features[1234] = 0
    with pytest.raises(NumericsError, match="have no direction"):
        lowrank(features, nodes=50, pilot=100)


def test_exact_products_lower_the_error() -> None:
    features = clusters(1500, width=64, groups=12, spread=1.0)
    exact = ncut_exact(features, 12).eigenvectors
    rough = lowrank(features, 12, nodes=40)
    assert rough.certificate is not None and rough.extension is not None
    errors = [projector_distance(rough.eigenvectors[:, :8], exact[:, :8])]
    for products in (1, 2):
        finer = refine(unit_rows(features), rough, products)
        errors.append(projector_distance(finer.eigenvectors[:, :8], exact[:, :8]))
        assert finer.certificate is not None and finer.certificate.residual < rough.certificate.residual / 2
    assert errors[0] > 5 * errors[1] > 10 * errors[2]


def test_a_refined_cut_stays_orthonormal_and_can_still_be_extended() -> None:
    features = clusters(800)
    weights = torch.rand(800, generator=torch.Generator().manual_seed(2)) + 0.5
    cut = refine(unit_rows(features), lowrank(features, nodes=60, weights=weights), 2, weights=weights)
    torch.testing.assert_close(
        weighted_gram(cut.eigenvectors, weights), torch.eye(6, dtype=torch.float64), atol=1e-5, rtol=0
    )
    exact = ncut_exact(features, 6, weights=weights)
    torch.testing.assert_close(cut.eigenvalues, exact.eigenvalues, atol=1e-4, rtol=0)
    assert_same_subspace(
        cut.eigenvectors[:, :5] * weights.sqrt()[:, None], exact.eigenvectors[:, :5] * weights.sqrt()[:, None], 0.04
    )
    assert cut.extension is not None
    torch.testing.assert_close(cut.extension.rows(unit_rows(features)), cut.eigenvectors, atol=0.01, rtol=0)


def test_a_weight_counts_as_that_many_copies_in_the_exact_cut() -> None:
    features = clusters(300)
    copies = torch.arange(300) % 3 + 1
    values, vectors = dense_cut(features.repeat_interleave(copies, 0), 6)
    cut = ncut_exact(features, 6, weights=copies.float())
    torch.testing.assert_close(cut.eigenvalues.double(), values, atol=1e-5, rtol=0)
    first = torch.cumsum(copies, 0) - copies
    root = copies.double().sqrt()[:, None]
    assert_same_subspace(cut.eigenvectors * root, vectors[first] * root, 1e-4)


@settings(deadline=None, max_examples=15)
@given(nodes=st.integers(2, 60), width=st.integers(1, 9), block=st.integers(1, 12))
def test_attention_is_the_product_with_the_affinity(nodes: int, width: int, block: int) -> None:
    generator = torch.Generator().manual_seed(nodes)
    features = torch.randn(nodes, width, generator=generator)
    vectors = torch.randn(nodes, block, generator=generator)
    matrix = dense_affinity(features, 0.4)
    found = attention_product(unit_rows(features), vectors, 0.4, matrix.sum(1, keepdim=True).float())
    torch.testing.assert_close(found.double(), matrix @ vectors.double(), atol=1e-4, rtol=1e-4)


def test_voronoi_weights_are_one_over_the_cell() -> None:
    features = clusters(500)
    centres = unit_rows(features[:20])
    weights = voronoi_weights(lambda a, b: features[a:b], 500, centres, tile=64)
    nearest = [max(range(20), key=lambda k: float(centres[k] @ row)) for row in unit_rows(features)]
    expected = torch.tensor([1 / nearest.count(cell) for cell in nearest])
    torch.testing.assert_close(weights, expected / expected.mean())


def skewed(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clusters of very different sizes, and which node is in which."""
    sizes = [1600, 800, 200, 60, 40, 30, 20, 20]
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(sizes), 48, generator=generator)
    member = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return centres[member] + 0.6 * torch.randn(len(member), 48, generator=generator), member


def test_a_graph_of_very_many_nodes_keeps_all_its_eigenvectors() -> None:
    """A node that weighs a million is a million nodes: 2 billion of them here."""
    features = clusters(2000)
    one = lowrank(features, 8, nodes=100)
    many = lowrank(features, 8, nodes=100, weights=torch.full((2000,), 1e6))
    assert many.eigenvectors.shape == (2000, 8)
    assert_same_subspace(many.eigenvectors * 1e3, one.eigenvectors.double(), 1e-4)


def test_balance_finds_the_rare_clusters() -> None:
    """k-means of the eigenvectors scaled by their eigenvalues, where a cluster counts by its share of the graph."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    features, member = skewed()
    plain = lowrank(features, 8, nodes=400, sampling="fps")
    weights = voronoi_weights(lambda a, b: features[a:b], len(features), unit_rows(features[plain.sampled]))
    balanced = lowrank(features, 8, nodes=400, sampling="fps", weights=weights)
    scores = []
    for cut in (plain, balanced):
        rows = (cut.eigenvectors * cut.eigenvalues).numpy()
        scores.append(adjusted_rand_score(member, KMeans(8, n_init=20, random_state=0).fit_predict(rows)))
    assert scores[1] > 0.95
    assert scores[0] < 0.7


def test_pilot_and_landmarks_are_flat_in_a_large_graph() -> None:
    assert [pilot_nodes(total, 1024) for total in (100, 16_384, 16_385, 200_000, 10**6, 10**7)] == [
        100, 16_384, 16_384, 16_384, 16_384, 16_384,
    ]  # fmt: skip
    assert pilot_nodes(30_000, 4000) == 30_000
    assert pilot_nodes(10**6, 10_000) == 80_000
    assert [landmark_count(total) for total in (100, 16_384, 16_385, 10**7)] == [100, 1024, 512, 512]
