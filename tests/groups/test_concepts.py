"""Centres and balls, activations of groups and their errors over images, moments per voxel, and best thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import jaccard_score, roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from alignedcut_cli.core.groups.activations import (
    Clusters,
    cell_sums,
    clustered_difference,
    clustered_mean,
    correlation,
    moments,
    readout_moments,
    roi_readout,
)
from alignedcut_cli.core.groups.centres import ball_members, farthest_centres
from alignedcut_cli.core.groups.similarity import best_iou, cosines, ranking
from alignedcut_cli.core.numerics import NumericsError


def draws(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def tiles(rows: Tensor, step: int) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step]


# centres and balls


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 12), st.integers(0, 99))
def test_each_centre_is_the_farthest_from_those_before_it(count: int, dims: int, wanted: int, seed: int) -> None:
    """Places on a small lattice, so that many are the same and many are equally far."""
    places = np.random.default_rng(seed).integers(0, 3, (count, dims)).astype(np.float32)
    found = farthest_centres(places, wanted, seed)
    apart = cdist(places.astype(np.float64), places.astype(np.float64), "sqeuclidean")
    chosen = [int(found[0])]
    while len(chosen) < wanted:
        nearest = apart[:, chosen].min(1)
        if nearest.max() == 0:
            break
        chosen.append(int(nearest.argmax()))
    assert found.tolist() == chosen
    assert len(found) == min(wanted, len(np.unique(places, axis=0)))


def test_the_first_centre_comes_from_the_seed() -> None:
    places = draws(50, 3)
    assert farthest_centres(places, 4, 1).tolist() == farthest_centres(places, 4, 1).tolist()
    assert len({int(farthest_centres(places, 1, seed)[0]) for seed in range(20)}) > 5
    with pytest.raises(NumericsError, match="no place"):
        farthest_centres(places[:0], 2, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.floats(0, 4), st.integers(0, 99))
def test_members_are_within_the_radius_of_their_nearest_centre(count: int, k: int, radius: float, seed: int) -> None:
    places = np.random.default_rng(seed).integers(0, 5, (count, 2)).astype(np.float32)
    centres = np.random.default_rng(seed + 1).integers(0, 5, (k, 2)).astype(np.float32)
    apart = cdist(places, centres)
    wanted = np.where(apart.min(1) <= radius, apart.argmin(1), -1)
    found = ball_members(places, centres, radius)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, wanted)


def test_a_ball_of_radius_nothing_holds_its_centre_and_its_doubles() -> None:
    places = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 2.0]])
    assert ball_members(places, places[:1], 0.0).tolist() == [0, 0, -1]


# activations of groups


def test_the_mean_of_an_roi_needs_no_voxel() -> None:
    rows, weights, beta = (torch.from_numpy(draws(*shape)) for shape in ((30, 7), (7, 5), (5, 12)))
    membership = torch.zeros(3, 12, dtype=torch.uint8)
    for row, voxels in enumerate(([0, 1, 2], [2, 7], range(12))):
        membership[row, list(voxels)] = 1
    found = rows @ weights @ roi_readout(beta, membership)
    each = rows @ weights @ beta
    wanted = torch.stack([each[:, :3].mean(1), each[:, [2, 7]].mean(1), each.mean(1)], 1)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("step", [1, 3, 50])
def test_sums_of_cells_do_not_depend_on_tiles(step: int) -> None:
    rows, cells = torch.from_numpy(draws(50, 4)), torch.from_numpy(np.random.default_rng(0).integers(-1, 5, 50))
    found = cell_sums(tiles(rows, step), cells, 6)
    wanted = torch.zeros(6, 4, dtype=torch.float64)
    for cell, row in zip(cells.tolist(), rows, strict=True):
        if cell >= 0:
            wanted[cell] += row
    torch.testing.assert_close(found, wanted)
    with pytest.raises(ValueError, match="no rows"):
        cell_sums(iter(()), cells, 6)


def clusters(values: np.ndarray, images: np.ndarray, count: int) -> Clusters:
    sums = np.stack([values[images == image].sum(0) for image in range(count)])
    return Clusters(torch.from_numpy(sums), torch.from_numpy(np.bincount(images, minlength=count)))


def sandwich(design: np.ndarray, values: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares coefficients and their cluster-robust errors, (X'X)^-1 sum_b u_b u_b' (X'X)^-1 n / (n - 1)."""
    bread = np.linalg.inv(design.T @ design)
    fitted = bread @ design.T @ values
    rest = values - design @ fitted
    scores = np.stack([design[images == image].T @ rest[images == image] for image in np.unique(images)])
    count = len(scores)
    return fitted, np.sqrt(np.diag(bread @ (scores.T @ scores) @ bread) * count / (count - 1))


def test_with_one_node_an_image_the_error_is_the_usual_one() -> None:
    values = draws(25, 3)
    mean, error = clustered_mean(clusters(values, np.arange(25), 30))
    np.testing.assert_allclose(mean, values.mean(0))
    np.testing.assert_allclose(error, values.std(0, ddof=1) / 5)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.integers(0, 99))
def test_errors_are_those_of_cluster_robust_least_squares(count: int, seed: int) -> None:
    """Some images hold only one of the groups."""
    generator = np.random.default_rng(seed)
    images = np.concatenate([np.arange(count), generator.integers(0, count, 40)])
    figure = generator.random(len(images)) < 0.4
    figure[:2] = [True, False]
    values = generator.standard_normal(len(images)) + images + 0.5 * figure
    one, other = (clusters(values[mask, None], images[mask], count) for mask in (figure, ~figure))
    assert one.nodes + other.nodes == len(images)
    for group, mask in ((one, figure), (other, ~figure)):
        assert group.images == len(np.unique(images[mask]))
        if group.images > 1:
            mean, error = clustered_mean(group)
            wanted, wanted_error = sandwich(np.ones((mask.sum(), 1)), values[mask], images[mask])
            np.testing.assert_allclose([float(mean), float(error)], [wanted[0], wanted_error[0]], atol=1e-12)
    fitted, errors = sandwich(np.stack([np.ones(len(images)), figure], 1), values, images)
    difference, error = clustered_difference(one, other)
    np.testing.assert_allclose([float(difference), float(error)], [fitted[1], errors[1]], atol=1e-10)


