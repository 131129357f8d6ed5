"""The options of `alignedcut look`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from alignedcut_cli.frame import options

__all__ = ["Asked"]


@dataclass(frozen=True, kw_only=True)
class Asked(options.Asked):
    """The options as given on the command line."""

    images: Annotated[
        tuple[str, ...],
        typer.Argument(help="As extract takes them: files, folders, patterns, or -.", metavar="IMAGES…"),
    ]
    model: Annotated[
        tuple[str, ...],
        typer.Option("--model", "-m", help="A model, as extract takes it. May be repeated."),
    ]
    weights: Annotated[
        tuple[str, ...],
        typer.Option("--weights", metavar="FILE", help="Local weights, or random, one per --model."),
    ] = ()
    brain: Annotated[
        Path | None,
        typer.Option("--brain", metavar="PATH", help="Align all layers to these responses first, and cut them as one."),
    ] = None
    subject: Annotated[
        int | None, typer.Option("--subject", min=1, help="brain: which subject, where PATH holds several.")
    ] = None
    brain_images: Annotated[
        Path | None,
        typer.Option(
            "--brain-images",
            metavar="DIR",
            help="brain: the images that were seen.  [default: those in PATH; of a table, IMAGES]",
        ),
    ] = None
    align: Annotated[
        str | None,
        typer.Option(
            "--align", metavar="NAME|FILE", help="Cut all layers as one by this alignment, made before or elsewhere."
        ),
    ] = None
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="The page's title.")] = None
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What names begin with.  [default: the models' own names]"),
    ] = None
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False
    device: options.Device = "auto"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands that it stands for; do nothing.")] = (
        False
    )
