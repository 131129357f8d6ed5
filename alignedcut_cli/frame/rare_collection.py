"""Rarer garbage collection while libraries are loaded and a command runs, and none when the process ends."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["rare_collection"]

_THRESHOLDS = (50_000, 10, 10)


@contextmanager
def rare_collection() -> Iterator[None]:
    """Within the block, Python looks for garbage in circles after 50,000 new objects instead of 700.

    Loading torch and timm makes 660,000 objects that stay: by default they are looked through some thousand times, which is
    a sixth of the time that loading takes. When the process ends, they are not looked through at all, which would take
    0.7 s: their memory is returned as it is.
    """
    atexit.unregister(_end_at_once)
    atexit.register(_end_at_once)
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _end_at_once() -> None:
    if "triton" not in sys.modules:  # which prints what it finds left, where its own were not looked through
        gc.freeze()
