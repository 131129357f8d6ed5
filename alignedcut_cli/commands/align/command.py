"""`alignedcut align`: from features and responses to the same images to one transform per slot into shared channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignedcut_cli.commands.align.asked import Asked
from alignedcut_cli.commands.align.export import EXPORTS
from alignedcut_cli.errors import OutOfMemoryError, UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import memory_bytes, resolve_device
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame, require_choice
from alignedcut_cli.frame.sweeps import make_shard

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.commands.align.plan import Plan
    from alignedcut_cli.frame.sweeps import Sweep
    from alignedcut_cli.store.header import Recipe

    Shared = tuple[Recipe, list[Sweep]]

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
    values = _ablated(asked)
    device, budget = resolve_device(asked.device, asked.cluster), memory_bytes(asked.memory)
    plan = make_plan(frame, asked)
    if plan.need() > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"this alignment holds {format_bytes(plan.need())}, --memory allows {format_bytes(budget)}",
            "Give more --memory, fewer --layers or a smaller --dim",
        )
    from alignedcut_cli.commands.align.sweeps import sweeps_of

    shared = sweeps_of(frame, plan, asked, device)
    if asked.dry_run:
        frame.dry_run(_dry_run(frame, plan, asked, values, shared[1]))
        return
    if asked.shard:
        _make_shard(frame, shared, asked, asked.shard, device)
        return
    if values:
        from alignedcut_cli.commands.align.ablate import ablation

        ablation(frame, plan, asked, device)
        return
    from alignedcut_cli.commands.align.make import make
    from alignedcut_cli.commands.align.result import roi_rows

    header, made = make(frame, plan, device, asked.overwrite, asked if asked.cluster else None)
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


def _ablated(asked: Asked) -> list[float]:
    """The values of --ablate eigen=…; none without it."""
    from alignedcut_cli.commands.align.plan import ablated_values

    if asked.ablate is not None:
        return ablated_values(asked.ablate)
    if asked.masks or asked.mask_suffix or asked.segment:
        raise UsageError("option-unused", "--masks, --mask-suffix and --segment serve --ablate alone", "Leave them out")
    return []


def _make_shard(frame: Frame, shared: Shared, asked: Asked, shard: str, device: torch.device) -> None:
    """Do a share of the alignment's tasks, or of the alignments of --ablate."""
    from alignedcut_cli.commands.align.tasks import numerics
    from alignedcut_cli.store.parts import Parts

    recipe, sweeps = shared

    def opened() -> list[Sweep]:
        if not asked.ablate:
            Parts(frame.project, recipe, numerics(device)).open()
        return sweeps

    frame.output.result(*make_shard(frame, recipe, shard, opened))


def _dry_run(frame: Frame, plan: Plan, asked: Asked, values: Sequence[float], sweeps: list[Sweep]) -> DryRun:
    from alignedcut_cli.frame.cluster_costs import shared_counts

    channels = sum(slot.about["width"] for slot in plan.slots)
    voxels = plan.responses.values.shape[1]
    size = 4 * (plan.most_channels * (channels + voxels) + 6 * voxels)
    names = [f"{plan.recipe.name}-eigen-{value:g}" for value in values] or [plan.recipe.name]
    return DryRun(
        [
            *(f"{given.kind}/{given.name}" for given in plan.recipe.inputs),
            f"{voxels} voxels, {len(plan.pairs.rows)} images",
        ],
        [(str(frame.project.path("align", name)), size) for name in names],
        plan.need(),
        shared_counts(asked, NAME, sweeps, read=plan.read_bytes() * len(names), memory=plan.need()),
    )