def test_doubled_nodes_teach_nothing() -> None:
    values, images = draws(40, 2), np.arange(40) % 8
    once = clustered_mean(clusters(values, images, 8))
    twice = clustered_mean(clusters(np.concatenate([values, values]), np.concatenate([images, images]), 8))
    for one, other in zip(once, twice, strict=True):
        torch.testing.assert_close(one, other)


def test_the_error_is_the_spread_of_means_over_repeated_draws_of_images() -> None:
    """Nodes share what their image adds; errors that took nodes as independent would be four times too small."""
    generator = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(300):
        values = np.repeat(generator.standard_normal(20), 25) + 0.3 * generator.standard_normal(500)
        mean, error = clustered_mean(clusters(values[:, None], np.repeat(np.arange(20), 25), 20))
        means.append(float(mean))
        errors.append(float(error))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)


def test_groups_without_nodes_and_of_one_image_have_no_error() -> None:
    empty, alone = clusters(draws(0, 2), np.zeros(0, int), 3), clusters(draws(5, 2), np.zeros(5, int), 3)
    assert all(part.isnan().all() for part in (*clustered_mean(empty), *clustered_difference(empty, alone)))
    mean, error = clustered_mean(alone)
    assert mean.isfinite().all()
    assert error.isnan().all()


# moments


@pytest.mark.parametrize("step", [4, 100])
def test_moments_and_their_readout_are_those_of_explicit_voxels(step: int) -> None:
    rows, beta = torch.from_numpy(draws(100, 6)) + 3, torch.from_numpy(draws(6, 9000, seed=1)).float()
    members = torch.from_numpy(np.random.default_rng(0).integers(-1, 3, 100))
    sizes, means, covariances = moments(tiles(rows, step), members, 3)
    for group in range(3):
        mine = rows[members == group].numpy()
        assert int(sizes[group]) == len(mine)
        np.testing.assert_allclose(means[group], mine.mean(0))
        np.testing.assert_allclose(covariances[group], np.cov(mine.T), atol=1e-12)
        mean, deviation = readout_moments(means[group], covariances[group], beta)
        each = mine @ beta.double().numpy()  # (nodes, voxels), which the package never holds
        np.testing.assert_allclose(mean, each.mean(0), atol=1e-10)
        np.testing.assert_allclose(deviation, each.std(0, ddof=1), atol=1e-10)


def test_groups_of_one_node_have_a_mean_alone() -> None:
    sizes, means, covariances = moments(tiles(torch.full((3, 2), 1.1), 2), torch.tensor([0, 1, 1]), 3)
    assert sizes.tolist() == [1, 2, 0]
    assert means[0].tolist() == pytest.approx([1.1, 1.1])
    assert means[2].isnan().all()
    assert covariances[[0, 2]].isnan().all()
    np.testing.assert_allclose(covariances[1], np.zeros((2, 2)), atol=1e-12)


def test_correlations() -> None:
    left, right = torch.from_numpy(draws(30)), torch.from_numpy(draws(30, seed=1))
    assert correlation(left, right) == pytest.approx(np.corrcoef(left, right)[0, 1])
    assert correlation(left, -2 * left + 1) == pytest.approx(-1)
    for undefined in (torch.ones(30), torch.full((30,), torch.nan)):
        assert np.isnan(correlation(left, undefined))
    assert np.isnan(correlation(left[:1], right[:1]))


# similarity


def test_cosines_are_those_of_scikit_learn() -> None:
    rows = draws(20, 5)
    found = cosines(torch.from_numpy(rows), torch.from_numpy(rows[3]))
    np.testing.assert_allclose(found, cosine_similarity(rows, rows[3:4])[:, 0], atol=1e-6)
    assert float(found.max()) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 999))
def test_the_best_threshold_is_the_best_of_all(count: int, seed: int) -> None:
    """Values on a coarse grid, so that many are equal."""
    generator = np.random.default_rng(seed)
    values, inside = generator.integers(0, 6, count) / 5, generator.random(count) < 0.4
    inside[0] = True
    found = best_iou(torch.from_numpy(values), torch.from_numpy(inside))
    scores: dict[Any, float] = {t: jaccard_score(inside, values >= t) for t in sorted(set(values), reverse=True)}
    best = max(scores, key=lambda t: scores[t])
    assert (found.iou, found.threshold) == pytest.approx((scores[best], best))
    assert found.everything == pytest.approx(inside.mean())
    assert found.iou >= found.everything


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(0, 999))
def test_the_ranking_is_the_area_under_the_roc_curve(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values, inside = generator.integers(0, 6, count) / 5, generator.random(count) < 0.4
    inside[:2] = [True, False]
    found = ranking(torch.from_numpy(values), torch.from_numpy(inside))
    assert found == pytest.approx(roc_auc_score(inside, values))
    assert ranking(torch.from_numpy(-values), torch.from_numpy(inside)) == pytest.approx(1 - found)
    for one_sided in (torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)):
        assert np.isnan(ranking(torch.from_numpy(values), one_sided))


def test_a_set_that_is_empty_has_no_threshold() -> None:
    found = best_iou(torch.rand(5), torch.zeros(5, dtype=torch.bool))
    assert all(np.isnan(value) for value in (found.iou, found.threshold, found.everything))
