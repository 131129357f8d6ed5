"""The options of the toy command, among them what goes wrong in its tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from alignedcut_cli.frame import options

__all__ = ["Asked"]


@dataclass(frozen=True, kw_only=True)
class Asked(options.Asked):
    cluster: options.Cluster = None
    shard: options.Shard = None
    device: options.Device = "cpu"
    count: Annotated[int, typer.Option(help="Tasks.")] = 6
    width: Annotated[int, typer.Option(help="float32 numbers that each task writes.")] = 4
    seconds: Annotated[float, typer.Option(help="How long each task takes.")] = 0.0
    trouble: Annotated[str, typer.Option(help="What goes wrong: see sweeps.py.")] = ""
    by_threads: Annotated[bool, typer.Option(help="Whether digits of the pilot depend on threads.")] = False
