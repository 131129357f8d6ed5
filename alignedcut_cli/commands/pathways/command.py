"""`alignedcut pathways`: the information of cuts' clusters about classes (what) and positions (where)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.pathways.asked import Asked
from alignedcut_cli.commands.pathways.export import EXPORTS
from alignedcut_cli.core.resample.words import stated
from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import as_csv
from alignedcut_cli.frame.pictures import draw_once
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.pathways.plan import Plan

__all__ = ["BEFORE", "EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "pathways"
EXAMPLES = (
    "alignedcut pathways --from cut/tiny-clip-vv --from cut/tiny-clip-qk-per-slot --masks masks -p study",
    "alignedcut pathways --from cut/tiny-clip-vv --masks masks --grid 3 --clusters 8 --name coarse -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip --tap q --tap k --tap v -p study",
    "alignedcut cut --graph vv --from features/tiny-clip-v -p study",
    "alignedcut cut --graph qk --from features/tiny-clip-q --per-slot --neighbors 20 --threshold 0.2 -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Measure what the clusters of cuts tell of what is there, and of where it is.

    Adjusted mutual information of the clusters of each slot with the classes of a ground truth (what), with the part of
    the image that a patch lies in (where), and with instances where they are known; over the data set and within images
    (the mean over images that hold more than one). 0 is chance, 1 the same partition: it says how alike two groupings
    are, and is not the accuracy of a classifier, as no label is predicted. Graphs of values are expected to tell what,
    those of queries and keys where (Zhang, Yunis and Maire 2023). Intervals are over images; the null permutes cluster
    maps between images and shifts them cyclically; values that it reaches stand in brackets.
    """
    from alignedcut_cli.commands.pathways.plan import make_plan

    plan = make_plan(frame, asked)
    folder = frame.project.pictures("pathways", plan.recipe.name)
    if asked.dry_run:
        size = sum(cut.axes["M"]["size"] for cut in plan.cuts) * 20
        outputs = [(str(frame.project.path("pathways", plan.recipe.name)), size)]
        described = DryRun(
            [*(f"cut/{cut.name}" for cut in plan.cuts), str(plan.masks.place)],
            [*outputs, *([(f"{folder}/", 0)] if asked.pictures else [])],
            plan.need(),
        )
        frame.dry_run(described)
        return
    header, made = _make(frame, plan, asked.overwrite)
    _tell(frame, header, made, folder if asked.pictures else None)


def _make(frame: Frame, plan: Plan, overwrite: bool) -> tuple[Header, bool]:
    def made() -> Header:
        import torch

        from alignedcut_cli.commands.pathways.run import MEANINGS, axes_of, run

        tensors = run(frame, plan)
        return write_artifact(
            frame.project.path("pathways", plan.recipe.name),
            plan.recipe,
            tensors,
            MEANINGS,
            axes=axes_of(plan, tensors),
            numerics={"torch": torch.__version__, "device": "cpu", "computed": "float64"},
            parents=plan.cuts,
        )

    return frame.make_once(plan.recipe, overwrite, made)


def _tell(frame: Frame, header: Header, made: bool, folder: Path | None) -> None:
    """Draw the figure, and print the table."""
    from alignedcut_cli.commands.pathways.result import flat_rows, result_rows, result_table

    rows = result_rows(header, load_tensors(frame.project.path("pathways", header.name))[1])
    result: dict[str, Any] = {
        "schema": "alignedcut.pathways/1",
        **frame.artifact_object(header, made=made),
        "rows": rows,
    }
    result["images"] = header.axes["b"]["size"]
    result["resampled"] = stated("images", header.params["bootstrap"], "recentred percentile")
    lines = [result_table(header, rows), "", str(frame.project.path("pathways", header.name))]
    if folder:

        def draw() -> None:
            from alignedcut_cli.report.figures import save_figure
            from alignedcut_cli.report.pathways import pathway_figure

            writing_text(folder / "table.csv", as_csv(flat_rows(rows)))
            save_figure(pathway_figure(rows), folder / "pathways.png")

        draw_once(frame.project, header, {"content": header.content}, draw)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)
