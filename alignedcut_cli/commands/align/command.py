"""`alignedcut align`: from features and responses to the same images to one transform per slot into shared channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.commands.align.asked import Asked
from alignedcut_cli.commands.align.export import EXPORTS
from alignedcut_cli.errors import OutOfMemoryError, UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import memory_bytes, resolve_device
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame, require_choice

if TYPE_CHECKING:
    from alignedcut_cli.commands.align.plan import Plan

__all__ = ["EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "align"
INITS = ("ridge", "random")
EXAMPLES = (
    "alignedcut align --brain algonauts/subj01 --from features/brain-clip --from features/brain-mae --name world -p study",
    "alignedcut align --brain responses.csv --from features/tiny-clip --dim 32 --epochs 2 --name ratings -p study",
    "alignedcut align --brain responses.csv --from features/tiny-clip --dim 8 --epochs 0 --folds 3 --compare ratings "
    "--name small -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Learn one linear map per slot into channels that all slots share, by predicting responses to the same images.

    Prediction: AvgPool(mean over slots of V W) beta + eps (paper, Eq. 2). Loss: L1 on responses, and on sampled tokens
    the eigen-constraint, zero-centred and covariance terms (Eq. 6 to 10). Responses are standardised. Training starts
    from the closed-form reduced-rank ridge solution, in which slots agree on images and on positions by the weight --agree.
    A tenth of the training images (of few, a fifth) is held out to choose the penalty, the rank, the weights of slots, and
    when to stop. Scores of ROIs have intervals over test images; --folds scores all images.
    """
    require_choice("--init", asked.init, INITS)
    if not 0 < asked.rate <= 1:
        raise UsageError("bad-rate", f"--rate {asked.rate} is not in 0 to 1", "Give a small share such as 0.01")

    from alignedcut_cli.commands.align.plan import make_plan

    other = frame.project.parse(asked.compare, "align")[1] if asked.compare else None
    if other:
        frame.project.header("align", other)
    if other and asked.ablate:
        raise UsageError("option-unused", "--compare does not go with --ablate", "Compare them one by one")
    values = _ablated(asked.ablate, asked.masks, asked.mask_suffix, asked.segment)
    device, budget = resolve_device(asked.device), memory_bytes(asked.memory)
    plan = make_plan(frame, asked)
    if plan.need() > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"this alignment holds {format_bytes(plan.need())}, --memory allows {format_bytes(budget)}",
            "Give more --memory, fewer --layers or a smaller --dim",
        )
    if asked.dry_run:
        _print_dry_run(frame, plan, values)
        return
    if values:
        from alignedcut_cli.commands.align.ablate import ablation

        ablation(frame, plan, values, asked.masks, asked.mask_suffix, asked.segment, device, asked.overwrite)
        return
    from alignedcut_cli.commands.align.make import make
    from alignedcut_cli.commands.align.result import roi_rows

    header, made = make(frame, plan, device, asked.overwrite)
    lines = [str(frame.project.path("align", header.name))]
    result = {"schema": "alignedcut.align/1", **frame.artifact_object(header, made=made), "rois": roi_rows(header)}
    if asked.pictures:
        from alignedcut_cli.commands.align.pictures import draw_if_needed

        folder = frame.project.pictures("align", header.name)
        draw_if_needed(frame, header, folder)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    if other:
        from alignedcut_cli.commands.align.compare import compare_rois, comparison_table

        result["comparison"] = compare_rois(frame, header, other)
        lines.insert(0, comparison_table(result["comparison"], header.name, other))
    frame.output.result("\n".join(lines), result)


def _ablated(text: str | None, masks: Path | None, mask_suffix: str | None, segment: Sequence[str]) -> list[float]:
    """The values of --ablate eigen=…; none without it."""
    if text is None:
        if masks or mask_suffix or segment:
            raise UsageError(
                "option-unused", "--masks, --mask-suffix and --segment serve --ablate alone", "Leave them out"
            )
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
    frame.dry_run(described)
