"""Coverage of the intervals of `compare` over simulated worlds: projector error, Procrustes, CKA. Prints the table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.encode.rdm import Gram
from alignedcut_cli.core.encode.similarity import cka_draws, procrustes_draws
from alignedcut_cli.core.graph.subspaces import cosines_of_moments, moments_by_image, projector_error
from alignedcut_cli.core.resample.draws import bootstrap_weights
from alignedcut_cli.core.resample.intervals import percentile, recentred

pytestmark = pytest.mark.benchmark

IMAGES, MANY, TOKENS, WORLDS, DRAWS = 60, 4000, 12, 200, 200


def world(seed: int, images: int) -> tuple[Tensor, Tensor]:
    """Two views (images * TOKENS, 5) of the same nodes; what an image shows is shared by its nodes."""
    fixed = torch.Generator().manual_seed(1)
    maps = [torch.randn(6, 5, generator=fixed) * torch.tensor([2, 1.5, 1, 0.5, 0.25]) for _ in range(2)]
    generator = torch.Generator().manual_seed(seed)
    shown = torch.randn(images, 1, 6, generator=generator) + 0.7 * torch.randn(images, TOKENS, 6, generator=generator)
    views = [shown @ one + 0.8 * torch.randn(images, TOKENS, 5, generator=generator) for one in maps]
    return views[0].flatten(0, 1), views[1].flatten(0, 1)


def measured(views: tuple[Tensor, Tensor], images: int, weights: Tensor) -> dict[str, np.ndarray]:
    places = torch.arange(images).repeat_interleave(TOKENS)
    moments = moments_by_image(*views, places, images)
    pooled = [view.reshape(images, TOKENS, -1).mean(1) for view in views]
    cosines = cosines_of_moments(torch.einsum("tb,bij->tij", weights, moments), 5)
    found = {
        "projector error": projector_error(cosines),
        "Procrustes of nodes": procrustes_draws(*views, places, weights),
        "Procrustes of images": procrustes_draws(*pooled, torch.arange(images), weights),
    }
    if images < MANY:
        found["CKA"] = cka_draws(*(Gram.of([one]).products for one in pooled), weights)
    return {name: draws.numpy() for name, draws in found.items()}


def test_intervals_cover_the_values_of_very_many_images() -> None:
    large = world(10_000, MANY)
    truth = {name: float(one[0]) for name, one in measured(large, MANY, torch.ones(1, MANY).double()).items()}
    left, right = (view.reshape(MANY, TOKENS, -1).mean(1).double() for view in large)
    left, right = left - left.mean(0), right - right.mean(0)
    own = (left.T @ left).norm() * (right.T @ right).norm()
    truth["CKA"] = float((left.T @ right).square().sum() / own)  # biased, by 1 / MANY
    covered = dict.fromkeys(truth, 0)
    for seed in range(WORLDS):
        weights = torch.from_numpy(np.concatenate([np.ones((1, IMAGES)), bootstrap_weights(IMAGES, DRAWS, seed)]))
        for name, draws in measured(world(seed, IMAGES), IMAGES, weights).items():
            value = float(draws[0])
            low, high = percentile(draws[1:]) if name == "CKA" else recentred(draws[1:], value)
            covered[name] += low <= truth[name] <= high
    print(f"\n95% intervals that hold the truth, of {WORLDS} worlds of {IMAGES} images:", covered)
    assert all(0.90 * WORLDS <= count <= 0.99 * WORLDS for count in covered.values())
