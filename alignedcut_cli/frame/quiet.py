"""Logs and warnings of other libraries, kept off stderr, which carries this program's own lines alone."""

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
    """Within the block no log record and no warning of any library is shown; the relevant ones become notes.

    A warning that is to be an error (python -W error) is still raised.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is loaded, by its own log in C++
    before = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", module=r"PIL\."
            )  # reported as errors by datasets/images, or of no concern
            warnings.showwarning = _show_nothing
            yield
    finally:
        logging.disable(before)


def _show_nothing(*_: Any, **__: Any) -> None:
    pass
