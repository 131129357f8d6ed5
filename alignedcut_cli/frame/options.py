"""The options that mean the same in every command, declared once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from alignedcut_cli.frame.config import PROJECT_VARIABLE, demand_folder, option_defaults, project_argument

__all__ = [
    "ConfiguredCommand",
    "Device",
    "DryRun",
    "Json",
    "Memory",
    "Overwrite",
    "Project",
    "Quiet",
    "Seed",
    "Verbose",
    "Verify",
]

Project = Annotated[
    Path,
    typer.Option("--project", "-p", envvar=PROJECT_VARIABLE, help="The project directory.", metavar="DIR"),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")]
Memory = Annotated[
    str, typer.Option("--memory", help="Main memory that tiles may take: 8GiB, or 50% of what is free.", metavar="SIZE")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The number from which every random choice derives.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an artifact of this name that another recipe made.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print inputs, outputs and the memory needed; do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result, or on stderr the error, as one JSON object.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Hash every shard of the features, even those that have not changed.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More notes; with an error, the traceback.")]


class ConfiguredCommand(TyperCommand):
    """A command whose options take their defaults from the project's alignedcut.toml, where it sets them."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if "project" in self._option_names() and not _asks_for_help(args):
            commands = list(parent.command.commands) if parent else []
            folder = project_argument(args)
            demand_folder("--project", folder)
            extra["default_map"] = option_defaults(folder, info_name or "", self._option_names(), commands)
        return super().make_context(info_name, args, parent, **extra)

    def _option_names(self) -> list[str]:
        return [parameter.name for parameter in self.params if parameter.name]


def _asks_for_help(args: Sequence[str]) -> bool:
    return "--help" in args or "-h" in args
