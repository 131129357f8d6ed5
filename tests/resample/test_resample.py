"""Draws, orders, intervals and p-values: by scipy, by loops, and by what they are the distribution of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, chisquare, rankdata, t

from alignedcut_cli.core.resample.draws import (
    bootstrap_weights,
    drawn_places,
    grouped_weights,
    mean_over_drawn,
    random_orders,
    sums_of_drawn,
)
from alignedcut_cli.core.resample.intervals import (
    bca,
    clustered_error,
    from_error,
    linear_difference,
    paired_difference,
    percentile,
    recentred,
)
from alignedcut_cli.core.resample.nulls import difference_p, holm, tail_p
from alignedcut_cli.core.resample.ranks import midranks
from alignedcut_cli.core.resample.words import stated, stated_error


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(0, 20), st.integers(0, 99))
def test_a_draw_has_as_many_units_as_there_are_and_the_seed_decides(units: int, draws: int, seed: int) -> None:
    weights = bootstrap_weights(units, draws, seed)
    assert weights.shape == (draws, units) and (weights.sum(1) == units).all()
    assert (weights == bootstrap_weights(units, draws, seed)).all()
    places = drawn_places(units, draws, seed)
    assert places.shape == (max(draws, 1), units) and places.max(initial=0) < units
    assert (np.sort(random_orders(units, draws, seed), 1) == np.arange(units)).all()


def test_units_are_drawn_as_often_as_one_another() -> None:
    counts = bootstrap_weights(6, 2000, 0).sum(0)
    assert chisquare(counts).pvalue > 0.001
    first = np.bincount(random_orders(5, 3000, 1)[:, 0], minlength=5)
    assert chisquare(first).pvalue > 0.001


def test_groups_are_drawn_whole() -> None:
    groups = np.array([7, 7, 2, 2, 2, 9])
    weights = grouped_weights(groups, 50, 0)
    for group in (2, 7, 9):
        mine = weights[:, groups == group]
        assert (mine == mine[:, :1]).all()
    assert (weights[:, [0, 2, 5]].sum(1) == 3).all()


def test_sums_of_drawn_are_those_of_repeated_units(monkeypatch: pytest.MonkeyPatch) -> None:
    each, weights = normal(9, 2, 3), bootstrap_weights(9, 7, 0)
    wanted = [np.repeat(each, row.astype(int), 0).sum(0) for row in weights]
    for size in (1 << 23, 13):
        monkeypatch.setattr("alignedcut_cli.core.resample.draws._CHUNK", size)
        assert np.concatenate(list(sums_of_drawn(weights, each))) == pytest.approx(np.array(wanted))


def test_intervals_leave_out_what_is_undefined() -> None:
    assert percentile(np.array([np.nan, *np.linspace(0, 1, 101)])) == pytest.approx((0.025, 0.975))
    for found in (
        percentile(np.array([np.nan])),
        recentred(np.array([np.nan]), 1.0),
        bca(np.zeros(0), 0.0, np.ones(3)),
    ):
        assert np.isnan(found).all()
    assert np.isnan(recentred(np.zeros(5), np.nan)).all()


def test_a_recentred_interval_is_as_wide_and_lies_around_the_value() -> None:
    draws = normal(400) + 3
    low, high = recentred(draws, 1.0)
    assert high - low == pytest.approx(np.ptp(percentile(draws))) and low < 1 < high


def test_bca_is_scipys() -> None:
    values = np.random.default_rng(1).exponential(size=40)
    without = np.array([np.delete(values, one).mean() for one in range(40)])
    draws = values[drawn_places(40, 20_000, 0)].mean(1)
    wanted = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0))
    found = bca(draws, values.mean(), without)
    assert found == pytest.approx(tuple(wanted.confidence_interval), abs=0.03)
    assert np.abs(np.array(found) - percentile(draws)).max() > 0.04  # it is another interval
    assert bca(draws, float(np.median(draws)), np.ones(40)) == pytest.approx(percentile(draws), abs=1e-9)


def test_a_paired_difference_loses_what_both_share() -> None:
    weights, shared = bootstrap_weights(30, 500, 0), 5 * normal(30)
    one, other = (shared + move + 0.1 * normal(30, seed=seed) for move, seed in ((0.2, 1), (0.0, 2)))
    draws, others = (weights @ values / 30 for values in (one, other))
    found = paired_difference(one.mean(), other.mean(), draws, others)
    assert found.low < found.value < found.high and found.low > 0 and found.p == 2 / 501
    unpaired = percentile(draws - (bootstrap_weights(30, 500, 1) @ other / 30))
    assert unpaired[1] - unpaired[0] > 10 * (found.high - found.low)
    nothing = paired_difference(0.0, 0.0, np.full(3, np.nan), np.zeros(3))
    assert np.isnan(nothing.p) and np.isnan(nothing.low)


def test_an_error_is_the_spread_of_the_draws_and_gives_students_interval() -> None:
    values = normal(200, 3)
    error = clustered_error((values - values.mean(0)) / 200, 200)
    assert error == pytest.approx(values.std(0, ddof=1) / np.sqrt(200))
    assert error == pytest.approx((bootstrap_weights(200, 4000, 0) @ values / 200).std(0), rel=0.06)
    low, high = from_error(values.mean(0), error, 200)
    assert (high - low) / error == pytest.approx(np.full(3, 2 * 1.97196), abs=1e-4)
    assert np.isnan(clustered_error(values[:1], 1)).all() and np.isnan(from_error(error, error, 1)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 500), st.floats(0.5, 0.999))
def test_t_intervals_and_p_values_are_scipys(units: int, level: float) -> None:
    low, high = from_error(np.array(0.3), np.array(2.0), units, level)
    assert (low, high) == pytest.approx(t.interval(level, units - 1, 0.3, 2.0))
    scores, others = normal(units), normal(units, seed=1)
    error = float(clustered_error(scores - others, units))
    found = linear_difference(1.5, 0.5, scores, others, level)
    assert (found.low, found.high) == pytest.approx(t.interval(level, units - 1, 1.0, error))
    assert found.p == pytest.approx(2 * t.sf(1 / error, units - 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
def test_midranks_are_scipys(size: int, kinds: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, kinds, (2, 3, size)).astype(np.float32)
    np.testing.assert_array_equal(midranks(values), rankdata(values, axis=-1))
    values[0, :, size // 2] = np.nan
    np.testing.assert_array_equal(midranks(values), rankdata(values, axis=-1, nan_policy="omit"))
    assert midranks(values[..., :0]).shape == (2, 3, 0)


def test_tails_and_differences_are_never_zero() -> None:
    assert tail_p(0.5, np.array([0.1, 0.5, 0.7])) == 3 / 4
    assert tail_p(9.0, np.zeros(99)) == 1 / 100
    assert difference_p(np.full(99, 0.3)) == 2 / 100 and difference_p(np.array([-1.0, 1.0])) == 1


def test_the_mean_over_subjects_varies_with_who_is_drawn() -> None:
    same = np.repeat(np.array([[0.1], [0.5], [0.9]]), 4000, 1)
    draws = mean_over_drawn(same, seed=0)
    assert draws.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.std() == pytest.approx(same[:, 0].std() / np.sqrt(3), rel=0.05)


def test_holm_is_the_step_down_rule() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_an_interval_says_what_was_resampled() -> None:
    assert stated("images", 1000) == "95% percentile interval, 1000 draws of images"
    assert stated_error("images") == "95% t interval, images being independent"
