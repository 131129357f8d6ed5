"""Unbiased CKA and effective dimensionality, by the sums over tuples and over eigenvalues that define them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from alignedcut_cli.core.encode.dimension import effective_dimension, radius
from alignedcut_cli.core.encode.rdm import Gram, centre_both
from alignedcut_cli.core.encode.resampling import permuted_cka
from alignedcut_cli.core.encode.similarity import biased_cka, cka, cka_draws, largest_components, procrustes_draws
from alignedcut_cli.core.numerics import NumericsError
from alignedcut_cli.core.resample.draws import bootstrap_weights, random_orders


def gram(images: int, units: int, seed: int) -> torch.Tensor:
    return Gram.of([torch.from_numpy(np.random.default_rng(seed).standard_normal((images, units)))]).products


def hsic(left: np.ndarray, right: np.ndarray, images: list[int]) -> float:
    """The mean over tuples of places that hold different images."""

    def mean(size: int, term: str) -> float:
        values = []
        for places in permutations(range(len(images)), size):
            chosen = [images[place] for place in places]
            if len(set(chosen)) == size:
                first, second = {"pairs": ((0, 1), (0, 1)), "triples": ((0, 1), (1, 2)), "quads": ((0, 1), (2, 3))}[
                    term
                ]
                values.append(left[chosen[first[0]], chosen[first[1]]] * right[chosen[second[0]], chosen[second[1]]])
        return float(np.mean(values))

    return mean(2, "pairs") - 2 * mean(3, "triples") + mean(4, "quads")


@pytest.mark.parametrize("counts", [[1] * 7, [2, 1, 0, 1, 3, 0, 1]])
def test_cka_is_the_ratio_of_sums_over_tuples_of_different_images(counts: list[int]) -> None:
    one, other = (centre_both(matrix) for matrix in (gram(7, 5, 0), gram(7, 5, 0) + gram(7, 3, 1)))
    images = [image for image, count in enumerate(counts) for _ in range(count)]
    parts = [hsic(a.numpy(), b.numpy(), images) for a, b in ((one, other), (one, one), (other, other))]
    found = cka_draws(one, other, torch.tensor([counts], dtype=torch.float64))
    assert float(found) == pytest.approx(parts[0] / np.sqrt(parts[1] * parts[2]), abs=1e-10)


def test_independent_features_have_a_cka_near_zero_and_the_biased_one_near_one() -> None:
    random = torch.Generator().manual_seed(0)
    one, other = (Gram.of([torch.rand(1000, 10_000, generator=random)]).products for _ in range(2))
    assert abs(cka(one, other)) < 0.1
    assert biased_cka(one, other) > 0.9


def test_cka_is_one_of_rotated_and_scaled_features() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 6)))
    turned = 3 * rows @ torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).standard_normal((6, 6)))).Q
    assert cka(Gram.of([rows]).products, Gram.of([turned]).products) == pytest.approx(1)


def test_permuted_cka_is_that_of_permuted_images() -> None:
    one, other, orders = (
        gram(10, 5, 0),
        gram(10, 5, 0) + gram(10, 3, 1),
        torch.from_numpy(random_orders(10, 20, seed=0)),
    )
    found = permuted_cka(one, other, orders)
    assert torch.allclose(
        found, torch.tensor([cka(one[o][:, o], other) for o in orders], dtype=torch.float64), atol=1e-6
    )


def test_draws_of_cka_spread_around_it() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((60, 8)))
    other = Gram.of([rows + torch.from_numpy(np.random.default_rng(1).standard_normal((60, 8)))]).products
    one = Gram.of([rows]).products
    draws = cka_draws(one, other, torch.from_numpy(bootstrap_weights(60, 500, seed=0)))
    assert abs(float(draws.mean()) - cka(one, other)) < float(draws.std()) / 2


def test_effective_dimensionality_of_the_known_case() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 20)) * np.arange(1, 21))
    centred = Gram.of([rows]).centred()
    assert effective_dimension(centred) == pytest.approx(8.37899888600901, abs=1e-12)
    variances = np.linalg.eigvalsh(np.cov(rows.T))
    assert effective_dimension(centred) == pytest.approx(variances.sum() ** 2 / (variances**2).sum())
    assert radius(centred, 20) == pytest.approx(np.sqrt(variances.mean()))


def test_equal_images_have_no_dimension() -> None:
    with pytest.raises(NumericsError, match="equal"):
        effective_dimension(torch.zeros(5, 5))


def procrustes_of(one: torch.Tensor, other: torch.Tensor) -> float:
    """The likeness that SciPy's disparity gives: disparity = 1 - likeness^2 of centred rows of unit size."""
    from scipy.spatial import procrustes

    width = max(one.shape[1], other.shape[1])
    left, right = (torch.nn.functional.pad(rows, (0, width - rows.shape[1])).double().numpy() for rows in (one, other))
    return float((1 - procrustes(left, right)[2]) ** 0.5)


def test_procrustes_is_that_of_the_rows_of_the_drawn_images() -> None:
    generator = torch.Generator().manual_seed(2)
    one = torch.randn(24, 4, generator=generator)
    other = one @ torch.randn(4, 3, generator=generator) + torch.randn(24, 3, generator=generator) + 5
    images = torch.arange(24) // 4
    weights = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 3, 1, 0, 2, 0]]).double()
    found = procrustes_draws(one, other, images, weights)
    for weight, value in zip(weights, found.tolist(), strict=True):
        rows = torch.repeat_interleave(torch.arange(24), weight[images].long())
        assert value == pytest.approx(procrustes_of(one[rows], other[rows]), abs=1e-6)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    assert float(procrustes_draws(one, 3 * one @ turn - 1, images, weights)[0]) == pytest.approx(1, abs=1e-6)


def test_components_keep_what_the_largest_hold() -> None:
    rows = torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
    found = largest_components(rows, 4)
    centred = rows.double() - rows.double().mean(0)
    values = torch.linalg.svdvals(centred)
    torch.testing.assert_close(found.square().sum(0).sqrt(), values[:4])
    assert largest_components(rows, 99).shape == (12, 12)
