"""The options of `alignedcut compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from alignedcut_cli.frame import options

__all__ = ["Asked"]


@dataclass(frozen=True, kw_only=True)
class Asked(options.Asked):
    """The options as given on the command line."""

    pair: Annotated[
        tuple[str, ...],
        typer.Argument(metavar="A [B]", help="Two cuts, two colorings, two alignments, or one alignment."),
    ]
    source: Annotated[
        tuple[str, ...],
        typer.Option(
            "--from",
            metavar="features/NAME",
            help="Alignments: features of the images to compare on. May be repeated.  [default: those it was made of]",
        ),
    ] = ()
    layers: Annotated[
        str, typer.Option("--layers", help="Alignments: all, or a list such as 0,3,5-9, of each feature set.")
    ] = "all"
    eigenvectors: Annotated[
        int | None,
        typer.Option("--eigenvectors", "-C", min=1, help="Cuts: compare the first C.  [default: as many as both have]"),
    ] = None
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws of images for the 95% intervals; 0: none.")
    ] = 200
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the figure and write the table.")] = (
        True
    )
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: both names]")
    ] = None
    seed: options.Seed = 0
