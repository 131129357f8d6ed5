"""Concepts of a slot: spheres around farthest-point centres in the colour space, and the activation of their nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.commands.concepts.data import Readout, Tiles, patches
from alignedcut_cli.commands.concepts.plan import Plan
from alignedcut_cli.core.groups.activations import correlation, moments, readout_moments
from alignedcut_cli.core.groups.centres import ball_members, clear_radius, farthest_centres
from alignedcut_cli.core.groups.concept_stability import drawn_overlaps, seeded_overlaps
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.draws import bootstrap_weights
from alignedcut_cli.nodes.slots import Slot

__all__ = ["Spheres", "spheres_of"]

SEEDS = 5
"""Bootstrap draws of images per other first centre."""


@dataclass(frozen=True)
class Spheres:
    """The concepts of one slot: K spheres (fewer if there are fewer distinct coordinates), node ids within the slot.

    centres (k,), radius, concept (nodes,) of each node or -1, sizes (k,), examples (k, P) or -1; activation over the nodes
    of each sphere: mean and deviation per ROI (k, R) and per voxel (k, N); `total` the same of all patches (2, N);
    `correlations` (k, 3) of |mean| with deviation over voxels, raw, in units of the slot's own deviation, and z-scored.
    `stability` (k, 2): how much of a concept is recovered, over bootstrap draws of images and over seeds; NaN if not asked.
    """

    centres: np.ndarray
    radius: float
    concept: np.ndarray
    sizes: Tensor
    examples: np.ndarray
    roi: tuple[Tensor, Tensor]
    voxel: tuple[Tensor, Tensor]
    total: Tensor
    correlations: Tensor
    stability: np.ndarray


def spheres_of(
    number: int, slot: Slot, weights: Tensor, readout: Readout, places: np.ndarray, plan: Plan, tiles: Tiles
) -> Spheres:
    """The concepts of slot `number`: farthest-point centres among its patches, with coordinates `places` (nodes, d)."""
    params = plan.recipe.params
    ids = np.flatnonzero(patches(slot, len(plan.images)))
    centres = ids[farthest_centres(places[ids], params["concepts"], stream(params["seed"], "concepts", number))]
    radius = clear_radius(places[centres]) if params["radius"] == "auto" else params["radius"]
    concept = np.full(slot.nodes, -1, np.int64)
    concept[ids] = ball_members(places[ids], places[centres], radius)
    everyone = np.full(slot.nodes, -1, np.int64)
    everyone[ids] = 0
    members = torch.from_numpy(concept)
    sizes, means, covariances = moments(tiles(slot, weights), members, len(centres))
    _, mean, covariance = moments(tiles(slot, weights), torch.from_numpy(everyone), 1)
    voxel = _read(means, covariances, readout.beta)
    total = torch.stack(readout_moments(mean[0], covariance[0], readout.beta))
    return Spheres(
        centres,
        radius,
        concept,
        sizes,
        _examples(places, centres, concept, slot.tokens, params["examples"]),
        _read(means, covariances, readout.by_roi),
        voxel,
        total,
        torch.tensor([_correlations(mean, deviation, total) for mean, deviation in zip(*voxel, strict=True)]),
        _stability(places[ids], concept[ids], ids // slot.tokens, len(centres), number, plan),
    )


def _stability(
    places: np.ndarray, concept: np.ndarray, images: np.ndarray, count: int, number: int, plan: Plan
) -> np.ndarray:
    """Mean overlap of each concept with its best match, (k, 2): over bootstrap draws of images, and other first centres."""
    params = plan.recipe.params
    if not params["bootstrap"]:
        return np.full((count, 2), np.nan)
    seed, radius = params["seed"], None if params["radius"] == "auto" else params["radius"]
    draws = bootstrap_weights(len(plan.images), params["bootstrap"], seed)
    start = stream(seed, "concepts", number)
    seeds = [stream(seed, "concepts", number, other) for other in range(max(1, params["bootstrap"] // SEEDS))]
    return np.stack(
        [
            drawn_overlaps(places, concept, images, draws, params["concepts"], radius, start)[:, :count].mean(0),
            seeded_overlaps(places, concept, params["concepts"], radius, seeds)[:, :count].mean(0),
        ],
        1,
    )


def _read(means: Tensor, covariances: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    found = [readout_moments(mean, covariance, beta) for mean, covariance in zip(means, covariances, strict=True)]
    return torch.stack([mean for mean, _ in found]), torch.stack([deviation for _, deviation in found])


def _correlations(mean: Tensor, deviation: Tensor, total: Tensor) -> tuple[float, float, float]:
    """r of |mean| with deviation over voxels: raw; both divided by the voxel's deviation over all patches; and z-scored,
    with its mean over all patches subtracted first."""
    middle, unit = total
    live = unit > 0
    spread = (deviation / unit)[live]
    return (
        correlation(mean.abs(), deviation),
        correlation((mean.abs() / unit)[live], spread),
        correlation(((mean - middle).abs() / unit)[live], spread),
    )


def _examples(places: np.ndarray, centres: np.ndarray, concept: np.ndarray, tokens: int, count: int) -> np.ndarray:
    """Example nodes of each sphere, (k, count), -1 where there are fewer: the nearest to the centre, first one per image."""
    found = np.full((len(centres), count), -1, np.int64)
    for row, centre in enumerate(centres):
        members = np.flatnonzero(concept == row)
        apart = np.linalg.norm(places[members].astype(np.float64) - places[centre], axis=1)
        nearest = members[np.argsort(apart, kind="stable")]
        nearest = np.concatenate([[centre], nearest[nearest != centre]])
        _, first = np.unique(nearest // tokens, return_index=True)
        again = np.ones(len(nearest), bool)
        again[first] = False
        shown = np.concatenate([nearest[np.sort(first)], nearest[again]])[:count]
        found[row, : len(shown)] = shown
    return found
