"""`alignedcut compare`: how far two cuts, colorings or alignments of the same nodes agree, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.compare.asked import Asked
from alignedcut_cli.commands.compare.export import EXPORTS
from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import as_csv
from alignedcut_cli.frame.pictures import draw_once
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.compare.plan import Plan

__all__ = ["BEFORE", "EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "compare"
EXAMPLES = (
    "alignedcut compare cut/tiny-clip cut/fine -C 5 -p study",
    "alignedcut compare cut/tiny-clip cut/fine --bootstrap 0 --name without-intervals -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip -p study",
    "alignedcut cut --from features/tiny-clip -p study",
    "alignedcut cut --from features/tiny-clip --solver lowrank --nodes 500 --refine 1 --name fine -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Say how far two cuts, colorings or alignments of the same images agree, slot by slot.

    Cuts: the cosines of the principal angles between the spans of their eigenvectors over a slot's nodes, and the error
    of the projectors, |P - Q|_F / sqrt(2 C): 0 the same span, 1 orthogonal ones. Colorings: Procrustes, the similarity of
    the t-SNE spaces after the best rotation and scale, 1 the same shape. Alignments, one or two: unbiased CKA and
    Procrustes (of 16 principal components) between the means over tokens of every pair of slots, in their own channels
    and in aligned ones: what networks share, and what aligning them makes comparable. 95% intervals are over images.
    """
    from alignedcut_cli.commands.compare.plan import make_plan

    plan = make_plan(frame, asked)
    folder = frame.project.pictures("compare", plan.recipe.name)
    if asked.dry_run:
        outputs = [(str(frame.project.path("compare", plan.recipe.name)), 200 * len(plan.about) ** 2)]
        described = DryRun(
            [f"{one.kind}/{one.name}" for one in plan.recipe.inputs],
            [*outputs, *([(f"{folder}/", 0)] if asked.pictures else [])],
            plan.need(),
        )
        frame.dry_run(described)
        return
    if plan.kind == "align" and not asked.source:
        frame.output.note("these are the images that trained the alignment; give --from features/NAME for others")
    header, made = _make(frame, plan, asked.overwrite)
    _tell(frame, header, made, folder if asked.pictures else None)


def _make(frame: Frame, plan: Plan, overwrite: bool) -> tuple[Header, bool]:
    def made() -> Header:
        import torch

        from alignedcut_cli.commands.compare.result import MEANINGS, axes_of, measured

        tensors = measured(frame, plan)
        return write_artifact(
            frame.project.path("compare", plan.recipe.name),
            plan.recipe,
            tensors,
            {name: MEANINGS[name] for name in tensors},
            axes=axes_of(plan, tensors),
            numerics={"torch": torch.__version__, "device": "cpu", "computed": "float64"},
            parents=plan.parents,
        )

    return frame.make_once(plan.recipe, overwrite, made)


def _tell(frame: Frame, header: Header, made: bool, folder: Path | None) -> None:
    """Draw the figures, and print the table."""
    from alignedcut_cli.commands.compare.result import pair_rows, rows_of, table_of

    tensors = load_tensors(frame.project.path("compare", header.name))[1]
    rows = rows_of(header, tensors)
    result: dict[str, Any] = {"schema": "alignedcut.compare/1", **frame.artifact_object(header, made=made)}
    result |= {"rows": rows, "images": header.axes["B"]["size"]}
    lines = [table_of(header, rows), "", str(frame.project.path("compare", header.name))]
    if folder:

        def draw() -> None:
            from alignedcut_cli.report.compare import agreement_figure, matrix_figure
            from alignedcut_cli.report.figures import save_figure

            every = pair_rows(header, tensors) if header.params["of"] == "align" else rows
            writing_text(folder / "table.csv", as_csv(every))
            figure = matrix_figure if header.params["of"] == "align" else agreement_figure
            save_figure(figure(header.axes, tensors), folder / "compare.png")

        draw_once(frame.project, header, {"content": header.content}, draw)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)
