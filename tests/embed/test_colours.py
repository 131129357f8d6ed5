"""Spectral t-SNE and colours: relations, duplicates, a quality floor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignedcut_cli.core.embed.colours import (
    colour_limits,
    marks_of,
    nearest_rows,
    nearest_sampled,
    rgb_cube,
    spectral_tsne,
    tsne,
)
from alignedcut_cli.core.numerics import NumericsError


def blobs(nodes: int, groups: int = 4, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(groups, width)) * 4
    member = np.arange(nodes) % groups
    return (centres[member] + generator.normal(size=(nodes, width)) * 0.3).astype(np.float32), member


def neighbour_share(places: np.ndarray, member: np.ndarray) -> float:
    """How often a node's nearest other node is of its own group."""
    distance = ((places[:, None] - places[None]) ** 2).sum(2)
    np.fill_diagonal(distance, np.inf)
    return float((member[distance.argmin(1)] == member).mean())


@pytest.mark.parametrize("dims", [2, 3])
def test_groups_stay_together(dims: int) -> None:
    rows, member = blobs(200)
    found = spectral_tsne(rows, dims, nodes=120, perplexity=10)
    assert found.coordinates.shape == (200, dims)
    assert len(found.sampled) == 120
    before = neighbour_share(np.random.default_rng(1).normal(size=(200, dims)), member)
    assert before < 0.5
    assert neighbour_share(found.coordinates, member) > 0.95


def test_the_same_seed_gives_the_same_places_and_another_does_not() -> None:
    rows, _ = blobs(60)
    first, again, other = (spectral_tsne(rows, 2, nodes=40, seed=seed).coordinates for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nodes_not_placed_take_the_place_of_their_nearest() -> None:
    rows, _ = blobs(80)
    found = spectral_tsne(rows, 3, nodes=30, perplexity=5)
    distance = ((rows[:, None].astype(np.float64) - rows[found.sampled][None]) ** 2).sum(2)
    expected = found.coordinates[found.sampled][distance.argmin(1)]
    assert np.array_equal(found.coordinates, expected)


@pytest.mark.parametrize("rows", [np.ones((50, 4), np.float32), np.repeat(blobs(8)[0], 10, 0)])
def test_duplicates_are_survived(rows: np.ndarray) -> None:
    places, divergence, perplexity = tsne(rows, 3, perplexity=30, seed=0)
    assert np.isfinite(places).all()
    assert np.isfinite(divergence)
    assert perplexity == pytest.approx((len(rows) - 1) / 3)


def test_fewer_columns_than_dimensions_are_enough() -> None:
    places, _, _ = tsne(blobs(30, width=2)[0], 3, perplexity=5, seed=0)
    assert places.shape == (30, 3)


def test_too_few_nodes_are_refused() -> None:
    with pytest.raises(NumericsError, match="needs at least 5 nodes, there are 4"):
        tsne(np.eye(4, dtype=np.float32), 3, perplexity=30, seed=0)


def test_ticks_count_the_iterations() -> None:
    from alignedcut_cli.core.embed.colours import ITERATIONS

    ticks: list[int] = []
    tsne(blobs(20)[0], 2, perplexity=5, seed=0, tick=ticks.append)
    assert sum(ticks) == sum(ITERATIONS)


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 40), marks=st.integers(1, 20))
def test_nearest_rows_are_nearest(rows: int, marks: int) -> None:
    generator = np.random.default_rng(rows * 100 + marks)
    left, right = (
        generator.normal(size=(rows, 5)).astype(np.float32),
        generator.normal(size=(marks, 5)).astype(np.float32),
    )
    distance = ((left[:, None].astype(np.float64) - right[None]) ** 2).sum(2)
    chosen = distance[np.arange(rows), nearest_rows(left, right)]
    np.testing.assert_allclose(chosen, distance.min(1), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 23),
    marks=st.integers(1, 700),
    width=st.integers(1, 21),
    far=st.sampled_from([0.0, 1.0, 30.0, 3e4]),
    seed=st.integers(0, 1000),
)
def test_the_nearest_mark_is_that_of_all_differences(rows: int, marks: int, width: int, far: float, seed: int) -> None:
    """As good as a float32 sum of squared differences, however far from the origin both lie; the first of equal ones."""
    generator = np.random.default_rng(seed)
    right = generator.normal(size=(marks, width)).astype(np.float32) + np.float32(far)
    right[marks // 2 :] = right[: marks - marks // 2]  # each lies twice
    left = np.concatenate([generator.normal(size=(rows, width)) + far, right[:3]]).astype(np.float32)
    distance = ((left[:, None].astype(np.float64) - right[None]) ** 2).sum(2)
    found = nearest_rows(left, right)
    chosen, least = distance[np.arange(len(left)), found], distance.min(1)
    assert (chosen <= least * (1 + 1e-6 * width)).all()
    assert all(not (right[:place] == right[place]).all(1).any() for place in found)
    assert np.array_equal(found[:1], nearest_rows(left[:1], right))


@settings(deadline=None, max_examples=30)
@given(nodes=st.integers(1, 50), dims=st.sampled_from([2, 3]), shift=st.floats(-1e3, 1e3))
def test_colours_fill_the_cube_and_do_not_depend_on_where_it_lies(nodes: int, dims: int, shift: float) -> None:
    places = np.random.default_rng(nodes).normal(size=(nodes, dims)).astype(np.float32) * 10
    colours = rgb_cube(places)
    assert colours.shape == (nodes, 3)
    assert colours.dtype == np.uint8
    moved = rgb_cube(places.astype(np.float64) + shift)
    assert np.abs(moved.astype(int) - rgb_cube(places.astype(np.float64)).astype(int)).max() <= 1


def test_three_axes_are_the_three_channels() -> None:
    axis = np.linspace(0, 1, 101)
    places = np.stack([axis, axis[::-1], np.full(101, 7.0)], 1)
    colours = rgb_cube(places)
    assert tuple(colours[0]) == (0, 255, 0)
    assert tuple(colours[-1]) == (255, 0, 0)
    assert (np.diff(colours[:, 0].astype(int)) >= 0).all()


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.sampled_from([2, 3]), st.integers(0, 3))
def test_limits_from_counts_are_those_of_all_nodes_to_the_bit(counts: list[int], dims: int, seed: int) -> None:
    number = np.array(counts)
    number[0] += 1
    places = np.random.default_rng(seed).normal(size=(len(counts), dims)).astype(np.float32).round(1 if seed else 6)
    wanted = np.quantile(np.repeat(places, number, 0), [0.01, 0.99], axis=0)
    found = colour_limits(places, number)
    assert found.dtype == wanted.dtype and np.array_equal(found, wanted)


@given(st.integers(1, 90), st.integers(1, 40))
@settings(deadline=None, max_examples=20)
def test_the_nearest_sampled_node_does_not_depend_on_the_range(step: int, count: int) -> None:
    rows, _ = blobs(90)
    ids = np.sort(np.random.default_rng(count).permutation(90)[:count])
    marks, scale = marks_of(rows, ids, (0, 90))
    distance = ((rows[:, None].astype(np.float64) - rows[ids][None]) ** 2).sum(2)
    ranges = [(start, min(start + step, 90)) for start in range(0, 90, step)]
    found = [nearest_sampled(rows[start:stop], marks, scale, ids - start) for start, stop in ranges]
    assert np.array_equal(np.concatenate(found), distance.argmin(1))
    assert np.array_equal(nearest_sampled(rows, marks, scale), distance.argmin(1))
