"""The options of `alignedcut segment`."""

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

    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks",
            metavar="PATH",
            help="The ground truth: a folder of PNGs, VOC2012, gtsegs_ijcv.mat, or COCO's JSON. agnostic: may be left out.",
        ),
    ] = None
    dataset: options.MaskDataset = "folder"
    split: options.Split = None
    names: options.ClassNames = None
    mask_suffix: options.MaskSuffix = None
    class_map: Annotated[
        str | None,
        typer.Option(
            "--class-map",
            metavar="FILE",
            help="Join classes: a csv or JSON of id or name to class, or coco-stuff-27; others are void.",
        ),
    ] = None
    instances: options.Instances = None
    unpack: Annotated[
        Path | None,
        typer.Option("--unpack", metavar="DIR", help="imagenet-seg: write its photographs there, and do nothing else."),
    ] = None
    source: Annotated[
        tuple[str, ...],
        typer.Option("--from", metavar="cut/NAME", help="A cut. May be repeated: one figure.  [default: the only one]"),
    ] = ()
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="oracle (C.4: told the classes' centres), kway (clusters without labels), or agnostic (masks of whatever "
            "parts from its surroundings).",
        ),
    ] = "oracle"
    eigenvectors: Annotated[
        int,
        typer.Option("--eigenvectors", "-C", min=1, help="oracle, agnostic: how many of the top eigenvectors to use."),
    ] = 10
    thresholds: Annotated[
        int, typer.Option("--thresholds", min=1, help="oracle: thresholds of the similarity, even in [0, 1].")
    ] = 10
    clusters: Annotated[
        int | None,
        typer.Option("--clusters", min=2, help="kway: clusters of each graph.  [default: as many as classes]"),
    ] = None
    discretise: Annotated[
        str,
        typer.Option(
            "--discretise",
            help="kway: rotation (Yu and Shi 2003), kmeans (of unit rows), or columns (k-means of X diag(lambda)).",
        ),
    ] = "rotation"
    background: Annotated[
        str, typer.Option("--background", metavar="IDS", help="Class ids of background, such as 0,92-200, or none.")
    ] = "0"
    ignore: options.Ignore = "255"
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="IDS", help="Score these; others are background.  [default: all]")
    ] = None
    merge: Annotated[
        str, typer.Option("--merge", help="none: each class; figure-ground: all but background as one; both.")
    ] = "none"
    to_grid: Annotated[
        str, typer.Option("--to-grid", help="oracle, mask to patches: majority (commonest class), or area (shares).")
    ] = "majority"
    to_pixels: Annotated[str, typer.Option("--to-pixels", help="Similarities to pixels: bilinear, or nearest.")] = (
        "bilinear"
    )
    on_extra_mask: options.OnExtraMask = "fail"
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Draws of images for the 95% intervals; 0: none.")
    ] = 1000
    examples: Annotated[int, typer.Option("--examples", min=0, help="Images on the overlay sheets.")] = 8
    predicted: Annotated[
        str, typer.Option("--predicted", help="Masks to write as PNG: of each line's best slot, of all slots, or none.")
    ] = "best"
    images: options.Images = None
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw curves, overlays and masks.")] = True
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: the cuts' names]")
    ] = None
    seed: options.Seed = 0
