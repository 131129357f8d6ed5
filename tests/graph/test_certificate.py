"""The residual that a certificate estimates from a few rows, against that of all rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.graph.certificate import subspace_residual

NODES, COLUMNS, SMALLEST = 2000, 4, 0.5


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def columns_and_images() -> tuple[Tensor, Tensor]:
    """Orthonormal X (M, C), and N X = X T + R with independent normal numbers R that are orthogonal to X."""
    vectors = torch.linalg.qr(normal(NODES, COLUMNS))[0]
    rest = normal(NODES, COLUMNS, seed=1)
    return vectors, vectors @ normal(COLUMNS, COLUMNS, seed=2) + rest - vectors @ (vectors.T @ rest)


def true_residual(vectors: Tensor, images: Tensor) -> float:
    """|N X - X T|_F / (sqrt(C) lambda_C) over all rows, T = X^T N X."""
    return float((images - vectors @ (vectors.T @ images)).norm()) / COLUMNS**0.5 / SMALLEST


@pytest.mark.parametrize("rows", [6, 12, 40])
def test_the_estimate_from_few_rows_is_right_in_the_mean(rows: int) -> None:
    """T takes C of n degrees of freedom of each column: with M / (n - C) the mean square is that of all rows.

    One degree more or less would be 2 % or more off for 40 rows, and 33 % or more for 6.
    """
    vectors, images = columns_and_images()
    generator = torch.Generator().manual_seed(3)
    squares = []
    for _ in range(4000 if rows < 40 else 1500):
        chosen = torch.randperm(NODES, generator=generator)[:rows]
        squares.append(subspace_residual(images[chosen], vectors[chosen], NODES, SMALLEST) ** 2)
    found = torch.tensor(squares)
    error = float(found.std()) / len(found) ** 0.5
    truth = true_residual(vectors, images) ** 2
    assert abs(float(found.mean()) - truth) < 4 * error
    assert 4 * error < truth / (rows - COLUMNS) / 1.5


def test_all_rows_give_the_residual_itself() -> None:
    vectors, images = columns_and_images()
    assert subspace_residual(images, vectors, NODES, SMALLEST) == pytest.approx(true_residual(vectors, images))


def test_as_many_rows_as_columns_say_nothing_and_break_nothing() -> None:
    vectors, images = columns_and_images()
    assert subspace_residual(images[:COLUMNS], vectors[:COLUMNS], NODES, SMALLEST) < 1e-9
