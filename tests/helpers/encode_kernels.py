"""The kernels of core/encode, each with a small call: a part of tests/helpers/kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from alignedcut_cli.core.encode import bands, ceilings, compare, dimension, rdm, resampling, ridge, similarity
from alignedcut_cli.core.resample.draws import bootstrap_weights, random_orders

__all__ = ["ENCODE_KERNELS"]

On = Callable[[Any], Any]
IMAGES = 12


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram(seed: int = 0) -> rdm.Gram:
    return rdm.Gram.of([drawn(IMAGES, 9) + drawn(IMAGES, 9, seed=seed)])


def grams(on: On) -> tuple[Tensor, Tensor]:
    return on(gram().products), on(gram(1).products)


def rdms(on: On) -> tuple[Tensor, Tensor]:
    """One RDM, and two others."""
    return on(rdm.rdm(gram())), on(torch.stack([rdm.rdm(gram(seed)) for seed in (1, 2)]))


def every(kernel: Callable[[str], Any]) -> list[Any]:
    """A kernel under each comparison."""
    return [kernel(by) for by in compare.COMPARISONS]


def encoded(on: On, _: Any) -> Any:
    found = []
    for width in (20, 5):
        basis = ridge.ridge_basis(on(drawn(IMAGES, width)), on(drawn(4, width, seed=1)))
        for penalty in ridge.PENALTIES:
            found += list(ridge.encode(basis, on(drawn(IMAGES, 7, seed=2)), penalty=penalty, batch=4))
    return [[one.loo, one.heldout, one.alpha, one.loo_r] for one in found]


def banded(on: On, _: Any) -> Any:
    kernels = [on(drawn(IMAGES, 5, seed=seed)) for seed in (0, 1)]
    centred = [one - one.mean(0) for one in kernels]
    squares, weights = [one @ one.T for one in centred], bands.band_weights(2, 2, 0)
    bases = bands.band_bases(squares, [one[:4] for one in squares], weights)
    found = list(bands.encode_bands(bases, on(drawn(IMAGES, 7, seed=2)), batch=4))
    return [[one.weights, one.predicted.heldout] for one in found]


def weights() -> Tensor:
    return torch.from_numpy(bootstrap_weights(IMAGES, 5, 0))


def orders() -> Tensor:
    return torch.from_numpy(random_orders(IMAGES, 5, 0))


def drawn_grams(on: On) -> list[similarity.DrawnGram]:
    first = similarity.drawn_gram(grams(on)[0], on(weights()))
    return [first, similarity.drawn_gram(grams(on)[1], first.weights, first)]


ENCODE_KERNELS: dict[str, Callable[[On, Any], Any]] = {
    "encode.bands.band_bases": banded,
    "encode.bands.encode_bands": banded,
    "encode.ceilings.across_subjects": lambda on, _: every(lambda by: list(ceilings.across_subjects(rdms(on)[1], by))),
    "encode.ceilings.rdm_reliability": lambda _, device: ceilings.rdm_reliability(
        drawn(IMAGES, 4, 9).numpy() + drawn(IMAGES, 1, 9).numpy(), "pearson", "spearman", 3, device=device
    ),
    "encode.compare.compare": lambda on, _: every(lambda by: compare.compare(*rdms(on), by)),
    "encode.compare.compare_draws": lambda on, _: every(lambda by: compare.compare_draws(*rdms(on), weights(), by)),
    "encode.compare.midranks": lambda on, _: compare.midranks(on(drawn(3, 9))),
    "encode.compare.pooled": lambda on, _: every(lambda by: compare.pooled(rdms(on)[1], by)),
    "encode.compare.second_moments": lambda on, _: compare.second_moments(rdms(on)[1]),
    "encode.dimension.effective_dimension": lambda on, _: dimension.effective_dimension(on(gram().centred())),
    "encode.dimension.radius": lambda on, _: dimension.radius(on(gram().centred()), 9),
    "encode.rdm.average_rdm": lambda on, _: rdm.average_rdm(rdms(on)[1]),
    "encode.rdm.centre_both": lambda on, _: rdm.centre_both(rdms(on)[1]),
    "encode.rdm.pairs_of": lambda on, _: rdm.pairs_of(rdms(on)[1]),
    "encode.rdm.rdm": lambda on, _: [rdm.rdm(rdm.Gram.of([on(drawn(IMAGES, 9))]), one) for one in rdm.DISTANCES],
    "encode.rdm.square": lambda on, _: rdm.square(rdm.pairs_of(rdms(on)[1]), IMAGES),
    "encode.resampling.correlation_draws": lambda on, _: resampling.correlation_draws(
        on(drawn(IMAGES, 3)), on(drawn(IMAGES, 3, seed=1)), weights()
    ),
    "encode.resampling.permuted_cka": lambda on, _: resampling.permuted_cka(*grams(on), orders()),
    "encode.resampling.permuted_comparison": lambda on, _: every(
        lambda by: resampling.permuted_comparison(*rdms(on), orders(), by)
    ),
    "encode.resampling.permuted_correlation": lambda on, _: resampling.permuted_correlation(
        on(drawn(IMAGES, 3)), on(drawn(IMAGES, 3, seed=1)), orders()
    ),
    "encode.ridge.kernels_of_products": lambda on, _: ridge.kernels_of_products(
        on(gram().products), on(torch.arange(0, IMAGES, 2)), on(torch.arange(1, IMAGES, 2)), 9
    ),
    "encode.ridge.coefficients": lambda on, _: ridge.coefficients(
        on(drawn(IMAGES, 5)), on(drawn(IMAGES, 3, seed=1)), on(torch.tensor([1.0, 10.0, 1.0], dtype=torch.float64))
    ),
    "encode.ridge.encode": encoded,
    "encode.ridge.ridge_basis": encoded,
    "encode.ridge.ridge_basis_of_kernel": encoded,
    "encode.similarity.biased_cka": lambda on, _: similarity.biased_cka(*grams(on)),
    "encode.similarity.cka": lambda on, _: similarity.cka(*grams(on)),
    "encode.similarity.largest_components": lambda on, _: similarity.largest_components(on(drawn(9, 6)), 3).abs(),
    "encode.similarity.procrustes_draws": lambda on, _: similarity.procrustes_draws(
        on(drawn(9, 4)), on(drawn(9, 3, seed=1)), on(torch.arange(9) // 3), on(torch.ones(2, 3))
    ),
    "encode.similarity.cka_of": lambda on, _: similarity.cka_of(*drawn_grams(on)),
    "encode.similarity.drawn_gram": lambda on, _: drawn_grams(on),
    "encode.similarity.cka_draws": lambda on, _: similarity.cka_draws(*grams(on), weights()),
}
