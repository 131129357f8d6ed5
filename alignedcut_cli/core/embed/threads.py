"""Rows shared among threads, for compiled loops that let go of Python's lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch

__all__ = ["share_rows"]

_SHARES = 8


def share_rows(total: int, work: Callable[[int, int], None], *, large: bool = True) -> None:
    """Call `work(first, last)` on ranges that together are range(total), on torch's number of threads if it is `large`.

    An error in a thread is raised here, after all have ended.
    """
    threads = torch.get_num_threads() if large else 1
    if threads == 1:
        work(0, total)
        return
    bounds = np.linspace(0, total, _SHARES * threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, int(a), int(b)) for a, b in pairwise(bounds)]:
            done.result()
