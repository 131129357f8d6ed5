"""The search of nearest places against plain sorting: exact, whatever the precision, the bounds, tiles and threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from alignedcut_cli.core.graph import cosine_bounds, nearest_search
from alignedcut_cli.core.graph.neighbours import Neighbours, nearest_across, nearest_among
from alignedcut_cli.core.graph.quantised_cosines import PRECISIONS, cosines_at, error_at
from alignedcut_cli.core.numerics import torch_threads

P, WIDTH = 7, 48


def decaying(images: int, seed: int, slope: float = 2.0) -> Tensor:
    """Unit rows (images * P, WIDTH) with a few directions that matter, and a mean that all share."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(images * P, WIDTH, generator=random) * torch.linspace(0, slope, WIDTH).neg().exp2() ** 2
    return normalize(rows + 0.3, dim=1)


def in_eighths(images: int, seed: int) -> Tensor:
    """Unit rows of +-1/4 in 16 channels: cosines are multiples of 1/8 and exact in float32, and most have equals."""
    random = torch.Generator().manual_seed(seed)
    return (2 * torch.randint(2, (images * P, 16), generator=random) - 1) / 4


def sorted_nearest(queries: Tensor, keys: Tensor, count: int, threshold: float, per_image: int | None) -> list[dict]:
    """Of each query the `count` largest cosines above the threshold, equal ones by number, in float64."""
    found = []
    for i, row in enumerate((queries.double() @ keys.double().T).tolist()):
        others = [j for j in range(len(row)) if not per_image or i // per_image != j // per_image]
        best = sorted(others, key=lambda j: (-row[j], j))[:count]
        found.append({j: row[j] for j in sorted(best) if row[j] > threshold})
    return found


def assert_found(found: Neighbours, wanted: list[dict]) -> None:
    for i, (count, row) in enumerate(zip(found.counts, wanted, strict=True)):
        assert found.ids[i, :count].tolist() == list(row)
        np.testing.assert_allclose(found.values[i, :count], list(row.values()), atol=1e-6)


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds from few channels even where there are few rows, and tiles that divide nothing."""
    monkeypatch.setattr(cosine_bounds, "SMALLEST", 1)
    monkeypatch.setattr(nearest_search, "ROW_TILE", 5)
    monkeypatch.setattr(nearest_search, "COLUMN_TILE", 13)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("count", "threshold"), [(6, 0.1), (6, 0.85), (300, 0.0)])
def test_the_nearest_are_those_of_sorting(precision: str, same: bool, count: int, threshold: float) -> None:
    queries = decaying(20, 1)
    keys = queries if same else decaying(20, 2)
    assert cosine_bounds.cosine_bounds(queries, keys, 6, P).queries.shape[1] < WIDTH
    found = nearest_across(queries, keys, P, count, threshold, precision=precision)
    assert_found(found, sorted_nearest(queries, keys, count, threshold, P))


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_of_equal_cosines_and_of_duplicates_the_first_are_kept(precision: str, same: bool, threshold: float) -> None:
    queries = in_eighths(20, 3)
    queries[60:100] = queries[20:60]
    keys = queries if same else in_eighths(20, 4)
    found = nearest_across(queries, keys, P, 9, threshold, precision=precision)
    assert_found(found, sorted_nearest(queries, keys, 9, threshold, P))


def test_duplicates_have_equal_cosines_to_the_last_bit(bounded: None) -> None:
    rows = decaying(20, 5)
    twice = torch.cat([rows, rows])
    found = nearest_across(twice, twice, P, 280, -2.0)
    dense = np.full((280, 280), np.nan, np.float32)
    for i, (ids, values, count) in enumerate(zip(found.ids, found.values, found.counts, strict=True)):
        dense[i, ids[:count]] = values[:count]
    other = np.arange(140) // P != np.arange(140)[:, None] // P
    np.testing.assert_array_equal(dense[:140, :140][other], dense[:140, 140:][other])
    np.testing.assert_array_equal(dense, dense.T)


@pytest.mark.usefixtures("bounded")
def test_other_places_than_the_own_are_searched_alike() -> None:
    queries, keys = decaying(4, 6), decaying(30, 7)
    assert_found(nearest_among(queries, keys, 8, 0.2), sorted_nearest(queries, keys, 8, 0.2, None))


@pytest.mark.parametrize("same", [True, False])
def test_threads_and_precisions_change_no_bit(bounded: None, same: bool) -> None:
    queries = decaying(40, 8)
    keys = queries if same else decaying(40, 9)
    with torch_threads(1):
        alone = nearest_across(queries, keys, P, 10, 0.1)
    for precision in PRECISIONS:
        with torch_threads(4):
            found = nearest_across(queries, keys, P, 10, 0.1, precision=precision)
        for name in ("ids", "values", "counts"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))


def test_few_channels_bound_every_cosine_and_noise_takes_them_all(bounded: None) -> None:
    queries, keys = decaying(30, 10), decaying(30, 11)
    bounds = cosine_bounds.cosine_bounds(queries, keys, 5, P)
    assert bounds.queries.shape[1] == bounds.keys.shape[1] < WIDTH
    above = bounds.queries.double() @ bounds.keys.double().T + bounds.slack - queries.double() @ keys.double().T
    assert float(above.min()) >= 0 and float(above.median()) < 0.2
    noise = decaying(30, 12, slope=0.0) - 0.3
    assert cosine_bounds.cosine_bounds(noise, noise, 5, P).queries is noise


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_a_precision_may_be_off_is_not_exceeded(precision: str) -> None:
    units, landmarks = decaying(20, 13), decaying(20, 14)
    off = (cosines_at(landmarks, precision)(units).double() - units.double() @ landmarks.double().T).abs()
    error = error_at(landmarks, precision)(units)
    assert float(off.max()) <= error + 1e-6 and error < 0.05


def test_like_rows_lie_side_by_side() -> None:
    queries, keys = decaying(20, 15), decaying(30, 16)
    own, theirs = cosine_bounds.like_beside_like(queries, keys, 30)
    assert sorted(own.tolist()) == list(range(140)) and sorted(theirs.tolist()) == list(range(210))
    near = (keys[theirs][:-1] * keys[theirs][1:]).sum(1).mean()
    assert float(near) > float((keys[:-1] * keys[1:]).sum(1).mean()) + 0.01
    centres = keys[torch.linspace(0, 209, 8).long()].T
    cells = [(rows @ centres).argmax(1) for rows in (keys[theirs], queries[own])]
    assert all((one.diff() >= 0).all() for one in cells)
    mine, same = cosine_bounds.like_beside_like(keys, keys, 30)
    assert mine is same and torch.equal(mine, theirs)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("same", [True, False])
def test_ticks_count_every_row(same: bool) -> None:
    keys = decaying(30, 17)
    ticks: list[int] = []
    nearest_across(keys if same else decaying(30, 18), keys, P, 6, 0.1, tick=ticks.append)
    assert sum(ticks) == 210 and len(ticks) > 10 and min(ticks) >= 0
