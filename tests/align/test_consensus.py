"""Slots that agree on places: against one dense least-squares problem, and what agreement does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.align.consensus import Consensus, agree_on_places
from tests.helpers.reference import consensus_transforms, normal

WIDTHS = (5, 8, 3, 6)
IMAGES, PLACES, CHANNELS, ALPHA, AGREE = 30, 70, 4, 2.0, 0.3


def problem(widths: tuple[int, ...] = WIDTHS) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Pooled features (30, D_i), tokens (70, D_i) three times as loud, and a target (30, 4) that they predict in part."""
    features = [normal(IMAGES, width, seed=width) for width in widths]
    tokens = [3 * normal(PLACES, width, seed=10 + width) for width in widths]
    target = sum(block @ normal(block.shape[1], CHANNELS, seed=1) for block in features) / 4
    return features, tokens, target + normal(IMAGES, CHANNELS, seed=2)


def solved(places: list[int], agree: float = AGREE, start: list[Tensor] | None = None) -> list[Tensor]:
    features, tokens, target = problem()
    start = start or [torch.zeros(width, CHANNELS, dtype=torch.float64) for width in WIDTHS]
    return agree_on_places(Consensus(features, tokens, places), target, start, ALPHA, agree, tolerance=1e-12)


@pytest.mark.parametrize("agree", [0.03, 0.3, 3.0])
@pytest.mark.parametrize("places", [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 2, 0], [0, 1, 2, 3]])
def test_it_is_the_least_squares_solution(places: list[int], agree: float) -> None:
    features, tokens, target = problem()
    expected = consensus_transforms(features, tokens, places, target, ALPHA, agree)
    torch.testing.assert_close(solved(places, agree), expected, atol=1e-8, rtol=1e-8)


def test_the_start_does_not_matter_and_is_not_altered() -> None:
    start = [normal(width, CHANNELS, seed=20 + width) for width in WIDTHS]
    before = [matrix.clone() for matrix in start]
    torch.testing.assert_close(solved([0] * 4, start=start), solved([0] * 4), atol=1e-8, rtol=1e-8)
    assert all(torch.equal(now, then) for now, then in zip(start, before, strict=True))


def test_slots_may_come_in_any_order() -> None:
    features, tokens, target = problem()
    order = [2, 0, 3, 1]
    turned = Consensus([features[slot] for slot in order], [tokens[slot] for slot in order], [0, 5, 5, 0])
    start = [torch.zeros(WIDTHS[slot], CHANNELS, dtype=torch.float64) for slot in order]
    found = agree_on_places(turned, target, start, ALPHA, AGREE, tolerance=1e-12)
    straight = solved([5, 0, 0, 5])
    torch.testing.assert_close(found, [straight[slot] for slot in order], atol=1e-8, rtol=1e-8)


def test_tokens_twice_as_loud_or_given_twice_change_nothing() -> None:
    features, tokens, target = problem()
    start = [torch.zeros(width, CHANNELS, dtype=torch.float64) for width in WIDTHS]
    for changed in ([2 * block for block in tokens], [torch.cat([block, block]) for block in tokens]):
        found = agree_on_places(Consensus(features, changed, [0] * 4), target, start, ALPHA, AGREE, tolerance=1e-12)
        torch.testing.assert_close(found, solved([0] * 4), atol=1e-8, rtol=1e-8)


def test_columns_are_fitted_each_by_itself_and_a_target_of_zero_gives_zero() -> None:
    features, tokens, target = problem()
    start = [torch.zeros(width, 2, dtype=torch.float64) for width in WIDTHS]
    silent = torch.stack([target[:, 1], torch.zeros(IMAGES).double()], 1)
    found = agree_on_places(Consensus(features, tokens, [0] * 4), silent, start, ALPHA, AGREE, tolerance=1e-12)
    torch.testing.assert_close([matrix[:, 0] for matrix in found], [matrix[:, 1] for matrix in solved([0] * 4)])
    assert all(torch.equal(matrix[:, 1], torch.zeros(len(matrix)).double()) for matrix in found)


def test_what_pooled_features_hide_is_tied_by_places() -> None:
    """Two slots see the same latents through other channels; images vary in one, tokens in all: only places tell."""
    latents, images = normal(400, 6, seed=3), normal(60, 6, seed=4) * torch.tensor([3.0, 0.1, 0.1, 0.1, 0.1, 0.1])
    views = [normal(6, 6, seed=5), normal(6, 6, seed=6)]
    target = images @ normal(6, 3, seed=7) + 0.5 * normal(60, 3, seed=8)
    apart = []
    for tied in (True, False):
        data = Consensus([images @ view for view in views], [latents @ view for view in views], [0, 0 if tied else 1])
        start = [torch.zeros(6, 3, dtype=torch.float64) for _ in views]
        found = agree_on_places(data, target, start, 10.0, 30 * AGREE, tolerance=1e-10)
        one, other = (latents @ view @ matrix for view, matrix in zip(views, found, strict=True))
        apart.append(float((one - other).norm() / (one + other).norm()))
    assert apart[0] < 0.3 * apart[1]


def test_float32_comes_close_at_the_default_tolerance() -> None:
    features, tokens, target = problem()
    singles = Consensus([one.float() for one in features], [one.float() for one in tokens], [0] * 4)
    start = [torch.zeros(width, CHANNELS) for width in WIDTHS]
    for found, truth in zip(
        agree_on_places(singles, target.float(), start, ALPHA, AGREE), solved([0] * 4), strict=True
    ):
        assert found.dtype == torch.float32
        assert float((found - truth).norm() / truth.norm()) < 0.02
