"""Stretching, scores and k-way discretisation against torch, scikit-learn, scipy and loops."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from math import floor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, adjusted_rand_score, jaccard_score
from sklearn.metrics.cluster import contingency_matrix

from alignedcut_cli.core.graph.ncut import ncut_exact
from alignedcut_cli.core.groups import resize
from alignedcut_cli.core.groups.iou import (
    adjusted_rand,
    bootstrap_interval,
    class_ious,
    contingency,
    counts_of_matched,
    mean_iou,
    pixel_accuracy,
)
from alignedcut_cli.core.groups.kway import DISCRETISERS, match_clusters, rotation_clusters
from alignedcut_cli.core.groups.resize import UPSCALES, area_shares, stretch_bands, stretch_matrix

# stretching


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_maps_at_pixels_are_those_of_torch_and_of_fractions(data: Any) -> None:
    """bilinear: torch's own; nearest: the cell of a pixel's centre in exact arithmetic (torch's float32 errs at edges)."""
    grid = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    size = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    maps = torch.from_numpy(np.random.default_rng(0).standard_normal((3, *grid))).float()
    found = torch.cat([band for _, band in stretch_bands(maps, size, "bilinear")], 1)
    wanted = torch.nn.functional.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    found = torch.cat([band for _, band in stretch_bands(maps, size, "nearest")], 1)
    rows, columns = ([floor(Fraction(2 * p + 1, 2 * n) * k) for p in range(n)] for n, k in zip(size, grid, strict=True))
    torch.testing.assert_close(found, maps[:, rows][:, :, columns], atol=0, rtol=0)


@pytest.mark.parametrize("how", UPSCALES)
def test_bands_do_not_change_a_pixel(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.randn(4, 5, 7)
    whole = [band for _, band in stretch_bands(maps, (31, 22), how)]
    monkeypatch.setattr(resize, "BAND", 200)
    parts = list(stretch_bands(maps, (31, 22), how))
    assert len(whole) == 1 and len(parts) > 10
    assert [part.start for part, _ in parts] == [0, *(part.stop for part, _ in parts[:-1])]
    torch.testing.assert_close(torch.cat([band for _, band in parts], 1), whole[0])


@pytest.mark.parametrize("how", UPSCALES)
def test_constants_stay_and_rows_sum_to_one(how: str) -> None:
    matrix = stretch_matrix(23, 5, how)
    torch.testing.assert_close(matrix.sum(1), torch.ones(23))
    assert (matrix >= 0).all()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_shares_of_area_are_those_of_a_fine_grid(data: Any) -> None:
    """Each pixel cut into rows x cols equal parts, each of which lies in one cell."""
    grid = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    size = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    labels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-1, 3, size)
    fine = np.repeat(np.repeat(labels, grid[0], 0), grid[1], 1).reshape(grid[0], size[0], grid[1], size[1])
    wanted = np.stack([(fine == one).mean((1, 3)) for one in range(3)], -1)
    found = area_shares(torch.from_numpy(labels), grid, 3)
    np.testing.assert_allclose(found.numpy(), wanted.reshape(-1, 3), atol=1e-6)


# scores

LABELLINGS = st.integers(2, 60).flatmap(
    lambda count: st.tuples(*[st.lists(st.integers(0, 4), min_size=count, max_size=count)] * 2)
)


@settings(max_examples=100, deadline=None)
@given(LABELLINGS)
def test_the_scores_of_a_table_are_those_of_scikit_learn(labellings: tuple[list[int], list[int]]) -> None:
    made, truth = map(np.array, labellings)
    table = contingency(torch.from_numpy(made), torch.from_numpy(truth), 5, 5).numpy()
    wanted = np.zeros((5, 5), int)
    wanted[np.ix_(np.unique(made), np.unique(truth))] = contingency_matrix(made, truth)
    np.testing.assert_array_equal(table, wanted)
    assert adjusted_rand(table) == pytest.approx(adjusted_rand_score(truth, made), abs=1e-12)
    counts = counts_of_matched(table, np.arange(5))
    assert pixel_accuracy(counts) == pytest.approx(accuracy_score(truth, made))
    present = np.unique(truth)
    each = jaccard_score(truth, made, labels=present, average=None, zero_division=0)
    np.testing.assert_allclose(class_ious(counts)[present], each)
    assert mean_iou(counts) == pytest.approx(each.mean())


def test_void_is_left_out_of_a_table() -> None:
    table = contingency(torch.tensor([0, 1, 1]), torch.tensor([0, -1, 0]), 2, 2)
    assert table.tolist() == [[1, 0], [1, 0]]


def test_a_class_that_the_truth_lacks_does_not_count_but_takes_pixels_away() -> None:
    """Truth: six pixels of class 0. Prediction: four of them, and two of class 1."""
    counts = np.array([[4, 0], [4, 2], [6, 0]])
    assert mean_iou(counts) == pytest.approx(4 / 6)
    nowhere = np.zeros((3, 2))
    assert np.isnan(mean_iou(nowhere)) and np.isnan(class_ious(nowhere)).all()


def test_clusters_without_a_class_are_right_nowhere() -> None:
    table = np.array([[5, 1], [0, 4], [3, 0]])
    counts = counts_of_matched(table, np.array([0, 1, -1]))
    assert counts.tolist() == [[5, 4], [6, 4], [8, 5]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_clusters_are_matched_as_the_best_of_all_assignments(clusters: int, classes: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 50, (clusters, classes))
    matched = match_clusters(table)
    given_classes = matched[matched >= 0]
    assert len(set(given_classes)) == len(given_classes) == min(clusters, classes)
    padded = np.zeros((max(clusters, classes),) * 2, int)
    padded[:clusters, :classes] = table
    best = max(sum(padded[i, j] for i, j in enumerate(order)) for order in permutations(range(len(padded))))
    assert sum(table[i, j] for i, j in enumerate(matched) if j >= 0) == best


def test_the_interval_holds_the_score_and_narrows_with_more_images() -> None:
    draws = np.random.default_rng(0)
    there = draws.integers(50, 100, (200, 1, 2))
    both = (there * draws.uniform(0.4, 0.9, there.shape)).astype(int)
    counts = np.concatenate([both, there, there], 1)
    widths = []
    for images in (12, 200):
        low, high = bootstrap_interval(counts[:images], 500, 0)
        assert low < mean_iou(counts[:images].sum(0)) < high
        widths.append(high - low)
    assert widths[1] < 0.5 * widths[0]
    assert (
        bootstrap_interval(counts, 500, 0) == bootstrap_interval(counts, 500, 0) != bootstrap_interval(counts, 500, 1)
    )
    low, high = bootstrap_interval(counts[:1], 10, 0)
    assert low == high == pytest.approx(mean_iou(counts[0]))


def test_the_interval_is_that_of_a_loop() -> None:
    draws = np.random.default_rng(3)
    there = draws.integers(20, 90, (25, 1, 3))
    counts = np.concatenate([there // 2, there, there], 1) + 1
    scores = []
    for _ in range(4000):
        total = sum(counts[number] for number in draws.integers(0, 25, 25))
        scores.append(np.mean([total[0, k] / (total[1, k] + total[2, k] - total[0, k]) for k in range(3)]))
    np.testing.assert_allclose(bootstrap_interval(counts, 4000, 0), np.quantile(scores, [0.025, 0.975]), atol=0.002)


# k-way


def blocks(sizes: tuple[int, ...], seed: int, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors (M, 8) of a graph of groups, in shuffled order, and the group of each node."""
    draws = np.random.default_rng(seed)
    groups = draws.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = 3 * np.eye(len(sizes), 12)[groups] + noise * draws.standard_normal((len(groups), 12))
    return ncut_exact(torch.from_numpy(rows).float(), 8, gamma=0.2).eigenvectors.numpy(), groups


@pytest.mark.parametrize("name", DISCRETISERS)
@pytest.mark.parametrize("sizes", [(40, 40), (60, 25, 9), (30, 30, 30, 30, 12)])
def test_groups_are_found_without_labels(name: str, sizes: tuple[int, ...]) -> None:
    vectors, groups = blocks(sizes, len(sizes))
    found = DISCRETISERS[name](vectors, len(sizes), 0)
    assert (found.shape, found.dtype) == (groups.shape, np.int64)
    assert adjusted_rand_score(groups, found) == 1
    assert adjusted_rand_score(np.random.default_rng(0).permutation(groups), found) < 0.2


@pytest.mark.parametrize("name", DISCRETISERS)
def test_turned_and_scaled_eigenvectors_give_the_same_clusters(name: str) -> None:
    """Only the space of the top k counts, and the direction of each row in it."""
    vectors, _ = blocks((40, 30, 20), 1, noise=0.8)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    scale = np.random.default_rng(3).uniform(0.5, 2, (90, 1))
    first = DISCRETISERS[name](vectors[:, :3], 3, 0)
    second = DISCRETISERS[name](scale * (vectors[:, :3] @ turn), 3, 0)
    assert adjusted_rand_score(first, second) > 0.95
    np.testing.assert_array_equal(DISCRETISERS[name](vectors, 3, 0), first)


def test_the_rotation_is_at_least_as_good_as_any_of_a_thousand_others() -> None:
    """tr(X^T Z R) with the best X for each of many random rotations never exceeds the one found."""
    vectors, _ = blocks((30, 25, 15), 4, noise=1.0)
    rows = vectors[:, :3] / np.linalg.norm(vectors[:, :3], axis=1, keepdims=True)

    def objective(clusters: np.ndarray) -> float:
        sums = np.stack([rows[clusters == one].sum(0) for one in range(3)])
        return float(np.linalg.svd(sums)[1].sum())

    best = objective(rotation_clusters(vectors, 3, 0))
    draws = np.random.default_rng(5)
    for _ in range(1000):
        turn = np.linalg.qr(draws.standard_normal((3, 3)))[0]
        assert (
            np.trace(turn.T @ np.stack([rows[(rows @ turn).argmax(1) == one].sum(0) for one in range(3)]).T)
            <= best + 1e-6
        )


def test_a_node_of_zeros_is_a_node_like_others() -> None:
    vectors, _ = blocks((20, 20), 0)
    vectors[3] = 0
    for discretise in DISCRETISERS.values():
        assert len(discretise(vectors, 2, 0)) == 40
