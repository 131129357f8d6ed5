"""The closed-form start against normal equations, numpy and scikit-learn, and the scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import r2_score
from torch import Tensor

from alignedcut_cli.core.align.reduced_rank_ridge import (
    ALPHAS,
    Problem,
    Ridge,
    best_rank,
    choose,
    ranks_up_to,
    read_out,
    reduced_rank,
    smoother,
    spectrum,
    stacking_weights,
    weigh_slots,
)
from alignedcut_cli.core.align.scores import pearson, permutation_p, r_squared, scores
from alignedcut_cli.core.numerics import NumericsError
from alignedcut_cli.core.resample.draws import random_orders
from tests.helpers.reference import agreeing_ridge, ridge_objective

AGREE = [0.0, 0.3, 5.0]
WIDTHS = {"few images": (40, 31, 52), "many images": (5, 3, 7), "both": (4, 60, 9)}
IMAGES, ALPHA = 30, 3.0


def problem(widths: tuple[int, ...], voxels: int, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Centred float64 features (30, D_i) of some slots and centred responses (30, N) that they explain in part."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    features = [normal(IMAGES, width) * (1 + number) for number, width in enumerate(widths)]
    features = [block - block.mean(0) for block in features]
    responses = sum(block @ normal(block.shape[1], voxels) for block in features) / 5 + normal(IMAGES, voxels)
    return features, responses - responses.mean(0)


def fitted(features: list[Tensor], responses: Tensor, rank: int, agree: float, alpha: float = ALPHA) -> Ridge:
    spectra = [spectrum(block) for block in features]
    return reduced_rank(features, spectra, smoother(spectra, alpha, agree), responses, rank)


def maps(fit: Ridge) -> list[Tensor]:
    return [matrix @ fit.beta for matrix in fit.transforms]


def mean_of(features: list[Tensor], fit: Ridge) -> Tensor:
    return sum(block @ matrix for block, matrix in zip(features, maps(fit), strict=True)) / len(features)


@pytest.mark.parametrize(("images", "channels"), [(12, 30), (30, 12), (12, 12)])
def test_the_spectrum_is_that_of_the_larger_gram(images: int, channels: int) -> None:
    features = torch.randn(images, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = spectrum(features - features.mean(0))
    assert len(found.values) == min(images - 1, channels)
    assert (found.values.diff() <= 0).all()
    gram = (features - features.mean(0)) @ (features - features.mean(0)).T
    torch.testing.assert_close((found.vectors * found.values) @ found.vectors.T, gram)
    torch.testing.assert_close(found.vectors.T @ found.vectors, torch.eye(len(found.values), dtype=torch.float64))


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_features_of_zero_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(NumericsError, match="the features of all images are equal"):
        spectrum(torch.zeros(shape))


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
def test_without_agreement_it_is_ridge_regression_side_by_side(widths: tuple[int, ...]) -> None:
    """With Z = [X_1 .. X_n] / n the objective is |Y - Z B|^2 + alpha / n |B|^2: a penalty of n alpha on n Z."""
    from sklearn.linear_model import Ridge as Reference

    features, responses = problem(widths, 6)
    count, stacked = len(widths), torch.cat(features, 1).numpy()
    fit = fitted(features, responses, 6, agree=0.0)
    reference = Reference(alpha=ALPHA / count, fit_intercept=False, solver="svd").fit(
        stacked / count, responses.numpy()
    )
    np.testing.assert_allclose(torch.cat(maps(fit)).numpy(), reference.coef_.T, atol=1e-9)
    gram = stacked.T @ stacked + count * ALPHA * np.eye(stacked.shape[1])
    closed = stacked @ np.linalg.solve(gram, stacked.T @ responses.numpy())
    np.testing.assert_allclose(mean_of(features, fit).numpy(), closed, atol=1e-9)


@pytest.mark.parametrize("voxels", [4, 70])
@pytest.mark.parametrize("agree", AGREE)
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
def test_full_rank_is_the_minimiser(widths: tuple[int, ...], agree: float, voxels: int) -> None:
    features, responses = problem(widths, voxels)
    expected = agreeing_ridge(features, responses, ALPHA, agree)
    free = [matrix.clone().requires_grad_() for matrix in expected]
    ridge_objective(features, free, responses, ALPHA, agree).backward()
    assert max(float(matrix.grad.abs().max()) for matrix in free) < 1e-9
    found = maps(fitted(features, responses, min(voxels, IMAGES - 1), agree))
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("agree", AGREE)
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
def test_the_smoother_takes_responses_to_the_fitted_mean(widths: tuple[int, ...], agree: float) -> None:
    features, responses = problem(widths, 8)
    found = smoother([spectrum(block) for block in features], ALPHA, agree)
    assert float(found.shares.min()) > 0
    assert float(found.shares.max()) < 1
    assert (found.shares.diff() <= 0).all()
    alone = agreeing_ridge(features, responses, ALPHA, agree)
    expected = sum(block @ matrix for block, matrix in zip(features, alone, strict=True)) / len(features)
    made = found.vectors @ (found.shares[:, None] * (found.vectors.T @ responses))
    torch.testing.assert_close(made, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("agree", AGREE)
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
def test_reduced_rank_is_stationary_and_below_its_competitors(widths: tuple[int, ...], agree: float) -> None:
    rank, generator = 3, torch.Generator().manual_seed(1)
    features, responses = problem(widths, 9)
    fit = fitted(features, responses, rank, agree)

    def value(alternative: list[Tensor]) -> float:
        return float(ridge_objective(features, alternative, responses, ALPHA, agree))

    transforms, beta = [matrix.clone().requires_grad_() for matrix in fit.transforms], fit.beta.clone().requires_grad_()
    lowest = ridge_objective(features, [matrix @ beta for matrix in transforms], responses, ALPHA, agree)
    lowest.backward()
    lowest = float(lowest.detach())
    assert max(float(tensor.grad.abs().max()) for tensor in [*transforms, beta]) < 1e-8
    torch.testing.assert_close(fit.beta @ fit.beta.T, torch.eye(rank, dtype=torch.float64))
    # full-rank maps cut to the rank: onto their own, the mean's and the responses' top directions, or onto random ones
    full = agreeing_ridge(features, responses, ALPHA, agree)
    mean = sum(block @ matrix for block, matrix in zip(features, full, strict=True))
    bases = [torch.linalg.svd(matrix, full_matrices=False)[2][:rank] for matrix in (torch.cat(full), mean, responses)]
    draws = [torch.randn(rank, 9, generator=generator, dtype=torch.float64) for _ in range(100)]
    bases += [torch.linalg.qr(draw.T)[0].T for draw in draws]
    # the best maps for a given row space are those for the responses projected on it
    best_for = [agreeing_ridge(features, responses @ basis.T @ basis, ALPHA, agree) for basis in bases[-5:]]
    cut = [[matrix @ basis.T @ basis for matrix in full] for basis in bases]
    near = [[matrix @ (fit.beta + 0.02 * draw) for matrix in fit.transforms] for draw in draws]
    assert all(value(alternative) > lowest * (1 - 1e-12) for alternative in [*cut, *best_for, *near])
    assert value(full) < lowest


@pytest.mark.parametrize("agree", AGREE)
@pytest.mark.parametrize("voxels", [12, 50])
def test_lower_ranks_are_nested(agree: float, voxels: int) -> None:
    features, responses = problem(WIDTHS["both"], voxels)
    high, low = fitted(features, responses, 8, agree), fitted(features, responses, 3, agree)
    nested = [matrix[:, :3] @ high.beta[:3] for matrix in high.transforms]
    torch.testing.assert_close(nested, maps(low), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("voxels", [5, 50])
def test_rank_above_that_of_the_responses_is_filled_with_zeros(voxels: int) -> None:
    features, responses = problem(WIDTHS["both"], voxels)
    left, values, right = torch.linalg.svd(responses, full_matrices=False)
    responses = left[:, :3] * values[:3] @ right[:3]
    fit = fitted(features, responses, 7, agree=0.3)
    assert [tuple(matrix.shape) for matrix in fit.transforms] == [(width, 7) for width in WIDTHS["both"]]
    assert fit.beta.shape == (7, voxels)
    assert not fit.beta[3:].any()
    assert not any(matrix[:, 3:].any() for matrix in fit.transforms)
    torch.testing.assert_close(maps(fit), agreeing_ridge(features, responses, ALPHA, 0.3), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("agree", AGREE)
def test_the_order_of_images_voxels_and_slots_does_not_matter(agree: float) -> None:
    features, responses = problem(WIDTHS["both"], 9)
    fit = fitted(features, responses, 4, agree)
    generator = torch.Generator().manual_seed(2)
    images, voxels = torch.randperm(IMAGES, generator=generator), torch.randperm(9, generator=generator)
    shuffled = fitted([block[images] for block in features], responses[images], 4, agree)
    torch.testing.assert_close(maps(shuffled), maps(fit), atol=1e-9, rtol=1e-9)
    shuffled = fitted(features, responses[:, voxels], 4, agree)
    torch.testing.assert_close(maps(shuffled), [matrix[:, voxels] for matrix in maps(fit)], atol=1e-9, rtol=1e-9)
    shuffled = fitted(features[::-1], responses, 4, agree)
    torch.testing.assert_close(maps(shuffled), maps(fit)[::-1], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("agree", AGREE)
def test_every_slot_twice_predicts_the_same(agree: float) -> None:
    features, responses = problem(WIDTHS["few images"], 9)
    single, double = fitted(features, responses, 4, agree), fitted(features * 2, responses, 4, agree)
    torch.testing.assert_close(maps(double), maps(single) * 2, atol=1e-9, rtol=1e-9)


def test_inputs_are_not_altered() -> None:
    features, responses = problem(WIDTHS["both"], 9)
    before = [tensor.clone() for tensor in [*features, responses]]
    choose(Problem.of(features, responses, features, responses), [2, 4], 0.3)
    assert all(torch.equal(now, then) for now, then in zip([*features, responses], before, strict=True))


@pytest.mark.parametrize("agree", [0.0, 1.0, 10.0])
def test_agreement_makes_every_slot_predict_alone(agree: float) -> None:
    """Slots X_1 = z + s u and X_2 = z - s u: their mean is z, but alone each is noisy.

    Both get the weight w that minimises (1 + agree) (1 - w)^2 + agree s^2 w^2, so that each alone has R^2 =
    1 - (1 - w)^2 - s^2 w^2; a ridge on one slot has w = 1 / (1 + s^2).
    """
    generator, size = torch.Generator().manual_seed(3), 1.5
    signal, nuisance = torch.randn(2, 500, 4, generator=generator, dtype=torch.float64)
    features = [signal + size * nuisance, signal - size * nuisance]
    fit = fitted(features, signal, 4, agree, alpha=1e-3)
    own = [float(r_squared(block @ matrix, signal).mean()) for block, matrix in zip(features, maps(fit), strict=True)]
    weight = (1 + agree) / (1 + agree + agree * size**2)
    assert own == pytest.approx([1 - (1 - weight) ** 2 - (size * weight) ** 2] * 2, abs=0.05)
    alone = float(r_squared(features[0] @ maps(fitted(features[:1], signal, 4, 0.0, 1e-3))[0], signal).mean())
    if not agree:
        assert max(own) < -1
    else:
        assert min(own) > alone - 0.12


def predictions(seed: int) -> tuple[Tensor, Tensor]:
    """Predictions (5, 40, 6) of five slots, from good to bad, and their target (40, 6)."""
    draws = torch.randn(7, 40, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    trust = torch.rand(2, 5, 1, 1, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return trust[0] * draws[0] + trust[1] * draws[1:6], draws[0] + 0.7 * draws[6]


@pytest.mark.parametrize("seed", range(6))
def test_stacking_weights_are_nonnegative_least_squares(seed: int) -> None:
    """Of all weights that are not negative: those of scipy on the predictions themselves, not on their Gram matrix."""
    from scipy.optimize import nnls

    each, target = predictions(seed)
    expected, _ = nnls((each.flatten(1) / 5).T.numpy(), target.flatten().numpy())
    np.testing.assert_allclose(stacking_weights(each, target, least=0.0).numpy(), expected, atol=1e-9)
    held = stacking_weights(each, target).numpy()
    np.testing.assert_allclose(held, np.maximum(expected, 0.05 * expected.mean()), atol=1e-9)


def test_stacking_weights_undo_the_scale_of_a_slot() -> None:
    each, target = predictions(3)
    plain, scale = stacking_weights(each, target, least=0.0), torch.tensor([1.0, 10.0, 0.1, 1.0, 2.0]).double()
    torch.testing.assert_close(stacking_weights(each * scale[:, None, None], target, least=0.0) * scale, plain)
    assert float(stacking_weights(target.expand(5, 40, 6) / 2, target, least=0.0).sum()) == pytest.approx(10)
    assert stacking_weights(-target.expand(5, 40, 6), target).tolist() == [1.0] * 5
    assert stacking_weights(each.float(), target.float()).dtype == torch.float32


def planted(noise: float, rank: int = 4) -> tuple[list[Tensor], Tensor, list[Tensor], Tensor]:
    """Features and responses of 120 images that share `rank` dimensions, and those of 60 others."""
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    features = [normal(180, 30), normal(180, 50)]
    responses = (torch.cat(features, 1) @ normal(80, rank)) @ normal(rank, 40) / 80**0.5
    responses += noise * responses.std() * normal(180, 40)
    features = [block - block[:120].mean(0) for block in features]
    responses = responses - responses[:120].mean(0)
    return [block[:120] for block in features], responses[:120], [block[120:] for block in features], responses[120:]


@pytest.mark.parametrize(("images", "channels"), [(40, 6), (5, 9)])
def test_the_read_out_is_the_best_ridge_regression_of_scikit_learn(images: int, channels: int) -> None:
    draws = np.random.default_rng(images)
    nodes, truth = draws.normal(size=(images + 20, channels)), draws.normal(size=(channels, 7))
    responses = nodes @ truth + 2 * draws.normal(size=(images + 20, 7))
    known, seen = slice(images), slice(images, None)
    values = np.linalg.eigvalsh(nodes[known].T @ nodes[known])
    unit = values[values > 1e-6 * values[-1]].mean()
    fits = [
        SklearnRidge(alpha=alpha * unit, fit_intercept=False).fit(nodes[known], responses[known]) for alpha in ALPHAS
    ]
    reached = [r2_score(responses[seen], fit.predict(nodes[seen])) for fit in fits]
    parts = [torch.from_numpy(part) for part in (nodes[known], responses[known], nodes[seen], responses[seen])]
    beta, score = read_out(*parts)
    assert score == pytest.approx(max(reached))
    np.testing.assert_allclose(beta.numpy(), fits[int(np.argmax(reached))].coef_.T, atol=1e-9)


def test_noise_asks_for_a_larger_penalty() -> None:
    clean, noisy = (choose(Problem.of(*planted(noise)), ranks_up_to(16), 0.0) for noise in (0.01, 1.5))
    assert clean.alpha < 0.1 * noisy.alpha
    assert clean.score > 0.95
    assert 0 < noisy.score < 0.6
    assert 2 <= clean.rank <= 8
    assert 2 <= choose(Problem.of(*planted(1.0)), ranks_up_to(32), 0.3).rank <= 8


def test_the_choice_is_the_best_of_what_was_tried() -> None:
    features, known, heldout, aim = planted(1.0)
    choice = choose(Problem.of(features, known, heldout, aim), ranks_up_to(16), 0.3)
    assert tuple(choice.tried) == ALPHAS
    assert choice.score == max(choice.tried.values())
    unit = sum(float(block.square().sum(1).mean()) for block in features) / len(features)
    best = max(choice.tried, key=choice.tried.__getitem__)
    assert choice.alpha == pytest.approx(best * unit)
    predicted = mean_of(heldout, fitted(features, known, choice.rank, 0.3, choice.alpha))
    assert float(r_squared(predicted, aim).mean()) == pytest.approx(choice.score, abs=1e-9)


def noisy_slots(count: int) -> tuple[list[Tensor], Tensor, list[Tensor], Tensor]:
    """`planted` features beside slots of as many channels that know nothing of the responses."""
    features, known, heldout, aim = planted(0.5)
    generator = torch.Generator().manual_seed(9)
    noise = [torch.randn(180, 40, generator=generator, dtype=torch.float64) for _ in range(count)]
    noise = [block - block[:120].mean(0) for block in noise]
    return [*features, *(one[:120] for one in noise)], known, [*heldout, *(one[120:] for one in noise)], aim


def test_slots_that_know_nothing_get_small_factors() -> None:
    features, known, heldout, aim = noisy_slots(4)
    choice = choose(Problem.of(features, known, heldout, aim), [4], 0.0)
    factors, better = weigh_slots(Problem.of(features, known, heldout, aim), choice, 0.0)
    assert better.score > choice.score + 0.02
    assert max(factors[2:]) < 0.5 * min(factors[:2])
    before, after = (
        sum(float((block * factor).square().sum()) for block, factor in zip(features, each, strict=True))
        for each in ([1.0] * 6, factors)
    )
    assert after == pytest.approx(before)
    scaled, seen = ([one * by for one, by in zip(blocks, factors, strict=True)] for blocks in (features, heldout))
    predicted = mean_of(seen, fitted(scaled, known, better.rank, 0.0, better.alpha))
    assert float(r_squared(predicted, aim).mean()) == pytest.approx(better.score, abs=1e-9)


def test_factors_stay_one_where_they_do_not_help() -> None:
    """The same features in every slot: no slot is better than another."""
    features, known, heldout, aim = planted(0.5)
    features, heldout = [features[0]] * 3, [heldout[0]] * 3
    choice = choose(Problem.of(features, known, heldout, aim), [4], 0.0)
    factors, same = weigh_slots(Problem.of(features, known, heldout, aim), choice, 0.0)
    assert factors == pytest.approx([1.0] * 3)
    assert same.score >= choice.score


def test_the_choice_looks_at_evenly_spaced_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    features, known, heldout, aim = planted(1.0)
    monkeypatch.setattr("alignedcut_cli.core.align.reduced_rank_ridge._SCORED_VOXELS", 14)
    few = choose(Problem.of(features, known, heldout, aim), [4, 8], 0.3)
    assert few == choose(Problem.of(features, known[:, ::3], heldout, aim[:, ::3]), [4, 8], 0.3)


def test_best_rank_is_the_smaller_of_equals() -> None:
    features, responses = problem(WIDTHS["both"], 9)
    fit = fitted(features, responses, 3, 0.0)
    score, rank = best_rank(fit, features, responses, [1, 2, 3])
    assert rank == 3
    assert best_rank(fit, features, responses, [1, 2])[0] < score
    padded = Ridge(
        [torch.nn.functional.pad(matrix, (0, 5)) for matrix in fit.transforms], torch.cat([fit.beta] * 3)[:8]
    )
    assert best_rank(padded, features, responses, [2, 3, 5, 8]) == (score, 3)


def test_ranks_are_two_in_each_octave() -> None:
    assert ranks_up_to(1) == [1]
    assert ranks_up_to(8) == [1, 2, 3, 4, 6, 8]
    assert ranks_up_to(20) == [1, 2, 3, 5, 7, 10, 15, 20]


def test_scores_are_those_of_scikit_learn_and_numpy() -> None:
    from sklearn.metrics import r2_score

    generator = torch.Generator().manual_seed(0)
    responses = 40 + torch.randn(50, 7, generator=generator)
    predicted = 0.5 * responses + torch.randn(50, 7, generator=generator)
    expected = r2_score(responses.numpy(), predicted.numpy(), multioutput="raw_values")
    found = r_squared(predicted, responses)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    correlations = [np.corrcoef(predicted[:, voxel], responses[:, voxel])[0, 1] for voxel in range(7)]
    np.testing.assert_allclose(pearson(predicted, responses).numpy(), correlations, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -2.7])
@pytest.mark.parametrize("images", [7, 1000])
def test_a_voxel_that_does_not_vary_scores_zero(images: int, value: float, dtype: torch.dtype) -> None:
    """Their mean need not be the value itself: 0.1 summed 7 times and divided by 7 is not 0.1."""
    constant = torch.full((images, 1), value, dtype=dtype)
    varying = torch.randn(images, 1, generator=torch.Generator().manual_seed(0), dtype=dtype)
    assert r_squared(varying, constant).tolist() == [0.0]
    assert pearson(varying, constant).tolist() == [0.0]
    assert pearson(constant, varying).tolist() == [0.0]


def test_the_mean_scores_zero_and_the_truth_one() -> None:
    responses = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    assert r_squared(responses, responses).tolist() == [1.0] * 4
    torch.testing.assert_close(r_squared(responses.mean(0).expand(30, 4), responses), torch.zeros(4).double())


def test_scores_in_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    aligned, beta, eps = (torch.randn(*shape, generator=generator) for shape in ((30, 4), (4, 23), (23,)))
    responses = aligned @ beta + eps + torch.randn(30, 23, generator=generator)
    predicted = aligned @ beta + eps
    for block in (5, 11, 23, 2048):
        monkeypatch.setattr("alignedcut_cli.core.align.scores._BLOCK", block)
        explained, correlation = scores(aligned, beta, eps, responses)
        torch.testing.assert_close(explained, r_squared(predicted, responses), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(correlation, pearson(predicted, responses), atol=1e-5, rtol=1e-5)


def test_the_permutation_test_counts_shuffles_that_score_as_high() -> None:
    """The same shuffles, each scored in full: the mean R^2 of shuffled predictions against that of the true ones."""
    generator = torch.Generator().manual_seed(0)
    responses = torch.randn(40, 6, generator=generator)
    seen = []
    for share in (0.0, 0.05, 0.1):
        predicted = share * responses + 0.3 * torch.randn(40, 6, generator=generator)
        reached, better = float(r_squared(predicted, responses).mean()), 0
        for order in torch.from_numpy(random_orders(40, 200, seed=4)):
            better += float(r_squared(predicted[order], responses).mean()) >= reached
        assert permutation_p(predicted, responses, rounds=200, seed=4) == (1 + better) / 201
        seen.append(better)
    assert len(set(seen)) == 3
    assert permutation_p(responses, responses, rounds=99) == 0.01
    # of two images half of the shuffles change nothing, and count
    assert 0.3 < permutation_p(responses[:2], responses[:2], rounds=99) < 0.7
