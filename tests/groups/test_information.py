"""Adjusted mutual information against scikit-learn, and the null's shuffled maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score

from alignedcut_cli.core.groups.information import (
    adjusted_information,
    grid_positions,
    image_tables,
    information_of_images,
    shuffled_maps,
)


def labellings(nodes: int, clusters: int, classes: int, shared: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    ours = random.integers(clusters, size=nodes)
    return ours, np.where(random.random(nodes) < shared, ours % classes, random.integers(classes, size=nodes))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 400), st.integers(1, 12), st.integers(2, 9), st.sampled_from([0.0, 0.3, 0.9]), st.integers(0, 10**6)
)
def test_it_is_that_of_scikit_learn(nodes: int, clusters: int, classes: int, shared: float, seed: int) -> None:
    ours, theirs = labellings(nodes, clusters, classes, shared, seed)
    found = adjusted_information(image_tables(ours[None], theirs[None], clusters, classes))[0]
    if len(set(theirs.tolist())) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(adjusted_mutual_info_score(theirs, ours), abs=1e-8)


def test_large_tables_lose_nothing_to_the_sums_that_stop_early() -> None:
    ours, theirs = labellings(60_000, 16, 40, 0.3, 1)
    found = adjusted_information(image_tables(ours[None], theirs[None], 16, 40))[0]
    assert found == pytest.approx(adjusted_mutual_info_score(theirs, ours), abs=1e-8)


def test_void_is_left_out_and_one_class_says_nothing() -> None:
    clusters = np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
    labels = np.array([[0, -1, 1, 1], [1, 1, -1, 1]])
    tables = image_tables(clusters, labels, 2, 2)
    assert tables.tolist() == [[[1, 0], [0, 2]], [[0, 1], [0, 2]]]
    told = adjusted_information(tables)
    assert told[0] == pytest.approx(1) and np.isnan(told[1])
    found = information_of_images(tables, 50, 0)
    assert found["within"] == pytest.approx(1) and found["dataset"] is not None
    assert information_of_images(tables[1:], 50, 0) == {
        "dataset": None,
        "dataset.interval": None,
        "within": None,
        "within.interval": None,
    }


def test_intervals_hold_the_value_and_narrow_with_images() -> None:
    def widths(images: int) -> list[float]:
        parts = [labellings(80, 5, 4, 0.2 + 0.6 * (seed % 7) / 7, seed) for seed in range(images)]
        tables = image_tables(np.stack([a for a, _ in parts]), np.stack([b for _, b in parts]), 5, 4)
        found = information_of_images(tables, 300, 0)
        for scope in ("dataset", "within"):
            low, high = found[f"{scope}.interval"]  # type: ignore[misc]
            assert low < found[scope] < high  # type: ignore[operator]
        return [found[f"{scope}.interval"][1] - found[f"{scope}.interval"][0] for scope in ("dataset", "within")]  # type: ignore[index, operator]

    assert all(many < few for many, few in zip(widths(100), widths(10), strict=True))


def test_shuffled_maps_keep_each_map_and_lose_its_place() -> None:
    maps = np.random.default_rng(0).integers(5, size=(6, 4, 7))
    found = shuffled_maps(maps, np.random.default_rng(1))
    assert found.shape == maps.shape and (found != maps).any()
    assert sorted(np.bincount(one.reshape(-1), minlength=5).tolist() for one in found) == sorted(
        np.bincount(one.reshape(-1), minlength=5).tolist() for one in maps
    )
    # a shift round the torus keeps neighbours: each map is some roll of one of the given ones
    rolls = {np.roll(one, (i, j), (0, 1)).tobytes() for one in maps for i in range(4) for j in range(7)}
    assert all(one.astype(maps.dtype).tobytes() in rolls for one in found)


def test_positions_are_equal_parts() -> None:
    found = grid_positions((4, 6), 2)
    assert found.tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2
    counts = np.bincount(grid_positions((14, 14), 4).reshape(-1))
    assert len(counts) == 16 and counts.min() == 9 and counts.max() == 16
