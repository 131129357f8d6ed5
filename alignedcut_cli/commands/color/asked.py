"""The options of `alignedcut color`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from alignedcut_cli.frame import options

__all__ = ["Asked"]


@dataclass(frozen=True, kw_only=True)
class Asked(options.Asked):
    """The options as given on the command line."""

    source: Annotated[
        str | None, typer.Option("--from", metavar="cut/NAME", help="The cut to colour.  [default: the only one]")
    ] = None
    onto: Annotated[
        str | None,
        typer.Option(
            "--onto", metavar="color/NAME", help="Reuse the embedding and colours of this coloring: no new t-SNE."
        ),
    ] = None
    eigenvectors: Annotated[
        int, typer.Option("--eigenvectors", "-C", min=1, help="How many of the top eigenvectors to use.")
    ] = 20
    dims: Annotated[int, typer.Option("--dims", min=2, max=3, help="3: the RGB cube; 2: a square of four colours.")] = 3
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes", min=5, help="Nodes that t-SNE places in each graph.  [default: 10,000; 1000 with --per-slot]"
        ),
    ] = None
    perplexity: Annotated[float, typer.Option("--perplexity", min=1.0, help="t-SNE's perplexity.")] = 30.0
    upscale: Annotated[str, typer.Option("--upscale", help="How pictures enlarge patches: nearest or bilinear.")] = (
        "nearest"
    )
    overlay: Annotated[
        float, typer.Option("--overlay", min=0.0, max=1.0, help="Opacity of the photograph under the colours.")
    ] = 0.0
    images: options.Images = None
    pictures: options.Pictures = True
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: the cut's name]")
    ] = None
    device: options.Device = "auto"
    seed: options.Seed = 0
    cluster: options.Cluster = None
    shard: options.Shard = None
