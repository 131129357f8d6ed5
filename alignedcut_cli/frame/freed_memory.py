"""Freed memory stays with the process, for the next tile."""

from __future__ import annotations

import ctypes
import os

__all__ = ["keep_freed_memory"]

_TRIM, _TRIM_OF_DASK = "MALLOC_TRIM_THRESHOLD_", "65536"
_ALLOCATOR = ((-3, 32 << 20), (-1, 64 << 20), (-2, 64 << 20))
"""glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, where it raises them to by itself, and M_TOP_PAD, in bytes."""


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tiles, up to 64 MiB a thread, unless the user's environment says otherwise.

    It raises its limits itself, but not those of threads; and `dask worker` sets one by which it returns freed memory at
    once, which makes a cut a third slower. Other C libraries are left as they are.
    """
    if os.environ.get(_TRIM, _TRIM_OF_DASK) != _TRIM_OF_DASK:
        return
    try:
        for option, value in _ALLOCATOR:
            ctypes.CDLL(None).mallopt(option, value)
    except (AttributeError, OSError, TypeError):
        return
