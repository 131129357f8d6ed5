"""`alignedcut align`: features and responses to the same images in, one transform per slot into shared channels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignedcut_cli.errors import OutOfMemoryError, UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import memory_bytes, resolve_device
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame, demand_choice

if TYPE_CHECKING:
    from alignedcut_cli.commands.align.plan import Plan

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "align"
INITS = ("ridge", "random")
EXAMPLES = (
    "alignedcut align --brain algonauts/subj01 --from features/brain-clip --from features/brain-mae --name world -p study",
    "alignedcut align --brain responses.csv --from features/tiny-clip --dim 32 --epochs 2 --name ratings -p study",
)


def command(
    ctx: typer.Context,
    brain: Annotated[
        Path,
        typer.Option(
            "--brain", metavar="PATH", help="An Algonauts 2023 subject's folder, or a csv, npz or safetensors table."
        ),
    ],
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="features/NAME", help="A feature set. May be repeated.  [default: the only one]"
        ),
    ] = None,
    subject: Annotated[
        int | None, typer.Option("--subject", min=1, help="Which subject, where PATH holds several.")
    ] = None,
    layers: Annotated[
        str, typer.Option("--layers", help="all, or a list such as 0,3,5-9, of each feature set.")
    ] = "all",
    dim: Annotated[
        int | None,
        typer.Option(
            "--dim", min=1, help="Aligned channels.  [default: the ridge start's best rank on held-out images]"
        ),
    ] = None,
    eigen: Annotated[float, typer.Option("--eigen", min=0.0, help="Weight of the eigen-constraint (Eq. 8).")] = 1.0,
    zero: Annotated[float, typer.Option("--zero", min=0.0, help="Weight of the zero-centred term (Eq. 6).")] = 0.01,
    cov: Annotated[float, typer.Option("--cov", min=0.0, help="Weight of the covariance term (Eq. 7).")] = 0.01,
    init: Annotated[
        str, typer.Option("--init", help="ridge: start from the closed-form solution; random: the paper's way.")
    ] = "ridge",
    agree: Annotated[
        float,
        typer.Option(
            "--agree",
            min=0.0,
            help="Weight of slots saying the same of images and places; 0 as in the paper.",
        ),
    ] = 0.3,
    epochs: Annotated[
        int, typer.Option("--epochs", min=0, help="Passes over the images, at most; held-out R^2 ends them.")
    ] = 20,
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="Images a step.")] = 128,
    rate: Annotated[
        float, typer.Option("--rate", help="Adam's first step, as a share of a tensor's root mean square.")
    ] = 0.01,
    test_split: Annotated[
        str,
        typer.Option(
            "--test-split",
            help="auto, given (the data's own test images), even-odd, last:10%, or a file of image names.",
        ),
    ] = "auto",
    ablate: Annotated[
        str | None,
        typer.Option(
            "--ablate", metavar="eigen=1,0.1,0", help="Align once for each value, and write the paper's Table 1."
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="DIR", help="ablate: PNG masks of class ids, for segmentation quality."),
    ] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(
            "--segment",
            metavar="features/NAME",
            help="ablate: feature sets of the images of --masks, with all tokens. May be repeated.  [default: --from]",
        ),
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the PNGs.")] = True,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="[default: from its inputs]")] = None,
    project: options.Project = Path(),
    device: options.Device = "auto",
    memory: options.Memory = "50%",
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    verify: options.Verify = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Learn one linear map per slot into channels that all slots share, by predicting responses to the same images.

    Prediction: AvgPool(mean over slots of V W) beta + eps (paper, Eq. 2). Loss: L1 on responses, and on sampled tokens
    the eigen-constraint, zero-centred and covariance terms (Eq. 6 to 10). It starts from the closed-form reduced-rank
    ridge solution, in which slots agree on images and on places as far as --agree asks. A tenth of the training images
    is held out: it chooses penalty, rank, how much each slot counts, and when to stop.
    """
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose, verify=verify)
    demand_choice("--init", init, INITS)
    if not 0 < rate <= 1:
        raise UsageError("bad-rate", f"--rate {rate} is not in 0 to 1", "Give a small share such as 0.01")

    from alignedcut_cli.commands.align.plan import Asked, make_plan

    asked = Asked(
        sources=tuple(source or ()), brain=brain, subject=subject, layers=layers, dim=dim, eigen=eigen, zero=zero,
        cov=cov, init=init, agree=agree, epochs=epochs, batch=batch_size, rate=rate, test_split=test_split, seed=seed,
        name=name,
    )  # fmt: skip
    values = _ablated(ablate, masks, segment)
    chosen_device, budget = resolve_device(device), memory_bytes(memory)
    plan = make_plan(frame, asked)
    if plan.need() > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"this alignment holds {format_bytes(plan.need())}, --memory allows {format_bytes(budget)}",
            "Give more --memory, fewer --layers or a smaller --dim",
        )
    if dry_run:
        _print_dry_run(frame, plan, values)
        return
    if values:
        from alignedcut_cli.commands.align.ablate import ablation

        ablation(frame, plan, values, masks, tuple(segment or ()), chosen_device, overwrite)
        return
    from alignedcut_cli.commands.align.make import make
    from alignedcut_cli.commands.align.result import roi_rows

    header, made = make(frame, plan, chosen_device, overwrite)
    lines = [str(frame.project.path("align", header.name))]
    result = {"schema": "alignedcut.align/1", **frame.artifact_object(header, made=made), "rois": roi_rows(header)}
    if pictures:
        from alignedcut_cli.commands.align.pictures import draw_if_needed

        folder = frame.project.pictures("align", header.name)
        draw_if_needed(frame, header, folder)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)


def _ablated(text: str | None, masks: Path | None, segment: Sequence[str] | None) -> list[float]:
    """The values of --ablate eigen=…; none without it."""
    if text is None:
        if masks or segment:
            raise UsageError("option-unused", "--masks and --segment serve --ablate alone", "Leave them out")
        return []
    key, _, values = text.partition("=")
    try:
        found = [float(value) for value in values.split(",")]
    except ValueError:
        found = [-1.0]
    if key != "eigen" or min(found) < 0 or max(found) == float("inf") or len(set(found)) < len(found):
        raise UsageError("bad-ablate", f"--ablate {text!r} cannot be", "Give different weights such as eigen=1,0.1,0")
    return found


def _print_dry_run(frame: Frame, plan: Plan, values: Sequence[float]) -> None:
    channels = sum(slot.about["width"] for slot in plan.slots)
    voxels = plan.responses.values.shape[1]
    size = 4 * (plan.most_channels * (channels + voxels) + 6 * voxels)
    names = [f"{plan.recipe.name}-eigen-{value:g}" for value in values] or [plan.recipe.name]
    described = DryRun(
        [
            *(f"{given.kind}/{given.name}" for given in plan.recipe.inputs),
            f"{voxels} voxels, {len(plan.pairs.rows)} images",
        ],
        [(str(frame.project.path("align", name)), size) for name in names],
        plan.need(),
    )
    frame.output.result(described.text(), described.as_object())
