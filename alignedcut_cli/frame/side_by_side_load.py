"""What the commands of a chain need, loaded by importing this module in the process that theirs are forked from."""

from __future__ import annotations

import contextlib
import importlib

from alignedcut_cli.backbones.libraries import import_libraries
from alignedcut_cli.errors import UnavailableError
from alignedcut_cli.frame.child_processes import loading

__all__: list[str] = []

with loading():
    with contextlib.suppress(UnavailableError):  # extract tells
        import_libraries()
    for name in ("numba", "matplotlib.figure", f"{__package__}.side_by_side"):
        importlib.import_module(name)
