"""Operations of torch whose last digits depend on the number of threads, so done that they do not.

These are decompositions of matrices, and sums over all elements of large tensors: one thread does each here, and several
are shared among threads. Sums along some axes alone have the same digits on any number; products have at most sizes, but
not where the inner axis is long and the result small.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from alignedcut_cli.core.numerics import keep_to_torch_threads, torch_threads

__all__ = ["cholesky", "cholesky_solve", "eigh", "mean_square", "norm_of_all", "qr", "side_by_side", "sum_of_all"]

Result = TypeVar("Result")
_MOST = 16


def side_by_side(work: Callable[[int], Result], count: int, device: torch.device) -> list[Result]:
    """The results of `work` for 0 to `count` - 1: on a CPU by one thread each, as many at a time as torch uses, at most 16.

    The error of the first that has one is raised; those that have begun are waited for.
    """
    if device.type != "cpu":
        return [work(number) for number in range(count)]
    threads = min(_MOST, torch.get_num_threads(), count)

    def alone(number: int) -> Result:
        keep_to_torch_threads()
        return work(number)

    with torch_threads(1):
        if threads < 2:
            return [work(number) for number in range(count)]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(alone, range(count)))


def eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (…, m), ascending, and eigenvectors (…, m, m) of symmetric (…, m, m), without a gradient."""
    with torch_threads(1):
        return torch.linalg.eigh(matrices.detach())


def cholesky(matrix: Tensor) -> Tensor:
    """The lower Cholesky factor of a positive definite matrix."""
    with torch_threads(1):
        return torch.linalg.cholesky(matrix)


def cholesky_solve(right: Tensor, factor: Tensor) -> Tensor:
    """The solution X of L L^T X = `right` for a lower Cholesky factor L."""
    with torch_threads(1):
        return torch.cholesky_solve(right, factor)


def qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Q and R of the reduced QR decomposition of a matrix."""
    with torch_threads(1):
        return torch.linalg.qr(matrix)


def sum_of_all(values: Tensor) -> Tensor:
    """The sum over all elements, differentiable."""
    with torch_threads(1):
        return values.sum()


def norm_of_all(values: Tensor) -> Tensor:
    """The Euclidean norm of all elements, differentiable."""
    with torch_threads(1):
        return values.norm()


def mean_square(values: Tensor) -> Tensor:
    """The mean square of all elements, differentiable."""
    return sum_of_all(values.square()) / values.numel()
