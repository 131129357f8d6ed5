"""Ridge in closed form against fits to all images but one, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge
from torch import Tensor

from alignedcut_cli.core.encode.bands import band_bases, band_weights, encode_bands
from alignedcut_cli.core.encode.ridge import (
    ALPHAS,
    Predicted,
    Standard,
    coefficients,
    encode,
    ridge_basis,
    ridge_basis_of_kernel,
)
from alignedcut_cli.core.numerics import NumericsError

SHAPES = {"dual": (20, 35), "primal": (40, 7), "square": (15, 15)}


def problem(images: int, width: int, targets: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features of known and of new images, and responses with noise of many sizes to the known: float64."""
    random = np.random.default_rng(seed)
    scale = np.geomspace(0.1, 10, width)
    rows, new = (scale * random.standard_normal((count, width)) + 3 for count in (images, 9))
    signal = rows / scale @ random.standard_normal((width, targets))
    noise = random.standard_normal((images, targets)) * np.geomspace(0.1, 100, targets)
    return torch.from_numpy(rows), torch.from_numpy(new), torch.from_numpy(signal + noise - 5)


def whole(parts: list[Predicted]) -> Predicted:
    """The targets of all parts side by side."""

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts], -1)

    return Predicted(slice(0, 0), joined("loo"), joined("heldout"), joined("alpha"), joined("loo_r"))


def left_out(rows: Tensor, responses: Tensor, alpha: float) -> np.ndarray:
    """Predictions of each image by scikit-learn's fit to the others."""
    found = []
    for image in range(len(rows)):
        others = np.arange(len(rows)) != image
        fit = SklearnRidge(alpha=alpha, solver="svd").fit(rows[others].numpy(), responses[others].numpy())
        found.append(fit.predict(rows[image : image + 1].numpy())[0])
    return np.array(found)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("alpha", [0.01, 1.0, 1000.0])
