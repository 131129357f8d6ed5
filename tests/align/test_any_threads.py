"""Alignments have the same bits on one thread and on two."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import (
    cholesky,
    cholesky_solve,
    eigh,
    mean_square,
    norm_of_all,
    qr,
    side_by_side,
    sum_of_all,
)
from alignedcut_cli.core.align.loss import Weights
from alignedcut_cli.core.align.train import Settings, fit_alignment
from alignedcut_cli.core.numerics import NumericsError
from tests.helpers.reference import normal

CPU = torch.device("cpu")
IMAGES, WIDTHS, VOXELS, TOKENS = 400, (24, 64, 100), 500, 12


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def on_threads(count: int, work: Callable[[], list[Tensor]]) -> list[Tensor]:
    torch.set_num_threads(count)
    return work()


def fitted(init: str) -> list[Tensor]:
    shared = normal(IMAGES, 6)
    tokens = [
        (shared[:, None] @ normal(6, width, seed=width) + normal(IMAGES, TOKENS, width, seed=width + 1)).float()
        for width in WIDTHS
    ]
    responses = (shared @ normal(6, VOXELS, seed=1) + normal(IMAGES, VOXELS, seed=2)).float()

    def draw(rows: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
        chosen = rows[torch.randint(len(rows), (count,), generator=generator)]
        return [block[chosen, 0] for block in tokens]

    settings = Settings(dim=16, epochs=2, init=init, weights=Weights(agree=0.1))
    rows = torch.arange(IMAGES)
    pooled = [block.mean(1) for block in tokens]
    found = fit_alignment(pooled, responses, draw, rows[:320], rows[320:], settings)
    return [*found.transforms, found.beta, found.eps, found.losses, found.heldout]


@pytest.mark.parametrize("init", ["ridge", "random"])
def test_a_fit_has_the_same_bits_on_one_thread_and_on_two(init: str) -> None:
    one, two = (on_threads(count, lambda: fitted(init)) for count in (1, 2))
    assert all(torch.equal(first, second) for first, second in zip(one, two, strict=True))


@pytest.mark.parametrize("count", [2, 3])
def test_each_operation_has_the_bits_of_one_thread_and_is_right(count: int) -> None:
    rows = normal(300, 70).float()
    grams = torch.stack([block.T @ block for block in rows.split(100)])
    large = normal(900, 700).float()

    def work() -> list[Tensor]:
        values, vectors = eigh(grams)
        return [
            values, vectors, *eigh(grams[0]), cholesky(grams[0]), cholesky_solve(grams[1], cholesky(grams[0])),
            *qr(large[:, :9]),
            sum_of_all(large), norm_of_all(large), mean_square(large),
        ]  # fmt: skip

    one, several = on_threads(1, work), on_threads(count, work)
    assert all(torch.equal(left, right) for left, right in zip(one, several, strict=True))
    values, vectors, alone, own, factor, solved, q, r, total, norm, square = one
    torch.testing.assert_close(vectors * values[:, None] @ vectors.mT, grams, rtol=1e-4, atol=1e-3)
    assert torch.equal(alone, values[0]) and torch.equal(own, vectors[0])
    torch.testing.assert_close(factor @ factor.T, grams[0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(grams[0] @ solved, grams[1], rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(q @ r, large[:, :9], rtol=1e-4, atol=1e-4)
    exact = large.double()
    assert float(total) == pytest.approx(float(exact.sum()), rel=1e-3)
    assert float(norm) == pytest.approx(float(exact.norm()), rel=1e-5)
    assert float(square) == pytest.approx(float(exact.square().mean()), rel=1e-5)


def test_work_side_by_side_keeps_its_order_and_raises_what_is_raised() -> None:
    torch.set_num_threads(3)
    assert side_by_side(lambda number: (number, torch.get_num_threads()), 7, CPU) == [(one, 1) for one in range(7)]

    def fail(number: int) -> int:
        raise NumericsError(f"item {number} is bad")

    with pytest.raises(NumericsError, match=r"item \d is bad"):
        side_by_side(fail, 4, CPU)
    assert torch.get_num_threads() == 3
