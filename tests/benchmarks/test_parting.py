"""How often `trace`'s test finds a parting that is there, and one that is not: planted and null worlds, five seeds.

pytest -m benchmark -s tests/benchmarks/test_parting.py
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from alignedcut_cli.commands.trace.plan import around
from alignedcut_cli.core.groups.bifurcation import bifurcation, joint_p
from alignedcut_cli.core.groups.centres import ball_members, clear_radius, farthest_centres
from alignedcut_cli.core.groups.partition import nearest_centre, partition_centres
from alignedcut_cli.core.resample.draws import random_orders
from alignedcut_cli.core.resample.nulls import holm

pytestmark = pytest.mark.benchmark

GRID, LAYERS, PLANTED, WIDTH, IMAGES = (8, 8), 4, 2, 10, 40
NULLS, WORLDS, PERMUTATIONS = 200, 100, 199
Layers = list[np.ndarray]
"""The eigenvectors (B, P, C) of each layer."""
Maps = list[tuple[list[np.ndarray], int]]
"""The concepts (B, P) of each layer, and how many there are, of each map."""


def smooth(draws: np.random.Generator, *shape: int) -> np.ndarray:
    """Fields (..., B, rows, cols) of unit spread whose neighbours are alike."""
    sigma = (0,) * (len(shape) + 1) + (1.5, 1.5)
    field = gaussian_filter(draws.standard_normal((*shape, IMAGES, *GRID)), sigma, mode="wrap")
    return field / field.std()


def world_of(seed: int, kind: str, size: float = 1.0) -> tuple[Layers, np.ndarray]:
    """Layers whose nodes lie around one of three centres, in smooth regions of an image, and the objects (B, P) in it.

    From layer to layer some regions move to another centre. none: whatever is foreground. before: foreground mostly lies
    around another centre from the start. place: foreground lies in the middle of the image, and nodes in the middle move
    into layer PLANTED, whatever they are. within: foreground lies apart from background around each centre, in all layers
    alike, and moves as background does. parted: foreground moves there, `size` spreads more often than background.
    """
    draws = np.random.default_rng(seed)
    middle = 1.5 * np.outer(*[np.sin(np.pi * (np.arange(side) + 0.5) / side) for side in GRID])
    objects = smooth(draws) + (kind == "place") * middle
    inside = objects > np.quantile(objects, 0.75, axis=(1, 2), keepdims=True)
    start = smooth(draws) + 1.2 * (kind == "before") * inside
    centre, around_it = np.searchsorted(np.quantile(start, [1 / 3, 2 / 3]), start), smooth(draws, WIDTH)
    turn = np.linalg.qr(draws.standard_normal((WIDTH, WIDTH)))[0]
    layers = []
    for layer in range(LAYERS):
        if layer:
            drift = smooth(draws) + 0.5 * draws.standard_normal((IMAGES, 1, 1))
            if layer == PLANTED:
                drift += (kind == "place") * middle + size * (kind == "parted") * inside
            centre = (centre + (drift > 0.7)) % 3
            around_it = 0.8 * around_it + 0.6 * smooth(draws, WIDTH)
        apart = np.zeros(WIDTH) if kind != "within" else np.linspace(0.6, 0, WIDTH)
        rows = (
            inside[..., None] * apart
            + 0.5 * np.moveaxis(around_it, 0, -1) * np.linspace(1, 0.4, WIDTH)
            + 2 * np.eye(WIDTH)[centre]
        )
        layers.append((rows @ turn).reshape(IMAGES, -1, WIDTH))
    return layers, inside.reshape(IMAGES, -1).astype(np.int64)


def partitioned(layers: Layers, seed: int, counts: list[int]) -> Maps:
    per_layer = []
    for layer in layers:
        rows = layer.reshape(-1, WIDTH)
        per_layer.append(
            [nearest_centre(rows, one).reshape(IMAGES, -1) for one in partition_centres(rows, counts, seed)]
        )
    return [([cells[number] for cells in per_layer], count) for number, count in enumerate(counts)]


def in_balls(layers: Layers, seed: int, count: int = 5) -> Maps:
    """The largest balls that do not overlap, around farthest points: what `trace` had in eigenvectors."""
    found = []
    for number, layer in enumerate(layers):
        rows = layer.reshape(-1, WIDTH)
        centres = rows[farthest_centres(rows, count, 100 * seed + number)]
        found.append(ball_members(rows, centres, clear_radius(centres)).reshape(IMAGES, -1))
    return [(found, count)]


WAYS: dict[str, Callable[[Layers, int], Maps]] = {
    "partitions, 5 maps (default)": lambda layers, seed: partitioned(layers, seed, around(5, 5)),
    "partition, 1 map": lambda layers, seed: partitioned(layers, seed, around(5, 1)),
    "balls in eigenvectors": in_balls,
}
DEFAULT, *_, BALLS = WAYS


def p_values(maps: Maps, layers: Layers | None, labels: np.ndarray, seed: int) -> np.ndarray:
    """The p-value of each pair of layers, over all maps; with `layers` freed of where nodes lie before."""
    orders = random_orders(IMAGES, PERMUTATIONS, seed)
    steps = [[*pairwise(concepts)] for concepts, _ in maps]
    found = []
    for pair in range(LAYERS - 1):
        places = layers[pair] if layers else None
        each = [bifurcation(*steps[m][pair], labels, count, orders, places) for m, (_, count) in enumerate(maps)]
        found.append(joint_p(each))
    return np.array(found)


@pytest.mark.parametrize("kind", ["none", "before", "place", "within"])
def test_false_positives_are_as_many_as_the_level_says(kind: str) -> None:
    """At the planted pair, where `place` differs by position alone; other pairs are printed."""
    p = []
    for seed in range(NULLS):
        layers, labels = world_of(seed, kind)
        p.append(p_values(WAYS[DEFAULT](layers, seed), layers, labels, seed))
    p = np.array(p)
    rates = (p <= 0.05).mean(0)
    print(f"\n{kind}: p <= .05 at each pair of layers {rates}, of all {rates.mean():.3f}; any after Holm "
          f"{np.mean([holm(row).min() <= 0.05 for row in p]):.3f}")  # fmt: skip
    assert rates.mean() <= 0.07
    assert kind == "within" or rates.mean() >= 0.03  # where foreground lies apart anyway, the test is on the safe side


def test_planted_partings_are_found_at_their_layer() -> None:
    print()
    for size in (0.3, 0.5, 1.0):
        for name, way in WAYS.items():
            found = []
            for seed in range(WORLDS):
                layers, labels = world_of(1000 + seed, "parted", size)
                places = None if name == BALLS else layers
                found.append(holm(p_values(way(layers, seed), places, labels, seed)))
            hit = np.mean([row.argmin() == PLANTED - 1 and row.min() <= 0.05 for row in found])
            print(f"moves {size} spreads oftener, {name}: found there in {hit:.2f}")
            if name == DEFAULT and size == 1.0:
                assert hit >= 0.9
