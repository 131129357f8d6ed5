"""Shared by all kernels: the error type, random streams, sign convention, retries with smaller batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "NumericsError",
    "compiled",
    "cores",
    "fix_signs",
    "fixing_signs",
    "halving",
    "is_out_of_memory",
    "keep_to_torch_threads",
    "stream",
    "torch_threads",
]

Result = TypeVar("Result")
Tick = Callable[[int], None]
_SIGN_ROWS = 16384


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class NumericsError(ValueError):
    """The input is numerically unusable; the message states what and why."""


def compiled(function: Callable[..., Any]) -> Any:
    """The function compiled by numba at its first call, and cached where a cache folder is writable.

    It runs without the GIL, and its arrays are indexed without checks: callers keep the bounds of its docstring.
    """
    import numba

    options: Any = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache folder
        return numba.njit(**options)(function)


def stream(seed: int, *names: str | int) -> int:
    """The seed (0 to 2^63 - 1) of one named random stream, derived from the one seed of the run."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def fix_signs(vectors: Tensor) -> Tensor:
    """The columns of `vectors` (M, C) with signs that make the sum of cubes (the largest entry if that is near 0) positive.

    The rule does not depend on the order of the nodes.
    """
    return vectors * fixing_signs(vectors)


def fixing_signs(vectors: Tensor) -> Tensor:
    """The signs (C,) by which `fix_signs` multiplies the columns of (M, C), computed a few rows at a time."""
    cubes, scale, largest = (vectors[0].double() * 0 for _ in range(3))  # (C,) each
    for part in vectors.split(_SIGN_ROWS):
        rows = part.double()
        cubes += (rows**3).sum(0)
        scale += (rows.abs() ** 3).sum(0)
        here = rows.gather(0, rows.abs().argmax(0, keepdim=True)).squeeze(0)
        largest = here.where(here.abs() > largest.abs(), largest)
    sign = cubes.where(cubes.abs() > 1e-3 * scale, largest).sign()
    return sign.where(sign != 0, 1.0).to(vectors.dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the host or on a device."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text))
    )


def halving(run: Callable[[int], Result], size: int, say: Callable[[str], None], what: str) -> Result:
    """`run(size)`, retried with half the size whenever memory runs out, down to 1; each halving is reported."""
    while True:
        try:
            return run(size)
        except (MemoryError, RuntimeError) as error:
            if size <= 1 or not is_out_of_memory(error):
                raise
        size = max(1, size // 2)
        say(f"out of memory: going on with {what} {size}")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """`count` threads for each of torch's operations."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_to_torch_threads() -> None:
    """Let matrix products of a new thread take as many threads as torch was told, not one a core, which is MKL's default.

    Torch passes its number on to MKL in each thread alone, at the first operation there that asks for it; products do not.
    """
    import torch

    torch.get_num_threads()
