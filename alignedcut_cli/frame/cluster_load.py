"""What all local workers need, loaded by importing this module in the process that they are forked from."""

from __future__ import annotations

import importlib

from alignedcut_cli.frame.child_processes import loading

__all__: list[str] = []

with loading():
    for name in ("distributed", "torch", f"{__package__}.cluster_task"):
        importlib.import_module(name)
