"""The options of `alignedcut tree`."""

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

    source: Annotated[
        str | None, typer.Option("--from", metavar="cut/NAME", help="A cut of one graph.  [default: the only one]")
    ] = None
    eigenvectors: Annotated[
        int, typer.Option("--eigenvectors", "-C", min=2, help="How many of the top ones to use.")
    ] = 10
    clusters: Annotated[int, typer.Option("--clusters", min=2, max=256, help="Leaves: the finest of the clusters.")] = (
        64
    )
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws of images for the support of splits; 0: none.")
    ] = 50
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="DIR", help="PNG masks of class ids: which classes tell sides apart."),
    ] = None
    mask_suffix: options.MaskSuffix = None
    ignore: options.Ignore = "255"
    align: Annotated[
        str | None,
        typer.Option("--align", metavar="align/NAME", help="Which brain areas tell sides apart.  [default: the cut's]"),
    ] = None
    shown: Annotated[int, typer.Option("--shown", min=1, help="Splits to print and to name in the figure.")] = 15
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the tree and write the table.")] = (
        True
    )
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: the cut's name]")
    ] = None
    seed: options.Seed = 0
