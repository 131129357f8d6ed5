"""Similarity of slots before and after an alignment: CKA and Procrustes of their means over tokens, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.encode.rdm import Gram
from alignedcut_cli.core.encode.similarity import cka_draws, cka_of, drawn_gram, largest_components, procrustes_draws
from alignedcut_cli.core.resample.draws import bootstrap_weights, random_orders
from alignedcut_cli.core.resample.intervals import paired_difference, percentile, recentred
from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.spaces import open_transforms

if TYPE_CHECKING:
    from alignedcut_cli.commands.compare.plan import Plan

__all__ = ["MEASURES", "compare_alignments"]

MEASURES = ("cka", "procrustes")
COMPONENTS, ORDERS = 16, 10


def compare_alignments(frame: Frame, plan: Plan) -> dict[str, np.ndarray]:
    """For each measure the matrices of slots before and after (K, S, S), their intervals, and the mean gain of pairs."""
    pooled = _pooled(plan)
    states = [pooled]
    for side, space in zip(plan.slots, plan.spaces, strict=True):
        transform = open_transforms(space)
        made = []
        for slot, rows in zip(side, pooled, strict=True):
            weights = transform(slot)
            assert weights is not None
            made.append(rows @ weights.double())
        states.append(made)
    images, params = len(plan.images), plan.recipe.params
    drawn = bootstrap_weights(images, params["bootstrap"], params["seed"])
    weights = torch.from_numpy(np.concatenate([np.ones((1, images)), drawn]))
    tensors: dict[str, np.ndarray] = {}
    pairs = len(states) * len(pooled) * (len(pooled) + 1) // 2
    with frame.output.progress("comparing", pairs, "pairs of slots") as advance:
        for measure in MEASURES:
            draws = np.stack([_draws(measure, state, weights, advance) for state in states])  # (K, S, S, 1 + T)
            ends = [[[_ends(measure, one) for one in row] for row in state] for state in draws]
            tensors[measure] = np.array(ends, np.float64)
            tensors[f"{measure}.gain"] = _gains(measure, plan, draws)
    order = torch.from_numpy(random_orders(images, ORDERS, params["seed"]))
    tensors["procrustes.chance"] = np.stack([_chance(state, order) for state in states])
    if len(plan.sides) == 2:
        tensors["between"] = _between(states[1], states[2], weights)
    return tensors


def _pooled(plan: Plan) -> list[Tensor]:
    """The means over tokens (B, D) float64 of each slot. Raises DataError for non-finite ones."""
    found = []
    for slot in plan.slots[0]:
        rows = np.concatenate(slot.source.blocks(slot.pooled)).astype(np.float64)
        if not np.isfinite(rows).all():
            raise DataError("not-finite", f"{slot.name}: pooled features are not finite", "Leave it out with --layers")
        found.append(torch.from_numpy(rows))
    return found


def _draws(measure: str, state: list[Tensor], weights: Tensor, advance: Callable[[int], None]) -> np.ndarray:
    """The measure of each pair of slots under each weighting: (S, S, T), symmetric."""
    grams = [drawn_gram(Gram.of([rows]).products, weights) for rows in state] if measure == "cka" else []
    parts = [] if measure == "cka" else [largest_components(rows, COMPONENTS) for rows in state]
    every = torch.arange(weights.shape[1])
    found = np.empty((len(state), len(state), len(weights)))
    for one in range(len(state)):
        for other in range(one, len(state)):
            if measure == "cka":
                made = cka_of(grams[one], grams[other])
            else:
                made = procrustes_draws(parts[one], parts[other], every, weights)
            found[one, other] = found[other, one] = made.numpy()
            advance(1 if measure == "cka" else 0)
    return found


def _ends(measure: str, draws: np.ndarray) -> tuple[float, float, float]:
    """The value and its interval: repeated images bias Procrustes upwards, so its draws are recentred on the value."""
    value = float(draws[0])
    return (value, *(percentile(draws[1:]) if measure == "cka" else recentred(draws[1:], value)))


def _gains(measure: str, plan: Plan, draws: np.ndarray) -> np.ndarray:
    """Means over pairs of slots within and across models: each state, and each state minus the first, (2, K, 4)."""
    models = np.array([slot["model"] for slot in plan.about])
    apart = ~np.eye(len(models), dtype=bool)
    same = models[:, None] == models[None, :]
    rows = []
    for chosen in (same & apart, ~same):
        means = np.nanmean(draws[:, chosen], 1) if chosen.any() else np.full((len(draws), draws.shape[-1]), np.nan)
        later = [paired_difference(one[0], means[0, 0], one[1:], means[0, 1:]) for one in means[1:]]
        gains = [(*_ends(measure, one - means[0]), found.p) for one, found in zip(means[1:], later, strict=True)]
        rows.append([(*_ends(measure, means[0]), np.nan), *gains])
    return np.array(rows, np.float64)


def _chance(state: list[Tensor], orders: Tensor) -> np.ndarray:
    """Procrustes with the images of one slot permuted, the mean over permutations: (S, S)."""
    parts = [largest_components(rows, COMPONENTS) for rows in state]
    one = torch.ones(1, len(parts[0]))
    every = torch.arange(len(parts[0]))
    found = np.full((len(parts), len(parts)), np.nan)
    for left in range(len(parts)):
        for right in range(left + 1, len(parts)):
            made = [float(procrustes_draws(parts[left], parts[right][order], every, one)) for order in orders]
            found[left, right] = found[right, left] = np.mean(made)
    return found


def _between(one: list[Tensor], other: list[Tensor], weights: Tensor) -> np.ndarray:
    """CKA of each slot in one alignment with itself in the other, and its interval: (S, 3)."""
    draws = [
        cka_draws(Gram.of([left]).products, Gram.of([right]).products, weights)
        for left, right in zip(one, other, strict=True)
    ]
    return np.array([_ends("cka", one.numpy()) for one in draws])