def test_leave_one_out_is_that_of_fits_to_all_images_but_one(shape: tuple[int, int], alpha: float) -> None:
    rows, new, responses = problem(*shape)
    found = whole(list(encode(ridge_basis(rows, new), responses, [alpha])))
    size = responses.std(0).numpy()
    assert np.abs((found.loo.numpy() - left_out(rows, responses, alpha)) / size).max() < 1e-10
    fit = SklearnRidge(alpha=alpha, solver="svd").fit(rows.numpy(), responses.numpy())
    assert np.abs((found.heldout.numpy() - fit.predict(new.numpy())) / size).max() < 1e-10
    correlations = [np.corrcoef(found.loo[:, one], responses[:, one])[0, 1] for one in range(responses.shape[1])]
    assert np.allclose(found.loo_r, correlations, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("penalty", ["target", "shared"])
def test_each_target_takes_the_penalty_of_its_best_leave_one_out_r(shape: tuple[int, int], penalty: str) -> None:
    rows, new, responses = problem(*shape)
    made = {alpha: left_out(rows, responses, alpha) for alpha in ALPHAS}
    scores = np.array(
        [[np.corrcoef(p[:, one], responses[:, one])[0, 1] for one in range(p.shape[1])] for p in made.values()]
    )
    if penalty == "shared":
        scores = np.repeat(scores.mean(1, keepdims=True), scores.shape[1], 1)
    wanted = np.array(ALPHAS)[scores.argmax(0)]
    assert len(set(wanted)) > (penalty == "target")
    found = whole(list(encode(ridge_basis(rows, new), responses, penalty=penalty, batch=4)))
    assert found.alpha.tolist() == wanted.tolist()
    expected = np.stack([made[alpha][:, one] for one, alpha in enumerate(wanted)], 1)
    assert np.abs(found.loo.numpy() - expected).max() < 1e-9


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_neither_batches_nor_the_order_of_targets_matter(shape: tuple[int, int]) -> None:
    rows, new, responses = problem(*shape)
    basis = ridge_basis(rows, new)
    one, four = (whole(list(encode(basis, responses, batch=size))) for size in (100, 4))
    order = torch.tensor([3, 1, 0, 5, 2, 4])
    turned = whole(list(encode(basis, responses[:, order])))
    for name in ("loo", "heldout", "alpha", "loo_r"):
        assert torch.allclose(getattr(one, name), getattr(four, name), atol=1e-12)
        assert torch.allclose(getattr(one, name)[..., order], getattr(turned, name), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_float32_is_close_even_where_the_penalty_is_small_beside_the_features(shape: tuple[int, int]) -> None:
    rows, new, responses = problem(*shape)
    exact = whole(list(encode(ridge_basis(100 * rows, 100 * new), responses, [0.1])))
    close = whole(list(encode(ridge_basis((100 * rows).float(), (100 * new).float()), responses.float(), [0.1])))
    size = exact.loo.std(0)
    assert float(((close.loo - exact.loo) / size).abs().max()) < 2e-3


@pytest.mark.parametrize("images", [30, 150])
@pytest.mark.parametrize("twice", [False, True])
def test_products_in_float32_leave_predictions_exact(images: int, twice: bool) -> None:
    """Features of a spectrum like a network's, over more than a slice of them and a block of images, under each penalty.

    Images that are there twice make X X^T singular, so that rounding would pass for small eigenvalues.
    """
    random = np.random.default_rng(3)
    mixed = random.standard_normal((images + 9, 40)) @ random.standard_normal((40, 1300))
    features = (mixed + random.standard_normal(mixed.shape)).astype("f4")
    if twice:
        features[images // 2 : images] = features[: images - images // 2]
    rows, new = torch.from_numpy(features[:images]), torch.from_numpy(features[images:])
    responses = torch.from_numpy(random.standard_normal((images, 5)) + 0.1 * mixed[:images, :5]).float()
    exact_basis, basis = ridge_basis(rows.double(), new.double()), ridge_basis(rows, new)
    assert basis.left.dtype == basis.seen.dtype == torch.float32
    for alpha in ALPHAS:
        (exact,), (found,) = encode(exact_basis, responses.double(), [alpha]), encode(basis, responses, [alpha])
        for name in ("loo", "heldout"):
            wanted = getattr(exact, name)
            assert float(((getattr(found, name) - wanted) / wanted.std(0)).abs().max()) < 2e-4


def test_a_kernel_gives_what_features_give() -> None:
    rows, new, responses = problem(20, 35)
    centred, moved = rows - rows.mean(0), new - rows.mean(0)
    kernel = ridge_basis_of_kernel(centred @ centred.T, moved @ centred.T)
    one, other = (whole(list(encode(basis, responses))) for basis in (ridge_basis(rows, new), kernel))
    assert torch.allclose(one.heldout, other.heldout, atol=1e-9)


def test_equal_scores_take_the_smaller_penalty_and_constant_responses_score_zero() -> None:
    rows, new, _ = problem(20, 35)
    found = whole(list(encode(ridge_basis(rows, new), torch.full((20, 2), 7.0, dtype=torch.float64))))
    assert found.alpha.tolist() == [ALPHAS[0]] * 2 and found.loo_r.tolist() == [0, 0]
    assert torch.allclose(found.heldout, torch.full((9, 2), 7.0, dtype=torch.float64))


def test_coefficients_are_those_of_scikit_learn() -> None:
    rows, _, responses = problem(40, 7)
    alphas = torch.tensor([0.1, 10.0, 0.1, 1.0, 1.0, 10.0], dtype=torch.float64)
    fits = [
        SklearnRidge(alpha=a).fit(rows.numpy(), y.numpy()).coef_
        for a, y in zip(alphas.tolist(), responses.T, strict=True)
    ]
    assert np.allclose(coefficients(rows, responses, alphas).T, fits, atol=1e-8)


def test_repeated_and_constant_features_are_no_trouble() -> None:
    rows, new, responses = problem(12, 5)
    doubled, double = (torch.cat([one, one, torch.ones_like(one[:, :3])], 1) for one in (rows, new))
    found = whole(list(encode(ridge_basis(doubled, double), responses, [1.0])))
    assert np.abs(found.loo.numpy() - left_out(doubled, responses, 1.0)).max() < 1e-9


def test_two_images_are_too_few() -> None:
    with pytest.raises(NumericsError, match="2 images are too few"):
        ridge_basis(torch.ones(2, 3), torch.ones(1, 3))


def test_features_are_standardised_by_the_images_that_may_be_seen() -> None:
    rows = torch.tensor([[1.0, 5.0, 0.1], [3.0, 5.0, 0.1], [8.0, 5.0, 0.1]])
    found = Standard.of(rows)(rows)
    assert torch.allclose(found.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(found.std(0, correction=0), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)
    assert torch.allclose(Standard.of(rows, ddof=1)(rows)[:, 0].std(), torch.tensor(1.0))


def test_bands_find_the_features_that_matter_to_each_target() -> None:
    random = torch.Generator().manual_seed(0)
    first, second = (torch.randn(80, 30, generator=random, dtype=torch.float64) for _ in range(2))
    weights = torch.randn(30, 4, generator=random, dtype=torch.float64)
    responses = torch.cat([first @ weights, second @ weights], 1)
    responses = responses + 2 * torch.randn(responses.shape, generator=random, dtype=torch.float64)
    known, new = slice(0, 50), slice(50, 80)
    kernels = [one[known] - one[known].mean(0) for one in (first, second)]
    held = [one[new] - one[known].mean(0) for one in (first, second)]
    tried = band_weights(2, 10, 0)
    assert np.allclose(tried.sum(1), 1) and (tried >= 0).all()
    bases = band_bases([k @ k.T for k in kernels], [h @ k.T for h, k in zip(held, kernels, strict=True)], tried)
    parts = list(encode_bands(bases, responses[known], batch=3))
    found = whole([part.predicted for part in parts])
    share = tried[torch.cat([part.weights for part in parts]).numpy(), 0]
    assert share[:4].min() > 0.5 > share[4:].max()
    (plain,) = encode(ridge_basis(torch.cat(kernels, 1), torch.cat(held, 1)), responses[known])

    def quality(predicted: Tensor) -> float:
        own = zip(predicted.T, responses[new].T, strict=True)
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in own]))

    assert quality(found.heldout) > quality(plain.heldout) + 0.03
    assert (found.loo_r >= plain.loo_r - 1e-12).all()
