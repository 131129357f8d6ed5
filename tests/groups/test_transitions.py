"""Concepts' centres and members, transitions and path lengths, against loops, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from sklearn.metrics import confusion_matrix

from alignedcut_cli.core.groups.centres import ball_members, clear_radius, farthest_centres
from alignedcut_cli.core.groups.transitions import (
    mean_by_image,
    probabilities,
    step_lengths,
    transition_counts,
)


def points(count: int = 60, dims: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dims))


# centres and balls


@pytest.mark.parametrize("dims", [2, 3, 20])
def test_each_centre_is_the_farthest_from_those_before(dims: int) -> None:
    places = points(dims=dims)
    chosen = farthest_centres(places, 6, seed=3)
    assert chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == 6
    for number in range(1, 6):
        apart = cdist(places, places[chosen[:number]]).min(1)
        assert apart[chosen[number]] == apart.max()


def test_the_first_centre_follows_the_seed_and_the_rest_the_places() -> None:
    places = points(500)
    assert np.array_equal(farthest_centres(places, 5, 1), farthest_centres(places, 5, 1))
    assert len({int(farthest_centres(places, 1, seed)[0]) for seed in range(20)}) > 10
    moved = farthest_centres(3 * places + 7, 5, 1)
    assert np.array_equal(moved, farthest_centres(places, 5, 1))


def test_ties_go_to_the_smaller_id() -> None:
    square = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    first = int(farthest_centres(square, 1, 0)[0])
    assert farthest_centres(square, 3, 0).tolist()[1:] == [3 - first, min({0, 1, 2, 3} - {first, 3 - first})]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.floats(0, 3), st.integers(0, 10**6))
def test_members_are_those_of_a_loop(count: int, radius: float, seed: int) -> None:
    places = points(25, 3, seed)
    centres = places[farthest_centres(places, count, seed)]
    found = ball_members(places, centres, radius)
    assert found.dtype == np.int64
    for place, member in zip(places, found, strict=True):
        apart = [float(np.linalg.norm(place - centre)) for centre in centres]
        best = int(np.argmin(apart))
        if abs(apart[best] - radius) > 1e-12:
            assert member == (best if apart[best] <= radius else -1)


def test_a_place_in_two_balls_belongs_to_the_nearer_and_the_edge_is_inside() -> None:
    centres = np.array([[0.0, 0], [4, 0]])
    places = np.array([[1.0, 0], [3, 0], [2, 0], [-3, 0], [-3.001, 0]])
    assert ball_members(places, centres, 3.0).tolist() == [0, 1, 0, 0, -1]


def test_the_clear_radius_is_the_largest_without_overlap() -> None:
    centres = points(5)
    radius = clear_radius(centres)
    assert radius == pytest.approx(pdist(centres).min() / 2)
    many = points(4000, seed=1) * 2
    inside = cdist(many, centres) <= radius * (1 - 1e-9)
    assert inside.sum(1).max() == 1
    assert (cdist((centres[:, None] + centres[None]).reshape(-1, 2) / 2, centres) <= radius * 1.001).sum(1).max() == 2
    assert clear_radius(centres[:1]) == 0


# transitions


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 10**6))
def test_counts_are_a_confusion_matrix(concepts: int, nodes: int, seed: int) -> None:
    before, after = np.random.default_rng(seed).integers(-1, concepts, (2, nodes))
    counts = transition_counts(before, after, concepts)
    labels = [*range(concepts), -1]
    expected = confusion_matrix(before, after, labels=labels) if nodes else np.zeros((concepts + 1,) * 2, int)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, expected)
    order = np.random.default_rng(seed).permutation(nodes)
    np.testing.assert_array_equal(transition_counts(before[order], after[order], concepts), counts)


def test_probabilities_are_shares_of_their_row_and_the_last_row_is_left_out() -> None:
    counts = np.array([[3, 1, 0], [0, 0, 0], [5, 5, 5]])
    assert probabilities(counts).tolist() == [[0.75, 0.25, 0], [0, 0, 0]]
    stacked = probabilities(np.stack([counts, 2 * counts]))
    np.testing.assert_array_equal(stacked[0], stacked[1])


# lengths


def test_lengths_are_euclidean() -> None:
    before, after = points(12, 3, 0).reshape(4, 3, 3), points(12, 3, 1).reshape(4, 3, 3)
    expected = [np.sqrt(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)))
                for x, y in zip(before.reshape(-1, 3), after.reshape(-1, 3), strict=True)]  # fmt: skip
    np.testing.assert_allclose(step_lengths(before, after).reshape(-1), expected)


def test_the_error_of_a_mean_is_that_of_images_not_of_nodes() -> None:
    """Every node of an image alike: 40 images of 50 nodes say no more than 40 numbers."""
    draws = np.random.default_rng(0)
    per_image = draws.standard_normal(40)
    values = np.repeat(per_image[:, None], 50, 1)
    mean, error = mean_by_image(values, np.ones((40, 50), bool))
    assert mean == pytest.approx(per_image.mean())
    assert error == pytest.approx(per_image.std(ddof=1) / np.sqrt(40))


def test_the_error_of_a_mean_covers_the_truth_where_images_differ_in_size() -> None:
    """95 % intervals of 300 draws: the share that holds the truth; nodes taken as independent would hold it too seldom."""
    draws = np.random.default_rng(1)
    inside = naive = 0
    for _ in range(300):
        values = draws.standard_normal((60, 1)) + 0.5 * draws.standard_normal((60, 30))
        chosen = draws.random((60, 30)) < draws.uniform(0.1, 0.9, (60, 1))
        mean, error = mean_by_image(values, chosen)
        inside += abs(mean) < 1.96 * error
        naive += abs(mean) < 1.96 * values[chosen].std() / np.sqrt(chosen.sum())
    assert 0.91 < inside / 300 < 0.98
    assert naive / 300 < 0.6


def test_the_mean_of_few_images() -> None:
    values = np.array([[1.0, 3.0], [5.0, 7.0]])
    assert mean_by_image(values, np.array([[True, True], [False, False]])) == (2.0, 0.0)
    assert mean_by_image(values, np.zeros((2, 2), bool)) == (0.0, 0.0)
