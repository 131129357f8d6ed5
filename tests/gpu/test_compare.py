"""The comparisons of a device's results with the CPU's: they pass what is the same and find what is not. No GPU needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.gpu.compare import COMPARISONS
from tests.gpu.conftest import Table


def spoiled(kind: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Two artifacts' tensors of which the second is not what the first is."""
    draws = np.random.default_rng(0)
    rows, others = draws.standard_normal((2, 40, 6)).astype(np.float32)
    graphs, values = np.array([[0, 40]]), np.linspace(1, 0.5, 6, dtype=np.float32)[None]
    fit, worse = (np.full(1, value, np.float32) for value in (1, 1.2))
    pairs: dict[str, Callable[[], tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]] = {
        "features": lambda: ({"tokens.00": rows}, {"tokens.00": others}),
        "cut": lambda: tuple({"eigenvectors": one, "graphs": graphs, "eigenvalues": values} for one in (rows, others)),
        "color": lambda: ({"divergence": fit}, {"divergence": worse}),
        "align": lambda: ({"r2.test": fit}, {"r2.test": fit - 0.1}),
        "segment": lambda: ({"classes.miou": rows}, {"classes.miou": others}),
        "trace": lambda: tuple({"divergence": fit, "steps": one} for one in (rows, -rows)),
        "concepts": lambda: tuple({"concept": one[:, 0], "concept.mean": one} for one in (rows, others)),
    }
    return pairs[kind]()


@pytest.mark.parametrize("kind", COMPARISONS)
def test_a_comparison_finds_what_differs_and_passes_what_does_not(kind: str) -> None:
    one, other = spoiled(kind)
    same, apart = Table("same"), Table("apart")
    COMPARISONS[kind](one, one, same, "made-up")
    COMPARISONS[kind](one, other, apart, "made-up")
    assert not same.missed and apart.missed
