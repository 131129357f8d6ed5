"""Principal angles from moments against SciPy's from the columns themselves, images drawn again included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from torch import Tensor

from alignedcut_cli.core.graph.subspaces import cosines_of_moments, moments_by_image, projector_error, subspace_error
from tests.helpers.reference import projector_distance

IMAGES, EACH = 6, 9
PLACES = torch.arange(IMAGES).repeat_interleave(EACH)


def pair(columns: int = 4, others: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(IMAGES * EACH, columns, generator=generator)
    turned = left @ torch.randn(columns, others, generator=generator)
    return left, turned + torch.linspace(0, 2, others) * torch.randn(IMAGES * EACH, others, generator=generator)


@pytest.mark.parametrize("others", [4, 6])
def test_cosines_are_those_of_the_columns_of_the_drawn_images(others: int) -> None:
    left, right = pair(others=others)
    moments = moments_by_image(left, right, PLACES, IMAGES)
    draws = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 2, 1, 3, 0, 0]]).double()
    found = cosines_of_moments(torch.einsum("tb,bij->tij", draws, moments), 4)
    for draw, cosines in zip(draws, found, strict=True):
        rows = torch.repeat_interleave(torch.arange(len(left)), draw[PLACES].long())
        angles = subspace_angles(left[rows].double().numpy(), right[rows].double().numpy())
        np.testing.assert_allclose(cosines.numpy(), np.sort(np.cos(angles))[::-1], atol=1e-7)


def test_the_error_is_that_of_the_projectors() -> None:
    left, right = (torch.linalg.qr(columns.double()).Q for columns in pair())
    cosines = cosines_of_moments(moments_by_image(left, right, PLACES, IMAGES).sum(0)[None], 4)
    error = float(projector_error(cosines))
    assert error == pytest.approx(projector_distance(left, right), abs=1e-9)
    assert error == pytest.approx(subspace_error(left, right), abs=1e-9)


def test_columns_that_repeat_add_no_direction() -> None:
    left, _ = pair()
    doubled = torch.cat([left[:, :3], left[:, :1] * 2], 1)
    cosines = cosines_of_moments(moments_by_image(doubled, left, PLACES, IMAGES).sum(0)[None], 4)[0]
    torch.testing.assert_close(cosines, torch.tensor([1.0, 1, 1, 0]).double(), atol=1e-6, rtol=0)
