"""The options of `alignedcut probe`."""

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

    what: Annotated[str, typer.Argument(metavar="classify|brain", help="What is predicted: classes, or responses.")]
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="features/NAME", help="The feature set.  [default: the only one]"),
    ] = None
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Its layer that is the embedding, by name.  [default: the last]"),
    ] = None
    queries: Annotated[
        Path,
        typer.Option(
            "--queries", metavar="FILE", help="Queries, one a line; or safetensors of their vectors, with their texts."
        ),
    ]
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="Whose text tower reads the queries: open_clip:ARCH/TAG."),
    ] = None
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Local weights of it, or random.")
    ] = None
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="FILE", help="classify: csv of image and label; or folders, their names."),
    ] = None
    brain: Annotated[
        Path | None,
        typer.Option("--brain", metavar="PATH", help="brain: a subject's folder, or a table of responses."),
    ] = None
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="WHO", help="brain: which one, where PATH holds several.")
    ] = None
    roi: Annotated[
        str | None, typer.Option("--roi", metavar="AREAS", help="brain: areas such as V1,V4.  [default: every area]")
    ] = None
    random: Annotated[
        int, typer.Option("--random", min=0, help="brain: random sets of as many queries to compare with.")
    ] = 20
    pool: Annotated[
        Path | None,
        typer.Option("--pool", metavar="FILE", help="brain: draw them from these queries.  [default: unit vectors]"),
    ] = None
    split: Annotated[
        str, typer.Option("--split", help="Test images: even-odd, given (the data's own), or a file of names.")
    ] = "even-odd"
    alphas: Annotated[
        str | None,
        typer.Option(
            "--alphas",
            metavar="LOW:HIGH:COUNT",
            help="Ridge penalties to try.  [default: 1e-3:1e3:7; brain 1e-1:1e5:7]",
        ),
    ] = None
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws of test images for 95% intervals; 0: none.")
    ] = 1000
    pictures: options.Pictures = True
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: from its inputs]")
    ] = None
    device: options.Device = "auto"
    seed: options.Seed = 0
    verify: options.Verify = False
