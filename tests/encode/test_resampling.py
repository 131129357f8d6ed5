"""Draws, intervals, nulls and ceilings: by what they are the distribution of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alignedcut_cli.core.encode.reliability import halves, share_of_snr, spearman_brown, split_half
from alignedcut_cli.core.encode.resampling import correlation_draws, permuted_correlation, rank_correlation
from alignedcut_cli.core.numerics import NumericsError
from alignedcut_cli.core.resample.draws import bootstrap_weights, random_orders


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_a_draw_of_a_correlation_is_that_of_the_rows_drawn() -> None:
    predicted, responses = normal(15, 4), normal(15, 4) + normal(15, 4, seed=1) + 9
    responses[:, 3] = 2.0
    weights = torch.from_numpy(bootstrap_weights(15, 5, seed=3))
    assert (weights.sum(1) == 15).all() and torch.equal(weights, torch.from_numpy(bootstrap_weights(15, 5, seed=3)))
    found = correlation_draws(torch.from_numpy(predicted), torch.from_numpy(responses), weights)
    for draw, row in enumerate(weights.long()):
        rows = np.repeat(np.arange(15), row)
        for column in range(3):
            wanted = np.corrcoef(predicted[rows, column], responses[rows, column])[0, 1]
            assert found[draw, column].item() == pytest.approx(wanted, abs=1e-10)
    assert (found[:, 3] == 0).all()


def test_permuted_correlations_are_those_of_permuted_predictions() -> None:
    predicted, responses, orders = normal(10, 3), normal(10, 3, seed=1), torch.from_numpy(random_orders(10, 6, seed=0))
    predicted[:, 2] = 1.0
    found = permuted_correlation(torch.from_numpy(predicted), torch.from_numpy(responses), orders)
    for number, order in enumerate(orders.numpy()):
        wanted = sum(np.corrcoef(predicted[order, v], responses[:, v])[0, 1] for v in range(2)) / 3
        assert found[number].item() == pytest.approx(wanted, abs=1e-12)


def test_a_rank_correlation_has_an_interval_and_needs_three_entries() -> None:
    one = normal(40)
    score, low, high = rank_correlation(one, one + 0.5 * normal(40, seed=1), 500, 0)
    assert low < score < high and score > 0.7
    assert np.isnan(rank_correlation(one[:2], one[:2], 10, 0)).all()


def test_the_ceiling_of_snr_is_the_signals_share_of_the_variance_of_means() -> None:
    signal, repeats = 0.7 * normal(200_000), 3
    mean = signal + normal(repeats, 200_000, seed=1).mean(0)
    assert share_of_snr(np.array([0.7]), repeats)[0] == pytest.approx(signal.var() / mean.var(), abs=0.01)


def test_spearman_brown() -> None:
    assert spearman_brown(0.5) == pytest.approx(2 * 0.5 / 1.5)
    assert spearman_brown(0.3, 4) == pytest.approx(spearman_brown(spearman_brown(0.3)))


def trials(images: int, repeats: int, voxels: int, noise: float) -> np.ndarray:
    return normal(images, 1, voxels) + noise * normal(images, repeats, voxels, seed=1)


@pytest.mark.parametrize("repeats", [4, 5])
def test_split_halves_find_the_share_that_is_signal(repeats: int) -> None:
    found = split_half(trials(3000, repeats, 3, 1.5), draws=20)
    assert found == pytest.approx(np.full(3, 1 / (1 + 1.5**2 / repeats)), abs=0.03)


def test_halves_are_disjoint_equal_and_of_what_is_there() -> None:
    there = np.arange(1.0, 7)[None, :, None] * np.ones((2, 6, 1))
    there[0, 4:] = np.nan
    left, right, times = halves(there, np.random.default_rng(0))
    assert left[0, 0] + right[0, 0] == 5.0  # 1 + 2 + 3 + 4, two in each half
    assert left[1, 0] + right[1, 0] == 7.0 and times == 2
    there[1, 1:] = np.nan
    with pytest.raises(NumericsError, match="image 1 has 1 trials"):
        halves(there, np.random.default_rng(0))


def test_noise_alone_has_no_reliability() -> None:
    assert split_half(normal(400, 4, 3), draws=20).max() < 0.15
