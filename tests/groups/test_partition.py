"""Partitions: cells are those of nearest means, planted groups come back, and the seed does not decide them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignedcut_cli.core.groups import partition
from alignedcut_cli.core.groups.partition import nearest_centre, partition_centres
from alignedcut_cli.core.groups.sums import add_rows
from alignedcut_cli.core.numerics import NumericsError


def blobs(groups: int, each: int = 60, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Places (groups * each, groups) around the corners of a simplex, and their groups."""
    of = np.repeat(np.arange(groups), each)
    return np.eye(groups)[of] + spread * np.random.default_rng(seed).standard_normal((len(of), groups)), of


@pytest.mark.parametrize("groups", [2, 5, 8])
def test_planted_groups_come_back_whatever_the_seed(groups: int) -> None:
    places, of = blobs(groups)
    for seed in range(3):
        found = nearest_centre(places, partition_centres(places, [groups], seed)[0])
        assert len(np.unique(of * groups + found)) == groups


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 6), st.integers(0, 99))
def test_centres_are_the_means_of_their_cells(count: int, seed: int) -> None:
    places = np.random.default_rng(seed).standard_normal((80, 3))
    first, centres = partition_centres(places, [2, count], 0)
    cells = nearest_centre(places, centres)
    apart = np.linalg.norm(places[:, None] - centres[None], axis=-1)
    assert (apart[np.arange(80), cells] == apart.min(1)).all()
    for k in range(count):
        if (cells == k).any():
            assert centres[k] == pytest.approx(places[cells == k].mean(0), abs=0.3)  # at rest, or near after 20 rounds
    within = ((places - centres[cells]) ** 2).sum()
    assert within <= ((places - first[nearest_centre(places, first)]) ** 2).sum() + 1e-9


def test_places_in_another_order_have_the_same_cells() -> None:
    places = np.random.default_rng(2).standard_normal((200, 4))
    order = np.random.default_rng(3).permutation(200)
    one, other = (partition_centres(rows, [4], 0)[0] for rows in (places, places[order]))
    cells = (nearest_centre(places, centres) for centres in (one, other))
    assert len({*zip(*(each.tolist() for each in cells), strict=True)}) == 4


def test_a_sample_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    places, of = blobs(4)
    monkeypatch.setattr(partition, "SAMPLE", 50)
    centres = partition_centres(places, [4], 1)[0]
    cells = nearest_centre(places, centres)
    assert len(np.unique(of * 4 + cells)) == 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_nearest_centre_is_the_first_of_the_nearest(dtype: type) -> None:
    random = np.random.default_rng(4)
    places, centres = random.standard_normal((90, 5)).astype(dtype), random.standard_normal((7, 5))
    centres[5] = centres[2]
    apart = ((places[:, None].astype(np.float64) - centres) ** 2).sum(-1)
    found = nearest_centre(places[:, ::-1], centres[:, ::-1])
    assert (found == apart.argmin(1)).all() and 2 in found and 5 not in found
    written, sums, sizes = np.empty(90, np.int64), np.zeros((7, 5)), np.zeros(7, np.int64)
    partition._assign.py_func(places.astype(np.float64), centres, written, sums, sizes)
    assert (written == found).all() and (sizes == np.bincount(found, minlength=7)).all()
    wanted = np.stack([places[found == cell].astype(np.float64).sum(0) for cell in range(7)])
    np.testing.assert_allclose(sums, wanted, atol=1e-12)
    again, compiled_sums, _ = partition._assigned(places, centres)
    assert (again == found).all()
    np.testing.assert_allclose(compiled_sums, wanted, atol=1e-12)


def test_rows_are_added_up_by_group() -> None:
    random = np.random.default_rng(5)
    rows, groups = random.standard_normal((70, 4)), random.integers(0, 6, 70)
    wanted = np.stack([rows[groups == one].sum(0) for one in range(6)])
    for add in (add_rows, add_rows.py_func):
        sums = np.zeros((6, 4))
        add(rows, groups, sums)
        np.testing.assert_allclose(sums, wanted, atol=1e-12)


def test_too_few_places_are_told() -> None:
    with pytest.raises(NumericsError, match="no more than 3 places differ"):
        partition_centres(np.eye(3)[[0, 1, 2, 2, 1]], [2, 4], 0)
