"""The options of `alignedcut extract`."""

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

    images: Annotated[
        tuple[str, ...],
        typer.Argument(
            help="Image files, folders, patterns, FILE.hdf5[:0-999], FILE.mp4[:0-999[:STEP]], or - for a list on stdin.",
            metavar="IMAGES…",
        ),
    ] = ()
    model: Annotated[
        tuple[str, ...],
        typer.Option(
            "--model",
            "-m",
            help="A short name, a timm name, open_clip:ARCH/TAG, torchvision:NAME or diffusers:PATH. May be repeated.  "
            "[default: with --onto, the base's]",
        ),
    ] = ()
    weights: Annotated[
        tuple[Path, ...],
        typer.Option(
            "--weights", metavar="FILE", help="Local weights (safetensors or .pth) or random, one per --model."
        ),
    ] = ()
    name: Annotated[
        tuple[str, ...],
        typer.Option(
            "--name", metavar="NAME", help="The feature set's name, one per --model; several taps add theirs."
        ),
    ] = ()
    tap: Annotated[
        tuple[str, ...],
        typer.Option(
            "--tap",
            help="Where to read: attn, block, mlp, q, k or v, of which several may be given: one pass; or maps for all "
            "modules of any model.  [default: attn]",
        ),
    ] = ()
    noise_step: Annotated[
        int | None,
        typer.Option(
            "--noise-step",
            min=0,
            help="diffusers: the step of its schedule whose noise is added to the image.  [default: 261]",
        ),
    ] = None
    modules: Annotated[
        tuple[str, ...],
        typer.Option(
            "--modules",
            metavar="GLOB",
            help="maps: only modules so called, such as 'blocks.*'. May be repeated.  [default: all]",
        ),
    ] = ()
    keep: Annotated[
        str, typer.Option("--keep", help="maps: products and projections alone, or raw for the maps as well.")
    ] = "products"
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="maps: keep those with the values of an earlier one as well.")
    ] = False
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise",
            help="maps: each unit less its mean over the images, over its standard deviation, before all.",
        ),
    ] = False
    onto: Annotated[
        str | None,
        typer.Option(
            "--onto",
            metavar="cut/NAME",
            help="Embed the images in an existing cut, lowrank, as their features are read: out comes a cut, no features.",
        ),
    ] = None
    other_weights: Annotated[
        bool,
        typer.Option(
            "--other-weights", help="onto: let the weights be others than the base's, such as of a checkpoint."
        ),
    ] = False
    captions: Annotated[
        Path | None,
        typer.Option(
            "--captions", metavar="FILE", help="csv or jsonl (image, caption): read a language model on these instead."
        ),
    ] = None
    captions_per_image: Annotated[
        int | None,
        typer.Option("--captions-per-image", min=1, help="captions: the first N of each image.  [default: all]"),
    ] = None
    layers: Annotated[str, typer.Option("--layers", help="all, or a list such as 0,3,5-9.")] = "all"
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", min=1, help="Side of the square input in pixels.  [default: the model's]"),
    ] = None
    tokens: Annotated[str, typer.Option("--tokens", help="What to keep: all, pooled, or sample:K.")] = "all"
    batch_size: Annotated[str, typer.Option("--batch-size", help="Images per forward pass, or auto.")] = "auto"
    dtype: Annotated[str, typer.Option("--dtype", help="Stored numbers: float16 or float32.")] = "float16"
    on_bad_image: Annotated[
        str, typer.Option("--on-bad-image", help="fail before anything is written, or skip and name them.")
    ] = "fail"
    device: options.Device = "auto"
    memory: options.Memory = "50%"
    seed: options.Seed = 0
    cluster: options.Cluster = None
    shard: options.Shard = None
