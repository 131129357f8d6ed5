"""The options of `alignedcut align`."""

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
            "--brain",
            metavar="PATH",
            help="An Algonauts 2023 subject's folder, or a csv, tsv, npy, npz or safetensors table.",
        ),
    ]
    source: Annotated[
        tuple[str, ...],
        typer.Option(
            "--from", metavar="features/NAME", help="A feature set. May be repeated.  [default: the only one]"
        ),
    ] = ()
    subject: Annotated[
        int | None, typer.Option("--subject", min=1, help="Which subject, where PATH holds several.")
    ] = None
    layers: Annotated[str, typer.Option("--layers", help="all, or a list such as 0,3,5-9, of each feature set.")] = (
        "all"
    )
    dim: Annotated[
        int | None,
        typer.Option(
            "--dim", min=1, help="Aligned channels.  [default: the ridge start's best rank on held-out images]"
        ),
    ] = None
    eigen: Annotated[float, typer.Option("--eigen", min=0.0, help="Weight of the eigen-constraint (Eq. 8).")] = 1.0
    zero: Annotated[float, typer.Option("--zero", min=0.0, help="Weight of the zero-centred term (Eq. 6).")] = 0.01
    cov: Annotated[float, typer.Option("--cov", min=0.0, help="Weight of the covariance term (Eq. 7).")] = 0.01
    init: Annotated[
        str, typer.Option("--init", help="ridge: start from the closed-form solution; random: the paper's way.")
    ] = "ridge"
    agree: Annotated[
        float,
        typer.Option(
            "--agree",
            min=0.0,
            help="Weight of the agreement term (slots should predict alike for each image and patch); 0 as in the paper.",
        ),
    ] = 0.3
    epochs: Annotated[
        int, typer.Option("--epochs", min=0, help="Most passes over the images; training stops early on held-out R^2.")
    ] = 20
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="Images in a step.")] = 128
    rate: Annotated[
        float,
        typer.Option("--rate", help="Learning rate of Adam at the start, relative to each tensor's root mean square."),
    ] = 0.01
    test_split: Annotated[
        str,
        typer.Option(
            "--test-split",
            help="auto, given (the data's own test images), even-odd, last:10%, or a file of image names.",
        ),
    ] = "auto"
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", min=2, help="Also fit K times, each without a Kth of the images: ROI scores over all images."
        ),
    ] = None
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", metavar="align/NAME", help="Also print paired differences per ROI with this alignment."
        ),
    ] = None
    ablate: Annotated[
        str | None,
        typer.Option(
            "--ablate", metavar="eigen=1,0.1,0", help="Align once for each value, and write the paper's Table 1."
        ),
    ] = None
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="DIR", help="ablate: PNG masks of class ids, for segmentation quality."),
    ] = None
    mask_suffix: options.MaskSuffix = None
    segment: Annotated[
        tuple[str, ...],
        typer.Option(
            "--segment",
            metavar="features/NAME",
            help="ablate: feature sets of the images of --masks, with all tokens. May be repeated.  [default: --from]",
        ),
    ] = ()
    pictures: options.Pictures = True
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The artifact's name.  [default: from its inputs]")
    ] = None
    device: options.Device = "auto"
    memory: options.Memory = "50%"
    seed: options.Seed = 0
    verify: options.Verify = False
    cluster: options.Cluster = None
    shard: options.Shard = None
