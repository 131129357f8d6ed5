"""Items in threads: their order, the first error, and the number of threads, which is no more than torch uses."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from alignedcut_cli.core.embed.threads import in_threads
from alignedcut_cli.core.numerics import torch_threads


def test_results_keep_the_order_of_their_items_however_long_each_takes() -> None:
    with torch_threads(3):
        assert in_threads(lambda one: (time.sleep(0.02 * (one % 3)), one * one)[1], range(7)) == [
            0, 1, 4, 9, 16, 25, 36,
        ]  # fmt: skip
    assert in_threads(lambda one: one, []) == []


@pytest.mark.parametrize(("told", "most"), [(1, 1), (2, 2), (9, 4)])
def test_no_more_are_at_work_than_torch_has_threads(told: int, most: int) -> None:
    busy, seen, lock = 0, [], threading.Lock()

    def work(_: int) -> None:
        nonlocal busy
        with lock:
            busy += 1
            seen.append(busy)
        time.sleep(0.02)
        with lock:
            busy -= 1

    with torch_threads(told):
        in_threads(work, range(12))
    assert max(seen) == most


def test_the_first_error_is_raised_and_what_has_not_begun_is_left() -> None:
    begun = []

    def work(one: int) -> None:
        begun.append(one)
        time.sleep(0.02 if one == 1 else 0)
        if one in (1, 2):
            raise ValueError(str(one))

    with torch_threads(2), pytest.raises(ValueError, match=r"^1$"):
        in_threads(work, range(500))
    assert len(begun) < 500


def test_the_number_of_threads_changes_no_bit_of_products() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 900, 60))

    def squared(one: int) -> np.ndarray:
        return rows[one].T @ rows[one]

    found = []
    for count in (1, 2, 4):
        with torch_threads(count):
            found.append(np.stack(in_threads(squared, range(4))))
    assert all(one.tobytes() == found[0].tobytes() for one in found)
