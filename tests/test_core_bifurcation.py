"""Where two groups part: the matched distance against loops, and p-values that are uniform where nothing parts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from alignedcut_cli.core.bifurcation import bifurcation, holm, matched_differences, total_variation
from alignedcut_cli.core.transitions import transition_counts

GRID = (8, 8)


def counts(images: int, concepts: int, seed: int, most: int = 6) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.random.default_rng(seed).integers(0, most, (2, images, concepts, concepts + 1))
    return one, other


def by_loop(one: np.ndarray, other: np.ndarray, signs: np.ndarray) -> float:
    """The matched distance with the difference of image b multiplied by signs[b], one number at a time."""
    images, concepts, size = one.shape
    total = distance = 0.0
    for i in range(concepts):
        row, weight = [0.0] * size, 0.0
        for b in range(images):
            f, g = float(one[b, i].sum()), float(other[b, i].sum())
            if f and g:
                w = f * g / (f + g)
                weight += w
                for j in range(size):
                    row[j] += signs[b] * w * (one[b, i, j] / f - other[b, i, j] / g)
        total += weight
        distance += 0.5 * sum(abs(value) for value in row)
    return distance / total if total else 0.0


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
def test_the_distance_is_that_of_a_loop(images: int, concepts: int, seed: int) -> None:
    one, other = counts(images, concepts, seed, most=2)
    found = bifurcation(one, other, permutations=9, seed=0)
    assert found.distance == pytest.approx(by_loop(one, other, np.ones(images)))
    assert 0 <= found.distance <= 1
    assert (found.rows * found.weights).sum() == pytest.approx(found.distance)
    back = bifurcation(other, one, permutations=9, seed=0)
    assert back.distance == pytest.approx(found.distance)
    assert back.p == found.p


def test_the_p_value_is_that_of_all_flips() -> None:
    """Seven images have 128 flips: all are tried by the loop, 20,000 drawn by the test."""
    one, other = counts(7, 3, seed=4)
    one[:, :, 0] += 2
    distance = by_loop(one, other, np.ones(7))
    every = np.array([by_loop(one, other, np.array(signs)) for signs in product((-1, 1), repeat=7)])
    exact = (every >= distance - 1e-12).mean()
    assert 0.01 < exact < 0.5
    found = bifurcation(one, other, permutations=20_000, seed=0)
    assert found.p == pytest.approx(exact, abs=0.01)
    assert found.expected == pytest.approx(every.mean(), abs=0.005)


def test_images_that_lack_a_group_in_a_concept_say_nothing_of_it() -> None:
    one, other = counts(5, 2, seed=0)
    one[0, 1] = 0
    other[2] = 0
    more = bifurcation(one, other, permutations=99, seed=0)
    assert more.images == 4
    one[2] += 50
    other[0, 1] += 50
    same = bifurcation(one, other, permutations=99, seed=0)
    assert (same.distance, same.p) == (more.distance, more.p)
    _, weights = matched_differences(one, other)
    assert weights[2].tolist() == [0, 0]
    assert weights[0, 1] == 0


def test_nothing_to_compare_gives_no_distance_and_no_evidence() -> None:
    one, other = counts(4, 2, seed=0)
    found = bifurcation(one, np.zeros_like(other), permutations=99, seed=0)
    assert (found.distance, found.p, found.images) == (0.0, 1.0, 0)
    alike = bifurcation(one, one, permutations=99, seed=0)
    assert (alike.distance, alike.p) == (0.0, 1.0)


def test_total_variation() -> None:
    one = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]])
    other = np.array([[0.0, 1, 0], [0.25, 0.25, 0.5], [1, 0, 0]])
    assert total_variation(one, other).tolist() == [1, 0.5, 0]


def test_holm_is_the_step_down_rule() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


# null and planted worlds: fields that are smooth over an image, as features and objects are


def smooth(images: int, draws: np.random.Generator, spread: float = 1.5) -> np.ndarray:
    """(images, rows, cols) fields whose neighbours are alike."""
    return gaussian_filter(draws.standard_normal((images, *GRID)), (0, spread, spread), mode="wrap")


def levels(field: np.ndarray, count: int) -> np.ndarray:
    return np.searchsorted(np.quantile(field, np.arange(1, count) / count), field)


def null_world(seed: int, *, parted_before: bool, images: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Counts of foreground (a quarter of an image, one smooth piece or two) and background that pass alike.

    The next concept follows the last one and a field of its own, smooth over the image and shifted from image to image,
    so that the nodes of an image are anything but independent. With `parted_before`, foreground and background already
    lie in different concepts for the most part.
    """
    draws = np.random.default_rng(seed)
    objects = smooth(images, draws)
    inside = objects > np.quantile(objects, 0.75, axis=(1, 2), keepdims=True)
    before = levels(smooth(images, draws) + (0.8 if parted_before else 0) * inside * objects.std(), 3)
    drift = smooth(images, draws) + 0.3 * draws.standard_normal((images, 1, 1))
    after = (before + (drift > 0)) % 3
    made = [
        np.stack([transition_counts(a[m], b[m], 3)[:-1] for a, b, m in zip(before, after, chosen, strict=True)])
        for chosen in (inside, ~inside)
    ]
    return made[0], made[1]


@pytest.mark.parametrize("parted_before", [False, True])
def test_p_values_are_uniform_where_nothing_parts(parted_before: bool) -> None:
    p = [
        bifurcation(*null_world(seed, parted_before=parted_before), permutations=199, seed=seed).p
        for seed in range(200)
    ]
    spread = np.array(p) - np.random.default_rng(0).uniform(0, 1 / 200, len(p))  # p comes in steps of 1/200
    assert kstest(spread, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.09


def test_taking_nodes_as_independent_would_find_partings_where_there_are_none() -> None:
    """The same null by shuffling labels over the nodes of an image: the test that this one is there to replace."""
    found = []
    for seed in range(40):
        one, other = null_world(seed, parted_before=False)
        draws = np.random.default_rng(seed)
        distance = by_loop(one, other, np.ones(len(one)))
        reached = sum(by_loop(*shuffled(one, other, draws), np.ones(len(one))) >= distance for _ in range(19))
        found.append((1 + reached) / 20)
    assert np.mean(np.array(found) <= 0.05) > 0.3


def shuffled(one: np.ndarray, other: np.ndarray, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Within image and concept, as many nodes as `one` has, drawn from both."""
    both, made = one + other, np.zeros_like(one)
    for b, i in np.ndindex(one.shape[:2]):
        made[b, i] = draws.multivariate_hypergeometric(both[b, i], one[b, i].sum())
    return made, both - made
