"""The options of `alignedcut concepts`."""

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
        str | None,
        typer.Option(
            "--from",
            metavar="color/NAME",
            help="The coloring in whose t-SNE space concepts are found; cut/NAME: that of a cut.  [default: the only one]",
        ),
    ] = None
    align: Annotated[
        str | None,
        typer.Option(
            "--align",
            metavar="align/NAME",
            help="The alignment that maps features to brain responses.  [default: the cut's, or the only one]",
        ),
    ] = None
    layers: Annotated[str, typer.Option("--layers", help="all, or a list such as 0,3,5-9, of each model.")] = "all"
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="DIR", help="PNG masks of class ids, for figure and ground.")
    ] = None
    mask_suffix: options.MaskSuffix = None
    background: Annotated[
        int, typer.Option("--background", min=0, help="masks: the class id of the ground; all others are figure.")
    ] = 0
    ignore: Annotated[int, typer.Option("--ignore", min=0, help="masks: the class id of void.")] = 255
    pixel: Annotated[
        tuple[str, ...],
        typer.Option(
            "--pixel",
            metavar="IMAGE:ROW:COL",
            help="A patch to compare with all others: image by number or name, row and column of the grid from 0. "
            "May be repeated.",
        ),
    ] = ()
    space: Annotated[
        str | None,
        typer.Option("--space", help="pixel: where patches are compared: raw, aligned or brain.  [default: the cut's]"),
    ] = None
    words: Annotated[
        Path | None,
        typer.Option(
            "--words",
            metavar="FILE",
            help="Name concepts by these words, one a line; or safetensors of their vectors, with their texts.",
        ),
    ] = None
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings", metavar="features/NAME", help="words: the images' embeddings in the space of the words."
        ),
    ] = None
    embeddings_layer: Annotated[
        str | None,
        typer.Option(
            "--embeddings-layer", metavar="NAME", help="words: its layer that is the embedding.  [default: the last]"
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="words: whose text tower reads them: open_clip:ARCH/TAG."),
    ] = None
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="words: local weights of it, or random.")
    ] = None
    concepts: Annotated[int, typer.Option("--concepts", min=2, max=99, help="Concepts of each slot.")] = 5
    radius: Annotated[
        str,
        typer.Option(
            "--radius",
            help="Radius of a concept's sphere: auto (half the smallest distance between centres of a slot), or a number.",
        ),
    ] = "auto"
    bootstrap: Annotated[
        int,
        typer.Option(
            "--bootstrap", min=0, help="Draws of images, and a fifth as many seeds, for stability and names; 0: none."
        ),
    ] = 100
    examples: Annotated[int, typer.Option("--examples", min=1, max=50, help="Patches to show of each concept.")] = 8
    shown: Annotated[
        int, typer.Option("--shown", min=1, help="pixel: images on each picture; the patch's own is the first.")
    ] = 16
    images: options.Images = None
    pictures: options.Pictures = True
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: the colours' name]")
    ] = None
    device: options.Device = "auto"
    memory: options.Memory = "50%"
    seed: options.Seed = 0
    verify: options.Verify = False
