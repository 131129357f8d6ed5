"""What all local workers need, loaded by importing this module in the process that they are forked from."""

from __future__ import annotations

import gc
import importlib

from alignedcut_cli.frame.rare_collection import rare_collection

__all__: list[str] = []

with rare_collection():
    for name in ("distributed", "torch", f"{__package__}.cluster_task"):
        importlib.import_module(name)
gc.freeze()  # forked processes share what is never looked through again
