"""The options of `alignedcut trace`."""

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
        str | None, typer.Option("--from", metavar="cut/NAME", help="The joint cut to trace.  [default: the only one]")
    ] = None
    layers: Annotated[
        str, typer.Option("--layers", help="all, or a list such as 2,3,5-9, of each model; the map shows all.")
    ] = "all"
    eigenvectors: Annotated[
        int, typer.Option("--eigenvectors", "-C", min=1, help="How many of the top eigenvectors to use.")
    ] = 20
    dims: Annotated[int, typer.Option("--dims", min=2, max=3, help="Dimensions of the map.")] = 2
    nodes: Annotated[int, typer.Option("--nodes", min=5, help="Nodes that t-SNE places.")] = 3000
    perplexity: Annotated[float, typer.Option("--perplexity", min=1.0, help="t-SNE's perplexity.")] = 30.0
    measure: Annotated[
        str,
        typer.Option(
            "--measure",
            help="Where concepts and lengths are measured: eigenvectors (cells of a partition) or map (balls in the t-SNE).",
        ),
    ] = "eigenvectors"
    maps: Annotated[
        int,
        typer.Option(
            "--maps",
            min=1,
            help="masks: maps behind each p-value: partitions into about --concepts cells, or t-SNEs of other seeds.",
        ),
    ] = 5
    pixels: Annotated[
        tuple[str, ...],
        typer.Option(
            "--pixels",
            metavar="N|FILE|IMAGE:ROW:COL",
            help="Pixels to follow: how many, or which (in cells of the grid). May be repeated.  [default: 10]",
        ),
    ] = ()
    concepts: Annotated[int, typer.Option("--concepts", min=2, help="Concepts of each layer.")] = 5
    radius: Annotated[
        str,
        typer.Option(
            "--radius",
            help="map: radius of a concept's ball; auto: the largest in each layer at which no two balls overlap.",
        ),
    ] = "auto"
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks", metavar="DIR", help="PNGs of class ids, one an image: compare foreground with background."
        ),
    ] = None
    mask_suffix: options.MaskSuffix = None
    background: Annotated[int, typer.Option("--background", min=0, help="masks: the class that is background.")] = 0
    ignore: Annotated[int, typer.Option("--ignore", min=0, help="masks: the class that is neither (void).")] = 255
    permutations: Annotated[
        int, typer.Option("--permutations", min=1, help="masks: random permutations behind each p-value.")
    ] = 999
    images: options.Images = None
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the PNGs and write the tables.")] = (
        True
    )
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: the cut's name]")
    ] = None
    seed: options.Seed = 0
