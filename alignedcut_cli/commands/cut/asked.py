"""The options of `alignedcut cut`."""

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
        tuple[str, ...],
        typer.Option(
            "--from", metavar="features/NAME", help="A feature set. May be repeated.  [default: the only one]"
        ),
    ] = ()
    space: Annotated[
        str,
        typer.Option("--space", help="Where nodes are compared: raw (a slot's own channels), aligned, or brain."),
    ] = "raw"
    align: Annotated[
        str | None,
        typer.Option(
            "--align", metavar="align/NAME", help="aligned, brain: whose transforms to use.  [default: the only one]"
        ),
    ] = None
    roi: Annotated[
        str | None,
        typer.Option("--roi", metavar="V1,V4,…", help="brain: keep only the voxels of these areas."),
    ] = None
    layers: Annotated[str, typer.Option("--layers", help="all, or a list such as 0,3,5-9, of each feature set.")] = (
        "all"
    )
    per_slot: Annotated[bool, typer.Option("--per-slot", help="One cut for each slot instead of one for all.")] = False
    eigenvectors: Annotated[int, typer.Option("--eigenvectors", "-C", min=1, help="How many eigenvectors to keep.")] = (
        20
    )
    graph: Annotated[
        str,
        typer.Option(
            "--graph",
            help="What joins nodes: features (their affinity), or at each place vv, kk (cosines of values, of keys), qk "
            "(of queries with keys) or attn (attention), all layers' graphs in one cut.",
        ),
    ] = "features"
    heads: Annotated[bool, typer.Option("--heads", help="Graphs: one a head and layer, not one a layer.")] = False
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope",
            help="Graphs: dataset (one cut of all images), or image (each alone).  [default: dataset; attn image]",
        ),
    ] = None
    layer_weights: Annotated[
        str,
        typer.Option(
            "--layer-weights",
            metavar="W,W,…",
            help="Graphs: equal, grid (32 / side of the layer's grid), or one number a layer.",
        ),
    ] = "equal"
    solver: Annotated[
        str,
        typer.Option(
            "--solver",
            help="exact (Eq. 3), lowrank (a factor from landmarks), nystrom (Eq. 4), or auto: exact up to 5,000 nodes on "
            "a CPU, else the better of the two on a sample. Graphs: direct, or gradient (descent on soft groups).",
        ),
    ] = "auto"
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="gradient: passes over the images; by image: steps.  [default: 200; by image 100]"
        ),
    ] = None
    batch: Annotated[int, typer.Option("--batch", min=2, help="gradient, data set: images a batch.")] = 40
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            min=1,
            help="lowrank: landmarks; nystrom: nodes sampled and solved; --balance: cells.  [default: 1,024, in graphs of "
            "over 16,384 nodes 512; nystrom 10,000 on a CPU, 50,000 on CUDA]",
        ),
    ] = None
    neighbors: Annotated[
        int | None,
        typer.Option(
            "--neighbors",
            min=1,
            help="nystrom: K nearest sampled nodes; graphs: nearest in the same image.  [default: nystrom 100; graphs 50]",
        ),
    ] = None
    neighbors_across: Annotated[
        int, typer.Option("--neighbors-across", min=0, help="Graphs over a data set: nearest places of other images.")
    ] = 50
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Graphs: no edge at or below it.  [default: 0.1; attn 0]"),
    ] = None
    sampling: Annotated[
        str | None,
        typer.Option(
            "--sampling",
            help="Of those nodes: uniform, fps (farthest points of 8 times as many), or means (landmarks only: the mean "
            "of those of 8 times as many that are nearest to each).  [default: means; nystrom uniform; with --balance fps]",
        ),
    ] = None
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="large ones: auto (bfloat16 or int8 cosines where they are faster, in lowrank if they are near enough; "
            "in graphs they change nothing) or float32.",
        ),
    ] = "auto"
    refine: Annotated[
        int, typer.Option("--refine", min=0, help="lowrank: refine by so many exact products, M^2 D operations each.")
    ] = 0
    bootstrap: Annotated[
        int,
        typer.Option(
            "--bootstrap",
            min=0,
            metavar="R",
            help="lowrank: draw the images again R times: which eigenvectors stay, intervals, uncertain nodes; 0: none.",
        ),
    ] = 0
    balance: Annotated[
        str,
        typer.Option(
            "--balance",
            help="none, or voronoi: a node weighs 1 / the size of its cell, so that rare patches count like common ones.",
        ),
    ] = "none"
    gamma: Annotated[float, typer.Option("--gamma", help="Affinity exp((cos - 1) / gamma); smaller is sharper.")] = 1.0
    name: Annotated[
        str | None, typer.Option("--name", help="The cut's name.  [default: from its inputs]", metavar="NAME")
    ] = None
    onto: Annotated[
        str | None,
        typer.Option(
            "--onto",
            metavar="cut/NAME",
            help="Give new images' nodes rows of an existing cut, lowrank or of graphs: nothing is solved.",
        ),
    ] = None
    images: options.Images = None
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures",
            help="Graphs: the eigenvectors of each image. --bootstrap: what stays, and where.",
        ),
    ] = True
    cluster: options.Cluster = None
    shard: options.Shard = None
    device: options.Device = "auto"
    memory: options.Memory = "50%"
    seed: options.Seed = 0
    verify: options.Verify = False
