"""The options of `alignedcut score`."""

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

    brain: Annotated[
        Path,
        typer.Option(
            "--brain", metavar="PATH", help="A subject's folder, a folder of subjects, a table of responses, or RDMs."
        ),
    ]
    source: Annotated[
        tuple[str, ...],
        typer.Option(
            "--from", metavar="features/NAME", help="A feature set. May be repeated.  [default: the only one]"
        ),
    ] = ()
    subject: Annotated[
        str | None,
        typer.Option("--subject", metavar="WHO", help="all, or a list such as 1,2, where PATH holds several."),
    ] = None
    min_snr: Annotated[
        float | None,
        typer.Option("--min-snr", min=0, help="Leave out voxels whose signal-to-noise ratio is not above this."),
    ] = None
    roi: Annotated[
        str | None,
        typer.Option("--roi", metavar="AREAS", help="Areas such as V1,V4, or all of the data.  [default: every area]"),
    ] = None
    layers: Annotated[str, typer.Option("--layers", help="all, or a list such as 0,3,5-9, of each feature set.")] = (
        "all"
    )
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="LIST",
            help="Of crsa, ereg, ersa and cka.  [default: all four; crsa of RDMs]",
        ),
    ] = None
    split: Annotated[
        str, typer.Option("--split", help="even-odd, kfold:K, given (the data's own test images), or a file of names.")
    ] = "even-odd"
    units: Annotated[
        str,
        typer.Option(
            "--units",
            help="ereg, ersa, of maps larger than their projection: products (all units), projected, or raw (all units, "
            "each standardised; of extract --keep raw).",
        ),
    ] = "products"
    alphas: Annotated[
        str,
        typer.Option("--alphas", metavar="LOW:HIGH:COUNT", help="ereg, ersa: penalties to try, evenly in logarithm."),
    ] = "1e-1:1e5:7"
    penalty: Annotated[
        str, typer.Option("--penalty", help="ereg, ersa: one for each target, or one shared by all.")
    ] = "target"
    ddof: Annotated[
        int,
        typer.Option("--ddof", min=0, max=1, help="ereg, ersa: standard deviations are of n - ddof."),
    ] = 0
    rdm: Annotated[
        str, typer.Option("--rdm", help="crsa, ersa: distances of images: pearson, cosine or euclidean.")
    ] = "pearson"
    compare: Annotated[
        str, typer.Option("--compare", help="crsa, ersa: of RDMs: pearson, spearman, tau-a or whitened.")
    ] = "pearson"
    best_layer: Annotated[
        str, typer.Option("--best-layer", help="Choose each model's layer on train images, or none.")
    ] = "train"
    bands: Annotated[
        bool, typer.Option("--bands", help="Also predict from the best layers of all feature sets, a penalty each.")
    ] = False
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws of images for 95% intervals; 0: none.")
    ] = 1000
    permutations: Annotated[
        int, typer.Option("--permutations", min=0, help="Random orders of images behind each p-value; 0: none.")
    ] = 200
    per_voxel: Annotated[bool, typer.Option("--per-voxel", help="ereg: also keep the test score of each voxel.")] = (
        False
    )
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the PNGs and write the tables.")] = (
        True
    )
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: from its inputs]")
    ] = None
    device: options.Device = "auto"
    memory: options.Memory = "50%"
    seed: options.Seed = 0
    verify: options.Verify = False
    cluster: options.Cluster = None
    shard: options.Shard = None
