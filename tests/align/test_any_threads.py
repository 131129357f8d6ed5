"""Decompositions and sums of an alignment have the same bits on any number of threads."""

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
from alignedcut_cli.core.numerics import NumericsError
from tests.helpers.reference import normal

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def on_threads(count: int, work: Callable[[], list[Tensor]]) -> list[Tensor]:
    torch.set_num_threads(count)
    return work()


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
