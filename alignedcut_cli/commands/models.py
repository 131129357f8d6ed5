"""`alignedcut models`: what can be extracted."""

from __future__ import annotations

from typing import Annotated

import typer

from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import Output, table

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "models"
EXAMPLES = ("alignedcut models --filter tiny", "alignedcut models --filter dinov2 --json")


def command(
    text: Annotated[
        str, typer.Option("--filter", help="Only names or descriptions with this text.", metavar="TEXT")
    ] = "",
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """List the models that extract knows: short names, shipped ones, timm's and open_clip's vision transformers."""
    from alignedcut_cli.backbones.libraries import import_libraries
    from alignedcut_cli.backbones.registry import list_models
    from alignedcut_cli.errors import InputMissingError

    import_libraries()
    rows = list_models(text)
    if not rows:
        raise InputMissingError("no-model", f"no model has {text!r} in its name", "Try a shorter text")
    output = Output(NAME, json, verbose=verbose)
    models = [{"name": name, "about": about} for name, about in rows]
    output.result(table(rows), {"schema": "alignedcut.models/1", "models": models})
