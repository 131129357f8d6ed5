"""RDMs from Gram matrices, their comparison and its draws: against the definitions, pair by pair."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from alignedcut_cli.core.encode.ceilings import across_subjects
from alignedcut_cli.core.encode.compare import COMPARISONS, compare, compare_draws, concordance, pooled
from alignedcut_cli.core.encode.rdm import DISTANCES, Gram, average_rdm, pairs_of, rdm, square
from alignedcut_cli.core.encode.resampling import permuted_comparison
from alignedcut_cli.core.numerics import NumericsError
from alignedcut_cli.core.resample.draws import bootstrap_weights, random_orders

SCIPY = {"pearson": "correlation", "cosine": "cosine", "euclidean": "euclidean"}


def features(images: int = 12, units: int = 30, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((images, units)) + 2)


def rdms_of(count: int, images: int = 12) -> Tensor:
    """RDMs that share a part."""
    shared = features(images)
    return torch.stack([rdm(Gram.of([shared + 1.5 * features(images, seed=one + 1)])) for one in range(count)])


@pytest.mark.parametrize("distance", DISTANCES)
def test_rdms_are_those_of_scipy_however_units_are_sliced(distance: str) -> None:
    rows = features()
    found = rdm(Gram.of(rows.split(7, 1)), distance)
    assert np.abs(found.numpy() - squareform(pdist(rows.numpy(), SCIPY[distance]))).max() < 1e-12
    some = torch.tensor([5, 0, 7])
    assert torch.allclose(rdm(Gram.of([rows]).take(some), distance), found[some][:, some], atol=1e-12)


def test_an_image_without_variance_has_no_correlation() -> None:
    rows = features()
    rows[3] = 0.7
    found = rdm(Gram.of([rows]))
    assert found[3, [0, 1, 2, 4]].isnan().all() and found[3, 3] == 0 and not found[0, 1].isnan()
    rows[3] = 0
    assert rdm(Gram.of([rows]), "cosine")[3, 0].isnan() and rdm(Gram.of([rows]), "euclidean").isfinite().all()


def test_no_units_are_no_features() -> None:
    with pytest.raises(NumericsError, match="no units"):
        Gram.of([])


def test_pairs_and_squares_are_each_others_inverse() -> None:
    found = rdms_of(3)
    assert torch.equal(square(pairs_of(found), 12), found)


def test_the_average_is_that_of_fishers_z() -> None:
    found = average_rdm(rdms_of(2))
    first, second = (np.arctanh(1 - one[0, 1].item() - 1e-5) for one in rdms_of(2))
    assert found[0, 1].item() == pytest.approx(1 - np.tanh((first + second) / 2))


def by_definition(one: np.ndarray, other: np.ndarray, by: str) -> float:
    """A comparison of two vectors of distances, as its definition is written."""
    if by == "pearson":
        return float(np.corrcoef(one, other)[0, 1])
    if by == "spearman":
        return float(spearmanr(one, other).statistic)
    if by == "tau-a":
        signs = [np.sign(one[i] - one[j]) * np.sign(other[i] - other[j]) for i, j in combinations(range(len(one)), 2)]
        return float(np.mean(signs))
    images = round((1 + (1 + 8 * len(one)) ** 0.5) / 2)
    contrasts = np.zeros((len(one), images))
    for row, (i, j) in enumerate(combinations(range(images), 2)):
        contrasts[row, i], contrasts[row, j] = 1, -1
    precision = np.linalg.inv((contrasts @ contrasts.T) ** 2)
    one, other = one - one.mean(), other - other.mean()
    return float(one @ precision @ other / np.sqrt((one @ precision @ one) * (other @ precision @ other)))


@pytest.mark.parametrize("by", COMPARISONS)
def test_comparisons_are_their_definitions(by: str) -> None:
    one, others = rdms_of(1)[0], rdms_of(3).round(decimals=2)
    wanted = [by_definition(pairs_of(one).numpy(), pairs_of(other).numpy(), by) for other in others]
    assert np.allclose(compare(one, others, by), wanted, atol=1e-10)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    turned = compare(one[order][:, order], others[:, order][:, :, order], by)
    assert torch.allclose(turned, compare(one, others, by), atol=1e-12)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=40))
def test_concordance_counts_pairs_with_any_ties(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs).T
    both = combinations(range(len(one)), 2)
    assert concordance(one, other) == sum(np.sign(one[i] - one[j]) * np.sign(other[i] - other[j]) for i, j in both)


@pytest.mark.parametrize("by", ["pearson", "spearman"])
def test_a_draw_compares_the_images_drawn_without_pairs_of_one_image(by: str) -> None:
    one, others = rdms_of(1)[0], rdms_of(2).round(decimals=2)
    weights = torch.cat([torch.ones(1, 12, dtype=torch.float64), torch.from_numpy(bootstrap_weights(12, 3, seed=0))])
    found = compare_draws(one, others, weights, by)
    assert torch.allclose(found[:, 0], compare(one, others, by), atol=1e-12)
    for draw, row in enumerate(weights.long()):
        images = torch.repeat_interleave(torch.arange(12), row)
        pairs = [(int(i), int(j)) for i, j in combinations(images, 2) if i != j]
        left = np.array([one[pair] for pair in pairs])
        for number, other in enumerate(others):
            right = np.array([other[pair] for pair in pairs])
            assert found[number, draw].item() == pytest.approx(by_definition(left, right, by), abs=1e-10)


@pytest.mark.parametrize("by", ["tau-a", "whitened"])
def test_draws_linear_in_the_weights_spread_as_resampled_scores_do(by: str) -> None:
    """Against the delete-one jackknife: both are the variance of the first-order term."""
    one, others = rdms_of(1, 30)[0], rdms_of(2, 30)[1:]
    found = compare_draws(one, others, torch.from_numpy(bootstrap_weights(30, 4000, seed=0)), by)[0]
    without = []
    for image in range(30):
        rest = torch.arange(30)[torch.arange(30) != image]
        without.append(float(compare(one[rest][:, rest], others[:, rest][:, :, rest], by)))
    jackknife = np.sqrt(29 / 30 * ((np.array(without) - np.mean(without)) ** 2).sum())
    assert float(found.std()) == pytest.approx(jackknife, rel=0.1)
    assert float(found.mean()) == pytest.approx(float(compare(one, others, by)), abs=jackknife / 3)


@pytest.mark.parametrize("by", COMPARISONS)
def test_permuted_comparisons_are_those_of_permuted_images(by: str) -> None:
    one, others, orders = rdms_of(1)[0], rdms_of(3), torch.from_numpy(random_orders(12, 400, seed=0))
    found = permuted_comparison(one, others, orders, by)
    wanted = torch.stack([compare(one[order][:, order], others, by) for order in orders], 1)
    if by == "tau-a":
        assert torch.allclose(found.std(1), wanted.std(1), rtol=0.1)
        assert np.corrcoef(found.flatten(), wanted.flatten())[0, 1] > 0.98
    else:
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("by", COMPARISONS)
def test_the_pooled_rdm_is_nearer_to_all_than_any_of_them_and_bounds_them(by: str) -> None:
    rdms = rdms_of(4, 20)
    lower, upper = (float(bound.mean()) for bound in across_subjects(rdms, by))
    assert upper == pytest.approx(float(compare(pooled(rdms, by), rdms, by).mean()))
    assert lower < upper
    best = max(float(compare(one, rdms, by).mean()) - 0.25 for one in rdms)
    assert upper > best
    same = rdms[:1].repeat(3, 1, 1)
    assert all(bound.tolist() == pytest.approx([1] * 3, abs=0.02) for bound in across_subjects(same, by))


def test_kendalls_tau_b_of_scipy_is_not_tau_a_where_there_are_ties() -> None:
    one, other = np.array([1, 1, 2, 3]), np.array([1, 2, 2, 3])
    assert concordance(one, other) / 6 != pytest.approx(kendalltau(one, other).statistic)
