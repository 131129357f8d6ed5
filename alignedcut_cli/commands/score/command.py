"""`alignedcut score`: from features and brain data to how well each layer predicts each region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.score.asked import Asked
from alignedcut_cli.commands.score.export import EXPORTS
from alignedcut_cli.core.resample.words import stated
from alignedcut_cli.errors import OutOfMemoryError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import memory_bytes, resolve_device
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame, require_choice
from alignedcut_cli.frame.sweeps import make_shard
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.score.plan import Plan
    from alignedcut_cli.frame.sweeps import Sweep

__all__ = ["EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "score"
EXAMPLES = (
    "alignedcut score --brain algonauts/subj01 --from features/brain-clip --from features/brain-mae -p study",
    "alignedcut score --brain responses.csv --from features/tiny-clip --metric ereg --split kfold:4 --name ratings -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Score how well each layer of each model predicts brain data, by measures that are meant to be read together.

    crsa: the layer's RDM against the region's. ereg: ridge regression of each voxel; the mean over voxels of Pearson's r,
    on train images by exact leave-one-out. ersa: the RDM of these predictions against the region's. cka: unbiased centred
    kernel alignment. The layer of a model is chosen on train images, and its score on test images is reported, with the
    noise ceiling. Intervals resample images (and subjects); layers and models are compared on the same draws.
    """
    require_choice("--penalty", asked.penalty, ("target", "shared"))
    require_choice("--rdm", asked.rdm, ("pearson", "cosine", "euclidean"))
    require_choice("--compare", asked.compare, ("pearson", "spearman", "tau-a", "whitened"))
    require_choice("--units", asked.units, ("products", "projected", "raw"))
    require_choice("--best-layer", asked.best_layer, ("train", "none"))

    from alignedcut_cli.commands.score.plan import make_plan

    device, budget = resolve_device(asked.device, asked.cluster), memory_bytes(asked.memory)
    plan = make_plan(frame, asked)
    if plan.need() > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"this scoring holds {format_bytes(plan.need())}, --memory allows {format_bytes(budget)}",
            "Give more --memory, fewer --roi, or fewer draws with --bootstrap",
        )
    from alignedcut_cli.commands.score.run import make
    from alignedcut_cli.commands.score.sweeps import Scoring, parts_of

    parts = parts_of(frame, plan, device)
    sweeps = Scoring(plan, parts, device, budget).sweeps()
    if asked.dry_run:
        frame.dry_run(_dry_run(frame, plan, asked, sweeps))
        return
    if asked.shard:

        def opened() -> list[Sweep]:
            parts.open()
            return sweeps

        frame.output.result(*make_shard(frame, plan.recipe, asked.shard, opened))
        return
    header, made = make(frame, plan, parts, device, budget, asked)
    _tell(frame, plan, header, made, asked.pictures)


def _dry_run(frame: Frame, plan: Plan, asked: Asked, sweeps: list[Sweep]) -> DryRun:
    from alignedcut_cli.frame.cluster_costs import shared_counts

    cells = len(plan.layers) * len(plan.lines)
    outputs = [(str(frame.project.path("score", plan.recipe.name)), 120 * cells)]
    outputs += [(f"{frame.project.pictures('score', plan.recipe.name)}/", 0)] if asked.pictures else []
    inputs = [*(f"{given.kind}/{given.name}" for given in plan.recipe.inputs), str(asked.brain)]
    counts = shared_counts(asked, NAME, sweeps, read=plan.read_bytes(), memory=plan.need())
    return DryRun(inputs, outputs, plan.need(), counts)


def _tell(frame: Frame, plan: Plan, header: Header, made: bool, pictures: bool) -> None:
    """Draw the figures, and print the best layers."""
    from alignedcut_cli.commands.score.result import best_rows, best_table

    path = frame.project.path("score", header.name)
    tensors = load_tensors(path)[1]
    rows = best_rows(header, tensors)
    above = [row for row in rows if (row["ceiled"] or 0) > 1]
    if above:
        worst = max(above, key=lambda row: row["ceiled"])
        frame.output.note(
            f"{len(above)} scores are above their noise ceiling, at most {worst['ceiled']:.2f} times "
            f"({worst['metric']} of {worst['region']}, {worst['model']}): ceilings are estimates"
        )
    lines = [best_table(header, rows)] if rows else []
    kind = "images, and of subjects where they are averaged"
    result: dict[str, Any] = {"schema": "alignedcut.score/1", **frame.artifact_object(header, made=made), "best": rows}
    result["resampled"] = stated(kind, header.params["bootstrap"])
    lines.append(str(path))
    if pictures:
        from alignedcut_cli.commands.score.pictures import draw_if_needed

        folder = frame.project.pictures("score", header.name)
        draw_if_needed(frame, plan, header, tensors, folder)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)
