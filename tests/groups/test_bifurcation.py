"""Where two groups part: the matched distance against least squares, and p-values that are uniform where nothing parts."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from alignedcut_cli.core.groups.bifurcation import Bifurcation, bifurcation, joint_p, total_variation
from alignedcut_cli.core.groups.two_way import without_effects
from alignedcut_cli.core.resample.draws import random_orders

GRID, CONCEPTS = (8, 8), 3
World = tuple[np.ndarray, np.ndarray, np.ndarray]


def parting_of(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray, concepts: int, *, permutations: int, seed: int
) -> Bifurcation:
    return bifurcation(before, after, labels, concepts, random_orders(len(labels), permutations, seed))


def small(seed: int, images: int = 5, places: int = 12, concepts: int = 2) -> World:
    """Concepts before and after (-1: none) and labels (-1: void), all at random: each (images, places)."""
    draws = np.random.default_rng(seed)
    before, after = draws.integers(-1, concepts, (2, images, places))
    return before, after, draws.choice([-1, 0, 1], (images, places), p=[0.1, 0.4, 0.5])


def dummies(image: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.hstack([np.eye(image.max() + 1)[image], np.eye(place.max() + 1)[place]])


def codes_of(labels: np.ndarray) -> np.ndarray:
    codes = labels.astype(float)
    for row, label in zip(codes, labels, strict=True):
        known = label[label >= 0]
        row[label < 0] = known.mean() if len(known) else 0.0
    return codes


def by_least_squares(world: World, concepts: int) -> tuple[float, list[float]]:
    """The distance, and total variation of each concept, from one regression an entry: next ~ label + image + place."""
    before, after, labels = world
    codes, found, weights = codes_of(labels), [], []
    for i in range(concepts):
        image, place = np.nonzero(before == i)
        if not len(image):
            found.append(0.0), weights.append(0.0)
            continue
        effects, label = dummies(image, place), codes[image, place]
        rest = label - effects @ np.linalg.lstsq(effects, label, rcond=None)[0]
        weights.append(float(rest @ rest) if rest @ rest > 1e-9 else 0.0)
        design = np.column_stack([label, effects])
        reached = [(after[image, place] == j).astype(float) for j in (*range(concepts), -1)]
        slopes = [np.linalg.lstsq(design, one, rcond=None)[0][0] for one in reached]
        found.append(0.5 * sum(map(abs, slopes)) if weights[-1] else 0.0)
    total = sum(weights)
    return (float(np.dot(found, weights)) / total if total else 0.0), found


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(2, 14), st.integers(1, 3), st.integers(0, 10**6))
def test_the_distance_is_that_of_least_squares(images: int, places: int, concepts: int, seed: int) -> None:
    world = small(seed, images, places, concepts)
    found = parting_of(*world, concepts, permutations=3, seed=0)
    both = [any({0, 1} <= set(world[2][b][world[0][b] == i].tolist()) for i in range(concepts)) for b in range(images)]
    distance, rows = by_least_squares(world, concepts) if any(both) else (0.0, [0.0] * concepts)
    assert found.distance == pytest.approx(distance, abs=1e-4)
    np.testing.assert_allclose(found.rows, rows, atol=1e-3)
    assert found.images == (sum(both) if found.weights.any() else 0)
    assert (found.rows * found.weights).sum() == pytest.approx(found.distance, abs=1e-4)
    assert 0 < found.p <= 1


def test_effects_are_those_of_dummy_variables() -> None:
    """Of cells thick and thin: with a third of them some images and places hang together by one cell, or not at all."""
    draws = np.random.default_rng(0)
    for share in (0.9, 0.33, 0.15):
        there, values = draws.random((7, 9)) < share, draws.standard_normal((7, 9, 3))
        image, place = np.nonzero(there)
        effects = dummies(image, place)
        expected = values[there] - effects @ np.linalg.lstsq(effects, values[there], rcond=None)[0]
        np.testing.assert_allclose(without_effects(values, there), expected, atol=1e-9)
    assert without_effects(values, np.zeros_like(there)).shape == (0, 3)


def ratio(world: World, codes: np.ndarray, concepts: int) -> float:
    """T of the docstring with these label maps, in loops."""
    before, after, _ = world
    above = below = 0.0
    for i in range(concepts):
        image, place = np.nonzero(before == i)
        effects = dummies(image, place)
        for j in (*range(concepts), -1):
            x = (after[image, place] == j).astype(float)
            rest = x - effects @ np.linalg.lstsq(effects, x, rcond=None)[0]
            scores = [sum(codes[b, place[n]] * rest[n] for n in np.flatnonzero(image == b)) for b in range(len(codes))]
            above += abs(sum(scores))
            below += sum(score**2 for score in scores) ** 0.5
    return above / below


def test_the_p_value_is_that_of_all_permutations_of_maps() -> None:
    """Five images have 120 orders: all are tried by the loop, 5,000 drawn by the test."""
    world = small(8, places=20)
    codes = codes_of(world[2])
    every = [ratio(world, codes[list(order)], 2) for order in permutations(range(5))]
    exact = np.mean([one >= every[0] - 1e-9 for one in every])
    assert 0.02 < exact < 0.98
    assert parting_of(*world, 2, permutations=5000, seed=0).p == pytest.approx(exact, abs=0.03)


def test_where_nodes_lie_before_is_taken_out_by_least_squares() -> None:
    """One concept of one regression an entry: next ~ label + image + place + two covariates."""
    before, after, labels = small(3, images=8, places=15, concepts=1)
    before = np.zeros_like(before)
    covariates = np.random.default_rng(1).standard_normal((8, 15, 2))
    found = bifurcation(before, after, labels, 1, random_orders(8, 3, 0), covariates)
    image, place = np.nonzero(before == 0)
    design = np.column_stack([codes_of(labels)[image, place], dummies(image, place), covariates[image, place]])
    reached = [(after[image, place] == j).astype(float) for j in (0, -1)]
    slopes = [np.linalg.lstsq(design, one, rcond=None)[0][0] for one in reached]
    assert found.distance == pytest.approx(0.5 * sum(map(abs, slopes)), abs=1e-6)
    same = bifurcation(before, after, labels, 1, random_orders(8, 3, 0), np.repeat(covariates, 2, -1))
    assert same.distance == pytest.approx(found.distance, abs=1e-6)  # a rank that is short does no harm


def test_groups_that_lie_apart_and_go_on_so_do_not_part() -> None:
    """Concepts are thirds of a field in which foreground lies higher, before and after: they seem to part unless freed."""
    freed, plain = [], []
    for seed in range(12):
        draws = np.random.default_rng(seed)
        field, inside = smooth(30, draws), smooth(30, draws) > 0.7
        layers = [field + 1.0 * inside + 0.2 * smooth(30, draws) for _ in range(2)]
        before, after = (np.searchsorted(np.quantile(one, [1 / 3, 2 / 3]), one).reshape(30, -1) for one in layers)
        world = (before, after, inside.reshape(30, -1).astype(np.int64), CONCEPTS, random_orders(30, 99, seed))
        plain.append(bifurcation(*world).p)
        freed.append(bifurcation(*world, layers[0].reshape(30, -1, 1)).p)
    print(np.round(plain, 2), np.round(freed, 2))
    assert np.mean(np.array(plain) <= 0.05) > 0.5
    assert np.mean(np.array(freed) <= 0.05) < 0.2


def test_several_maps_have_one_p_value_that_hangs_on_none_of_them() -> None:
    worlds = [world_of(3, "parted"), world_of(4, "free")]
    labels = worlds[0][2]
    orders = random_orders(len(labels), 199, 0)
    one, other = (bifurcation(before, after, labels, CONCEPTS, orders) for before, after, _ in worlds)
    mean = (one.ratios + other.ratios) / 2
    assert joint_p([one, other]) == joint_p([other, one]) == np.mean(mean >= mean[0] - 1e-9)
    assert joint_p([one, one]) == joint_p([one]) == one.p
    assert one.p <= joint_p([one, other]) < other.p


def test_what_cannot_be_compared_is_no_evidence() -> None:
    before, after, labels = small(0)
    alone = parting_of(before[:1], after[:1], labels[:1], 2, permutations=99, seed=0)
    assert (alone.distance, alone.p, alone.images) == (0.0, 1.0, 0)
    for same in (np.zeros_like(labels), np.ones_like(labels), np.full_like(labels, -1)):
        found = parting_of(before, after, same, 2, permutations=99, seed=0)
        assert (found.distance, found.p, found.images) == (0.0, 1.0, 0)
    nowhere = parting_of(np.full_like(before, -1), after, labels, 2, permutations=99, seed=0)
    assert (nowhere.distance, nowhere.p) == (0.0, 1.0)
    apart = np.where(before == 0, 1, 0)  # each concept has one group, and nodes of neither: no pair to compare
    apart[np.random.default_rng(0).random(apart.shape) < 0.5] = -1
    assert parting_of(before, after, apart, 2, permutations=99, seed=0).distance == 0
    kept = parting_of(before, np.where(before < 0, 0, before), labels, 2, permutations=99, seed=0)
    assert kept.distance == pytest.approx(0, abs=1e-6)
    assert kept.p == 1


def test_total_variation() -> None:
    one = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]])
    other = np.array([[0.0, 1, 0], [0.25, 0.25, 0.5], [1, 0, 0]])
    assert total_variation(one, other).tolist() == [1, 0.5, 0]


# null and planted worlds: fields that are smooth over an image, as features and objects are


def smooth(images: int, draws: np.random.Generator) -> np.ndarray:
    """(images, rows, cols) fields of unit spread whose neighbours are alike."""
    field = gaussian_filter(draws.standard_normal((images, *GRID)), (0, 1.5, 1.5), mode="wrap")
    return field / field.std()


def world_of(seed: int, kind: str, images: int = 30) -> World:
    """Foreground (a quarter of each image, a smooth piece or two) and background; next concepts follow a field of their own.

    free: nothing else. before: foreground mostly lies in another concept already. place: foreground lies in the middle,
    and nodes in the middle go elsewhere. parted: foreground goes elsewhere.
    """
    draws = np.random.default_rng(seed)
    middle = 1.5 * np.outer(*[np.sin(np.pi * (np.arange(size) + 0.5) / size) for size in GRID])
    objects = smooth(images, draws) + (kind == "place") * middle
    inside = objects > np.quantile(objects, 0.75, axis=(1, 2), keepdims=True)
    start = smooth(images, draws) + 1.2 * (kind == "before") * inside
    before = np.searchsorted(np.quantile(start, [1 / 3, 2 / 3]), start)
    drift = smooth(images, draws) + 0.5 * draws.standard_normal((images, 1, 1))
    drift += (kind == "place") * middle + 1.0 * (kind == "parted") * inside
    after = (before + (drift > 0.7)) % CONCEPTS
    return tuple(one.reshape(images, -1).astype(np.int64) for one in (before, after, inside))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["free", "before", "place"])
def test_p_values_are_uniform_where_nothing_parts(kind: str) -> None:
    found = [parting_of(*world_of(seed, kind), CONCEPTS, permutations=99, seed=seed).p for seed in range(200)]
    p = np.array(found)
    assert kstest(p - np.random.default_rng(0).uniform(0, 0.01, len(p)), "uniform").pvalue > 0.005
    assert (p <= 0.05).mean() < 0.1


def test_what_parts_is_found() -> None:
    found = [parting_of(*world_of(seed, "parted"), CONCEPTS, permutations=199, seed=seed) for seed in range(10)]
    assert max(one.p for one in found) <= 0.01
    assert min(one.distance for one in found) > 1.5 * max(one.expected for one in found)


def test_taking_nodes_as_independent_would_find_partings_where_there_are_none() -> None:
    """The same null by shuffling labels over the nodes of an image: the test that this one is there to replace."""
    p = []
    for seed in range(25):
        before, after, labels = world_of(seed, "free")
        distance = parting_of(before, after, labels, CONCEPTS, permutations=1, seed=0).distance
        draws = np.random.default_rng(seed)
        others = (parting_of(before, after, draws.permuted(labels, axis=1), CONCEPTS, permutations=1, seed=0)
                  for _ in range(19))  # fmt: skip
        p.append((1 + sum(one.distance >= distance for one in others)) / 20)
    assert np.mean(np.array(p) <= 0.05) > 0.3
