"""The options of `alignedcut pathways`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from alignedcut_cli.frame import options

__all__ = ["Asked"]


@dataclass(frozen=True, kw_only=True)
class Asked(options.Asked):
    """The options as given on the command line."""

    masks: options.Masks
    dataset: options.MaskDataset = "folder"
    split: options.Split = None
    names: options.ClassNames = None
    mask_suffix: options.MaskSuffix = None
    instances: options.Instances = None
    source: Annotated[
        tuple[str, ...],
        typer.Option("--from", metavar="cut/NAME", help="A cut. May be repeated: one figure.  [default: the only one]"),
    ] = ()
    eigenvectors: Annotated[
        int,
        typer.Option("--eigenvectors", "-C", min=1, help="Eigenvectors after the first, which is the same everywhere."),
    ] = 15
    clusters: Annotated[
        int, typer.Option("--clusters", min=2, help="Clusters of each graph (k-means of unit rows).")
    ] = 16
    grid: Annotated[
        int, typer.Option("--grid", min=2, help="Positions: so many equal parts of the image across and down.")
    ] = 4
    ignore: options.Ignore = "255"
    on_extra_mask: options.OnExtraMask = "fail"
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws of images for the 95% intervals; 0: none.")
    ] = 1000
    permutations: Annotated[
        int,
        typer.Option(
            "--permutations",
            min=0,
            help="Cluster maps permuted between images and shifted cyclically: the null; 0: none.",
        ),
    ] = 200
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the figure and write the table.")] = (
        True
    )
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: the cuts' names]")
    ] = None
    seed: options.Seed = 0
