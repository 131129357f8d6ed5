"""What the commands of a chain need, loaded by importing this module in the process that theirs are forked from."""

from __future__ import annotations

import gc
import importlib

from alignedcut_cli.frame.rare_collection import rare_collection

__all__: list[str] = []

with rare_collection():
    for name in ("torch", "timm", "numba", "matplotlib.figure", "sklearn.cluster", f"{__package__}.side_by_side"):
        importlib.import_module(name)
gc.freeze()  # forked processes share what is never looked through again
