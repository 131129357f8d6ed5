"""The steps of a low-rank cut over ranges of nodes, against the sums written out in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from alignedcut_cli.core.graph import lowrank
from alignedcut_cli.core.graph.density import cell_weights, nearest_centres, voronoi_weights
from alignedcut_cli.core.graph.lowrank import ncut_lowrank, pilot_lowrank, signing_nodes
from alignedcut_cli.core.graph.one_pass import (
    LEAST_RANGES,
    STEP,
    Projected,
    Sums,
    add_up,
    degree_map,
    degrees_of,
    gram_of,
    project,
    range_nodes,
    rotate,
    rotation_of,
    split,
)
from alignedcut_cli.core.graph.pilot import Pilot
from alignedcut_cli.core.numerics import fixing_signs
from tests.helpers.reference import clusters

NODES, SPAN, COUNT, GAMMA = 3000, 1024, 5, 0.7


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def features() -> Tensor:
    return clusters(NODES)


@pytest.fixture
def weights() -> Tensor:
    return torch.rand(NODES, generator=torch.Generator().manual_seed(3)) + 0.5


@pytest.fixture
def pilot(features: Tensor, weights: Tensor, monkeypatch: pytest.MonkeyPatch) -> Pilot:
    monkeypatch.setattr(lowrank, "pilot_nodes", lambda total, nodes: 500)
    take, weigh = (lambda ids: features[ids]), (lambda ids: weights[ids])
    return pilot_lowrank(take, NODES, COUNT, nodes=60, gamma=GAMMA, weights=weigh)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.double(), wanted, rtol=2e-4, atol=2e-4 * float(wanted.abs().max()))


def columns(features: Tensor, landmarks: Tensor) -> Tensor:
    """exp((cos - 1) / gamma), float64."""
    left, right = (rows.double() / rows.double().norm(dim=1, keepdim=True) for rows in (features, landmarks))
    return ((left @ right.T - 1) / GAMMA).exp()


def test_what_ranges_add_up_to_are_the_sums_written_out(features: Tensor, weights: Tensor, pilot: Pilot) -> None:
    affinities, floor = columns(features, pilot.landmarks), math.exp(-1 / GAMMA)
    kernel = torch.cat([torch.ones(NODES, 1, dtype=torch.float64), affinities - floor], 1)
    wanted = kernel @ pilot.maps  # Y
    own, guessed = weights.double(), (kernel @ pilot.maps @ pilot.guess).clamp_min(1)
    exact = columns(pilot.units, features)  # (256, M)
    sums, ranges = Sums.none(pilot), split(NODES, SPAN)
    made = [Projected.empty(stop - start, COUNT, len(pilot.guess), torch.device("cpu")) for start, stop in ranges]
    for one, (start, stop) in zip(made, ranges, strict=True):
        sums.add(project(pilot, lambda a, b: features[a:b], start, stop, one, weights=weights[start:stop], tile=300))
        close(one.first, wanted[start:stop, :COUNT])
        torch.testing.assert_close(one.spare.double(), wanted[start:stop, COUNT:], rtol=2e-3, atol=2e-3)
    close(sums.mass, torch.cat([own.sum()[None], affinities.T @ own]))
    close(sums.exact.degrees, exact @ own)
    close(sums.exact.images, exact @ (wanted * (own / guessed)[:, None]))
    coefficients = degree_map(pilot, sums.mass)
    degrees = (wanted @ coefficients).clamp_min(1)
    found = torch.cat([degrees_of(one, coefficients) for one in made])
    close(found, degrees)
    parts = zip(made, [found[a:b] for a, b in ranges], [weights[a:b] for a, b in ranges], strict=True)
    close(add_up(gram_of(*part) for part in parts), wanted.T @ (wanted * (own / degrees)[:, None]))


def test_the_degrees_are_those_of_the_factor_where_the_pilot_s_nodes_are_all(features: Tensor) -> None:
    pilot = pilot_lowrank(lambda ids: features[ids], NODES, COUNT, nodes=60, gamma=GAMMA)
    one = Projected.empty(NODES, COUNT, len(pilot.guess), torch.device("cpu"))
    sums = project(pilot, lambda a, b: features[a:b], 0, NODES, one)
    torch.testing.assert_close(
        degree_map(pilot, sums.mass), pilot.guess, rtol=1e-4, atol=1e-4 * float(pilot.guess.norm())
    )


def test_steps_in_any_order_of_ranges_are_the_cut_of_one_call(features: Tensor, weights: Tensor, pilot: Pilot) -> None:
    options = {"nodes": 60, "gamma": GAMMA, "weights": weights, "take": lambda ids: features[ids], "span": SPAN}
    whole = ncut_lowrank(lambda a, b: features[a:b], NODES, COUNT, **options)  # type: ignore[arg-type]
    ranges = split(NODES, SPAN)
    made = [Projected.empty(stop - start, COUNT, len(pilot.guess), torch.device("cpu")) for start, stop in ranges]

    def projected(number: int) -> Sums:
        start, stop = ranges[number]
        part = weights[start:stop]
        return project(pilot, lambda a, b: features[a:b], start, stop, made[number], weights=part)

    found = {number: projected(number) for number in (2, 0, 1)}
    sums = Sums.none(pilot)
    for number in range(3):
        sums.add(found[number])
    coefficients = degree_map(pilot, sums.mass)
    degrees = [degrees_of(one, coefficients) for one in made]
    grams = {n: gram_of(made[n], degrees[n], weights[slice(*ranges[n])]) for n in (1, 2, 0)}
    y = Projected(torch.cat([one.first for one in made]), torch.cat([one.spare for one in made]))
    signing = signing_nodes(NODES, 0)
    turned = rotation_of(
        pilot, sums.exact, coefficients, add_up(grams[n] for n in range(3)), COUNT, NODES, y.rows, signing
    )
    for one, some_degrees in zip(made, degrees, strict=True):
        rotate(one, some_degrees, turned.turn, one.first)
    vectors = torch.cat([one.first for one in made])
    assert torch.equal(vectors, whole.eigenvectors)
    assert torch.equal(turned.values, whole.eigenvalues) and torch.equal(turned.residuals, whole.residuals)
    assert whole.extension is not None and torch.equal(turned.maps(pilot), whole.extension.maps)
    assert torch.equal(fixing_signs(vectors), torch.ones(COUNT))


@pytest.mark.parametrize("pilot_of", [None, 500])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_bits_do_not_depend_on_the_threads(
    features: Tensor, pilot_of: int | None, precision: str, threads: Callable[[int], None]
) -> None:
    found = []
    for count in (1, 2, 3):
        threads(count)
        cut = ncut_lowrank(
            lambda a, b: features[a:b],
            NODES,
            COUNT,
            nodes=200,
            pilot=pilot_of,
            tile=256,
            precision=precision,
            span=SPAN,
        )
        assert cut.extension is not None and cut.certificate is not None
        found.append((cut.eigenvectors, cut.eigenvalues, cut.residuals, cut.extension.maps, cut.certificate))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0][:4], other[:4], strict=True))
        assert other[4] == found[0][4]


def test_cells_of_ranges_give_the_weights_of_all(features: Tensor) -> None:
    centres = features[::100] / features[::100].norm(dim=1, keepdim=True)
    parts = [nearest_centres(lambda a, b: features[a:b], *ends, centres) for ends in split(NODES, SPAN)]
    sizes = add_up(torch.bincount(one, minlength=len(centres)) for one in parts)
    weights = cell_weights(sizes)[torch.cat(parts)]
    assert torch.equal(weights, voronoi_weights(lambda a, b: features[a:b], NODES, centres))
    assert float(weights.double().mean()) == pytest.approx(1, abs=1e-6)
    assert (cell_weights(torch.tensor([4, 0, 2])) * torch.tensor([4.0, 1, 2]))[[0, 2]].tolist() == [3, 3]


@given(some.integers(1, 1 << 20))
def test_ranges_hold_whole_tiles_of_128_mib_at_most_or_one_step(width: int) -> None:
    nodes = range_nodes(width)
    assert nodes % STEP == 0 and STEP <= nodes <= 1 << 17
    assert nodes == STEP or nodes * width * 2 <= 128 << 20
    assert nodes == 1 << 17 or (nodes + STEP) * width * 2 > 128 << 20


@given(some.integers(1, 5000), some.integers(1, 6000))
def test_ranges_hold_every_node_once(total: int, nodes: int) -> None:
    ranges = split(total, nodes)
    assert [node for start, stop in ranges for node in range(start, stop)] == list(range(total))
    assert max(stop - start for start, stop in ranges) <= nodes


@given(some.integers(1, 1 << 40), some.integers(1, 64))
def test_ranges_are_a_power_of_two_in_number_or_a_step_each(total: int, steps: int) -> None:
    nodes = max(steps, total // STEP // 64) * STEP
    count = len(split(total, nodes))
    if count.bit_count() == 1 and count >= LEAST_RANGES:
        assert count < 2 * max(LEAST_RANGES, -(-total // nodes))
    else:
        assert count == -(-total // STEP) < 2 * max(LEAST_RANGES, -(-total // nodes))


@given(some.integers(1, 1 << 40), some.integers(1, 64))
def test_ranges_are_equal_up_to_a_step(total: int, steps: int) -> None:
    nodes = max(steps, total // STEP // 64) * STEP  # at most 128 ranges
    *all_but_last, last = [stop - start for start, stop in split(total, nodes)]
    assert all(size % STEP == 0 for size in all_but_last)
    sizes = [*all_but_last, -(-last // STEP) * STEP]
    assert max(sizes) - min(sizes) <= STEP


def test_ranges_of_features_of_a_width() -> None:
    assert (range_nodes(768), range_nodes(192)) == (81_920, 131_072)
