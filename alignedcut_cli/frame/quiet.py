"""Logs and warnings of other libraries, kept off stderr, which is for this program's own messages."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quiet_libraries"]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within the block, no log record or warning of any library is shown.

    A warning turned into an error (python -W error) is still raised.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is loaded, by its own log in C++
    before = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # reported as errors by datasets/images, or irrelevant
            warnings.showwarning = _show_nothing
            yield
    finally:
        logging.disable(before)


def _show_nothing(*_: Any, **__: Any) -> None:
    pass
