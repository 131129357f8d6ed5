"""Bootstrap intervals cover the truth: in repeated studies of one population, 95 % intervals hold its score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.encode.compare import compare, compare_draws
from alignedcut_cli.core.encode.rdm import Gram, rdm
from alignedcut_cli.core.encode.resampling import correlation_draws
from alignedcut_cli.core.encode.similarity import cka, cka_draws
from alignedcut_cli.core.resample.draws import bootstrap_weights
from alignedcut_cli.core.resample.intervals import percentile

STUDIES, IMAGES, POPULATION, DRAWS = 100, 60, 1500, 200
MIXING = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 15)))


def draw(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features of some images and responses that they explain in part."""
    random = np.random.default_rng(seed)
    rows = torch.from_numpy(random.standard_normal((images, 6)))
    return rows, rows @ MIXING + 3 * torch.from_numpy(random.standard_normal((images, 15)))


def mean_r(rows: Tensor, responses: Tensor, weights: Tensor) -> Tensor:
    """ereg of predictions that a fit to other images would make."""
    return correlation_draws(rows @ MIXING, responses, weights).mean(1)


def rsa(rows: Tensor, responses: Tensor, weights: Tensor) -> Tensor:
    one, other = (rdm(Gram.of([each]), "euclidean") for each in (rows, responses))
    return compare_draws(one, other[None], weights, "pearson")[0]


def alike(rows: Tensor, responses: Tensor, weights: Tensor) -> Tensor:
    return cka_draws(*(Gram.of([each]).products for each in (rows, responses)), weights)


def one_study(measure: Callable[[Tensor, Tensor, Tensor], Tensor], images: int, seed: int) -> Tensor:
    return measure(*draw(images, seed), torch.ones(1, images, dtype=torch.float64))


@pytest.mark.parametrize("measure", [mean_r, rsa, alike], ids=["ereg", "crsa", "cka"])
def test_intervals_cover_the_populations_score(measure: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    truth = float(one_study(measure, POPULATION, 10_000))
    covered = 0
    for study in range(STUDIES):
        rows, responses = draw(IMAGES, study)
        low, high = percentile(
            measure(rows, responses, torch.from_numpy(bootstrap_weights(IMAGES, DRAWS, study))).numpy()
        )
        covered += low <= truth <= high
    print(measure.__name__, truth, covered)
    assert 90 <= covered <= 99


def test_point_scores_are_draws_of_weight_one() -> None:
    rows, responses = draw(IMAGES, 0)
    one, other = (rdm(Gram.of([each]), "euclidean") for each in (rows, responses))
    assert float(one_study(rsa, IMAGES, 0)) == pytest.approx(float(compare(one, other[None], "pearson")))
    grams = [Gram.of([each]).products for each in (rows, responses)]
    assert float(one_study(alike, IMAGES, 0)) == pytest.approx(cka(*grams))
