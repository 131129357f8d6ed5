"""Aligned and brain space: one matrix a slot has the cosines that the equations spell out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignedcut_cli.core.align import spaces
from alignedcut_cli.core.align.spaces import brain_factor, node_transform, roi_voxels
from alignedcut_cli.core.numerics import NumericsError


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosines(rows: Tensor) -> Tensor:
    """cos(v_i, v_j) as written: (M, M) float64."""
    rows = rows.double()
    lengths = (rows**2).sum(1).sqrt()
    return rows @ rows.T / torch.outer(lengths, lengths)


def explicit(features: Tensor, weights: Tensor, beta: Tensor, voxels: Tensor) -> Tensor:
    """Cosines of V W beta[:, voxels] in float64, voxel by voxel."""
    return cosines(features.double() @ weights.double() @ beta.double()[:, voxels.nonzero().squeeze(1)])


def short(features: Tensor, weights: Tensor, beta: Tensor, voxels: Tensor | None = None) -> Tensor:
    return cosines(features @ node_transform(weights, brain_factor(beta, voxels)))


@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 9), voxels=st.integers(1, 40), width=st.integers(9, 12), block=st.sampled_from([1, 7, 4096])
)
def test_brain_space_has_the_cosines_of_the_voxels(channels: int, voxels: int, width: int, block: int) -> None:
    features, weights, beta = draw(20, width), draw(width, channels, seed=1), draw(channels, voxels, seed=2)
    everyone = torch.ones(voxels, dtype=torch.bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spaces, "VOXEL_BLOCK", block)
        found = short(features, weights, beta)
    lengths = (features.double() @ weights.double() @ beta.double()).norm(dim=1)
    clear = lengths > 1e-3 * lengths.max()  # of a row that all but vanishes, float32 has no direction
    torch.testing.assert_close(
        found[clear][:, clear], explicit(features, weights, beta, everyone)[clear][:, clear], atol=1e-4, rtol=0
    )


def test_the_factor_has_the_gram_of_beta_and_its_rank() -> None:
    for voxels in (3, 8, 200):
        beta = draw(8, voxels)
        factor = brain_factor(beta)
        assert factor.shape == (8, min(8, voxels))
        assert factor.dtype == torch.float64
        torch.testing.assert_close(factor @ factor.T, beta.double() @ beta.double().T, atol=1e-10, rtol=1e-10)


def test_slots_of_different_widths_compare() -> None:
    beta, voxels = draw(6, 50), torch.arange(50) % 3 == 0
    pairs = [(draw(15, width, seed=width), draw(width, 6, seed=width + 1)) for width in (8, 20)]
    factor = brain_factor(beta, voxels)
    found = cosines(torch.cat([features @ node_transform(weights, factor) for features, weights in pairs]))
    nodes = torch.cat([features.double() @ weights.double() for features, weights in pairs])
    torch.testing.assert_close(found, cosines(nodes @ beta.double()[:, voxels]), atol=1e-5, rtol=0)


def test_areas_are_the_union_of_their_voxels() -> None:
    membership = torch.zeros(3, 40, dtype=torch.uint8)
    membership[0, :10] = membership[1, 5:20] = membership[2, 39] = 1
    voxels = roi_voxels(membership, [0, 1])
    assert voxels.nonzero().squeeze(1).tolist() == list(range(20))
    assert torch.equal(roi_voxels(membership, [1, 0, 1]), voxels)
    features, weights, beta = draw(20, 9), draw(9, 6, seed=1), draw(6, 40, seed=2)
    torch.testing.assert_close(
        short(features, weights, beta, voxels), explicit(features, weights, beta, voxels), atol=1e-5, rtol=0
    )
    assert not torch.allclose(short(features, weights, beta, voxels), short(features, weights, beta), atol=0.05)


def test_the_order_and_the_scale_of_the_voxels_do_not_matter() -> None:
    features, weights, beta = draw(20, 9), draw(9, 6, seed=1), draw(6, 40, seed=2)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    found = short(features, weights, beta)
    torch.testing.assert_close(short(features, weights, beta[:, order]), found, atol=1e-5, rtol=0)
    torch.testing.assert_close(short(features, weights, 1e-3 * beta), found, atol=1e-5, rtol=0)
    torch.testing.assert_close(short(features, 1e4 * weights, beta), found, atol=1e-5, rtol=0)


def test_one_voxel_leaves_only_the_sign() -> None:
    features, weights, beta = draw(20, 9), draw(9, 6, seed=1), draw(6, 40, seed=2)
    voxels = torch.arange(40) == 17
    assert brain_factor(beta, voxels).shape == (6, 1)
    sign = (features.double() @ weights.double() @ beta.double()[:, 17]).sign()
    torch.testing.assert_close(short(features, weights, beta, voxels), torch.outer(sign, sign), atol=1e-12, rtol=0)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_beta_without_full_rank_gives_fewer_channels(rank: int) -> None:
    """Integers, so that float32 holds the product exactly and its rank is what it looks like."""
    generator = torch.Generator().manual_seed(0)
    beta = torch.randint(-4, 5, (7, rank), generator=generator) @ torch.randint(-4, 5, (rank, 60), generator=generator)
    beta = beta.float()
    assert brain_factor(beta).shape == (7, rank)
    features, weights = draw(20, 9), draw(9, 7, seed=1)
    everyone = torch.ones(60, dtype=torch.bool)
    torch.testing.assert_close(
        short(features, weights, beta), explicit(features, weights, beta, everyone), atol=1e-4, rtol=0
    )


def test_repeated_voxels_and_silent_ones_add_no_channel() -> None:
    beta = draw(8, 5)
    padded = torch.cat([beta, beta, torch.zeros(8, 30)], 1)
    assert brain_factor(padded).shape == (8, 5)


def test_aligned_space_is_the_weights_themselves() -> None:
    weights = draw(9, 6)
    assert torch.equal(node_transform(weights), weights)
    assert node_transform(weights.double()).dtype == node_transform(weights, brain_factor(draw(6, 4))).dtype
    assert node_transform(weights.double()).dtype == torch.float32


@pytest.mark.parametrize(
    ("beta", "told"),
    [
        (torch.zeros(4, 7), "beta is zero at all of 7 voxels"),
        (torch.full((4, 7), float("nan")), "beta is not finite at some of 7 voxels"),
        (torch.zeros(4, 0), "there is no voxel"),
    ],
)
def test_a_beta_that_gives_no_space_is_refused(beta: Tensor, told: str) -> None:
    with pytest.raises(NumericsError, match=told):
        brain_factor(beta)


def test_an_area_without_voxels_is_refused() -> None:
    with pytest.raises(NumericsError, match="there is no voxel"):
        brain_factor(draw(4, 7), torch.zeros(7, dtype=torch.bool))
