"""Products between images and sparse random projections, against dense float64, whatever is held at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignedcut_cli.core.maps.block import Block, aligned, mirror
from alignedcut_cli.core.maps.projection import SLICE, Projection, projected_dimensions, slices
from alignedcut_cli.core.maps.strips import kept_of_strips
from alignedcut_cli.core.maps.workers import Workers

CPU = torch.device("cpu")


def drawn(images: int, units: int, seed: int = 0) -> Tensor:
    return torch.randn(images, units, generator=torch.Generator().manual_seed(seed))


def found_in_blocks(
    rows: Tensor, block: int, batch: int, projection: Projection | None, workers: int = 1
) -> tuple[Tensor, ...]:
    """Products, sums and projections of all rows, with `block` of them held at a time."""
    n, units = rows.shape
    parts = []
    with Workers(workers) as shared:
        for first in range(0, n, block):
            one = Block(units, first, min(first + block, n), images=n, batch=batch, device=CPU)
            for start in range(first, n, batch):
                one.add(start, rows[start : start + batch], shared)
            parts.append((one.gram, one.sums, one.project(projection, shared) if projection else one.rows))
    gram, sums, matrix = (torch.cat(found) for found in zip(*parts, strict=True))
    return mirror(gram), sums, matrix


def found_in_strips(
    rows: Tensor, batch: int, projection: Projection | None, workers: int = 1, *, standardise: bool = False
) -> tuple[Tensor, ...]:
    """The same from slices of units of all rows."""
    n, units = rows.shape
    places = slices(units)
    with Workers(workers) as shared:
        kept = kept_of_strips(
            lambda number: aligned(rows[:, places[number]]),
            units,
            n,
            batch=batch,
            projection=projection,
            standardise=standardise,
            workers=shared,
        )
    return mirror(kept.gram), kept.sums, kept.matrix


def dense(projection: Projection, units: int) -> np.ndarray:
    """P, found from what it makes of unit vectors."""
    pieces = torch.eye(units).split(SLICE, 1)
    columns = sum(projection.slice(number) @ piece.T for number, piece in enumerate(pieces))
    return columns.numpy() * projection.scale  # type: ignore[union-attr]


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 7), st.integers(1, 5))
def test_products_and_sums_are_those_of_the_whole_map(images: int, units: int, batch: int, held: int) -> None:
    rows = drawn(images, units)
    gram, sums, matrix = found_in_blocks(rows, held * batch, batch, None)
    wide = rows.double()
    torch.testing.assert_close(gram, wide @ wide.T, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(sums, wide.sum(1), rtol=1e-12, atol=1e-10)
    assert torch.equal(matrix, rows)


@pytest.mark.parametrize("units", [5, 300, SLICE - 1, 2 * SLICE + 3])
def test_what_is_held_together_changes_no_bit(units: int) -> None:
    rows, projection = drawn(53, units), Projection(units, 31, 0, CPU)
    whole = found_in_blocks(rows, 64, 16, projection)
    for block in (16, 32, 48):
        assert all(map(torch.equal, found_in_blocks(rows, block, 16, projection, workers=block // 16), whole))
    for workers in (1, 3):
        assert all(map(torch.equal, found_in_strips(rows, 16, projection, workers), whole))
    assert all(map(torch.equal, found_in_strips(rows, 16, None), found_in_blocks(rows, 32, 16, None)))


def test_standardised_units_have_mean_zero_and_deviation_one_over_the_images() -> None:
    rows = 3 * drawn(21, SLICE + 300) + 100 * drawn(1, SLICE + 300, 1)
    rows[:, 5], rows[:, SLICE + 1] = 0.1, 0.0
    wide = rows.double()
    wanted = (wide - wide.mean(0)) / wide.std(0, correction=0).where(wide.std(0) > 1e-3, torch.inf)
    projection = Projection(rows.shape[1], 40, 0, CPU)
    gram, sums, matrix = found_in_strips(rows, 8, projection, standardise=True)
    torch.testing.assert_close(gram, wanted @ wanted.T, rtol=1e-4, atol=0.05)
    torch.testing.assert_close(sums, wanted.sum(1), rtol=1e-4, atol=0.02)
    plain = found_in_strips(wanted.float(), 8, projection)[2]
    torch.testing.assert_close(matrix, plain, rtol=1e-3, atol=2e-3)
    assert not torch.allclose(found_in_strips(rows, 8, projection)[2], matrix, rtol=0.1)


def test_images_that_change_places_change_places_in_all_that_is_found() -> None:
    rows, order = drawn(12, 700), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    projection = Projection(700, 50, 0, CPU)
    gram, sums, matrix = found_in_blocks(rows, 4, 4, projection)
    moved = found_in_blocks(rows[order], 4, 4, projection)
    torch.testing.assert_close(moved[0], gram[order][:, order], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(moved[1], sums[order])
    torch.testing.assert_close(moved[2], matrix[order])


def test_johnson_lindenstrauss_dimensions() -> None:
    """Known values of the bound at 0.1."""
    known = {
        100: 3947, 500: 5326, 515: 5352, 872: 5803, 982: 5905, 1000: 5920, 5000: 7300, 8859: 7790, 9841: 7880,
        10000: 7894,
    }  # fmt: skip
    assert {n: projected_dimensions(n) for n in known} == known
    assert projected_dimensions(1) == 1


def test_the_projection_is_the_matrix_that_its_seed_says() -> None:
    units, d = 2 * SLICE // 8, 40
    matrix = dense(Projection(units, d, 0, CPU), units)
    size, density = math.sqrt(math.sqrt(units) / d), 1 / math.sqrt(units)
    np.testing.assert_allclose(np.abs(matrix[matrix != 0]), size, rtol=1e-6)
    count = matrix.size * density
    assert abs((matrix != 0).sum() - count) < 5 * math.sqrt(count)
    assert abs((matrix > 0).sum() - (matrix < 0).sum()) < 5 * math.sqrt(count)
    assert abs((matrix[: d // 2] != 0).sum() - count / 2) < 5 * math.sqrt(count)
    rows = drawn(6, units)
    torch.testing.assert_close(
        found_in_blocks(rows, 6, 3, Projection(units, d, 0, CPU))[2].double(),
        rows.double() @ torch.from_numpy(matrix).double().T,
        rtol=1e-4,
        atol=1e-4,
    )
    assert np.array_equal(matrix, dense(Projection(units, d, 0, CPU), units))
    assert not np.array_equal(matrix, dense(Projection(units, d, 1, CPU), units))


def test_distances_survive_within_the_bound() -> None:
    images, units = 30, 20_000
    d = projected_dimensions(images)
    rows = drawn(images, units).relu() + drawn(1, units, 1)
    gram, _, matrix = found_in_blocks(rows, 32, 16, Projection(units, d, 0, CPU))
    pairs = torch.triu_indices(images, images, 1)
    squares = gram.diag()
    before = squares[pairs[0]] + squares[pairs[1]] - 2 * gram[pairs[0], pairs[1]]
    after = (matrix[pairs[0]] - matrix[pairs[1]]).double().square().sum(1)
    assert float((after / before - 1).abs().max()) < 0.1
