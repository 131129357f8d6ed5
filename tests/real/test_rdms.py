"""Comparisons and ceilings of the 92 images' RDMs, to the digits that rsatoolbox gives for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.encode.ceilings import across_subjects
from alignedcut_cli.core.encode.compare import compare
from tests.conftest import REAL

pytestmark = pytest.mark.real

PRINTED = {
    "pearson": (0.301167, 0.246773, 0.251927, 0.611796),
    "spearman": (0.298832, 0.237645, 0.249360, 0.605469),
    "tau-a": (0.172565, 0.160009, 0.167256, 0.424776),
    "whitened": (0.335719, 0.284423, None, None),
}
"""Animacy and monkey IT against human IT (session 1, mean of 4 subjects), and the ceiling of one subject left out."""


@pytest.fixture(scope="module")
def rdms() -> dict[str, Tensor]:
    path = REAL / "brain/kriegeskorte92/rdms.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    held = np.load(path)
    animate = held["category_vectors"][:, 0]
    return {
        "human": torch.from_numpy(held["hIT_subject_session"]).double(),
        "monkey": torch.from_numpy(held["fig1_rdms"][0]).double(),
        "animacy": torch.from_numpy((animate[:, None] != animate).astype(float)),
    }


@pytest.mark.parametrize("by", PRINTED)
def test_known_comparisons_and_ceilings(rdms: dict[str, Tensor], by: str) -> None:
    human = rdms["human"][:, 0]
    animacy, monkey, lower, upper = PRINTED[by]
    assert float(compare(rdms["animacy"], human, by).mean()) == pytest.approx(animacy, abs=6e-7)
    assert float(compare(rdms["monkey"], human, by).mean()) == pytest.approx(monkey, abs=6e-7)
    if lower is not None:
        bounds = [float(bound.mean()) for bound in across_subjects(human, by)]
        assert bounds == pytest.approx([lower, upper], abs=6e-7)


def test_known_comparisons_of_one_subject_and_of_the_mean(rdms: dict[str, Tensor]) -> None:
    first, mean = rdms["human"][:1, 0], rdms["human"].mean((0, 1))
    assert float(compare(rdms["animacy"], first, "pearson")) == pytest.approx(0.350757, abs=6e-7)
    assert float(compare(rdms["monkey"], first, "pearson")) == pytest.approx(0.338977, abs=6e-7)
    assert float(compare(mean, rdms["monkey"][None], "pearson")) == pytest.approx(0.491210, abs=6e-7)
    assert float(compare(mean, rdms["monkey"][None], "spearman")) == pytest.approx(0.438924, abs=6e-7)
