"""`alignedcut tree`: a hierarchical clustering of the nodes of a cut, with support and names for its splits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.tree.asked import Asked
from alignedcut_cli.commands.tree.export import EXPORTS
from alignedcut_cli.errors import DataError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import as_csv
from alignedcut_cli.frame.pictures import draw_once
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.tree.plan import Plan

__all__ = ["BEFORE", "EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "tree"
EXAMPLES = (
    "alignedcut tree --from cut/tiny-clip --masks masks --clusters 16 --bootstrap 10 -p study",
    "alignedcut tree --from cut/tiny-clip --clusters 8 --bootstrap 0 --shown 7 --name plain -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip -p study",
    "alignedcut cut --from features/tiny-clip -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Grow one nested tree over the nodes of a cut: 2 to 64 clusters from the same eigenvectors.

    Leaves are k-means clusters of unit rows; Ward's method joins their centres, so that each partition splits one cluster
    of the coarser one in two. Support: the tree is grown again from resampled images, and a side's support is its mean
    overlap (IoU) with the best match there (above .75 it is stable, below .5 it dissolves: Hennig 2007); a split has that
    of its worse side. With --masks, and an alignment, each split says which classes and brain areas are higher on one of
    its sides, by at least two standard errors over images.
    """
    from alignedcut_cli.commands.tree.plan import make_plan

    plan = make_plan(frame, asked)
    folder = frame.project.pictures("tree", plan.recipe.name)
    if asked.dry_run:
        outputs = [(str(frame.project.path("tree", plan.recipe.name)), 2 * plan.cut.axes["M"]["size"] + 4096)]
        inputs = [
            *(f"{one.kind}/{one.name}" for one in plan.recipe.inputs),
            *([str(asked.masks)] if asked.masks else []),
        ]
        described = DryRun(inputs, [*outputs, *([(f"{folder}/", 0)] if asked.pictures else [])], plan.need())
        frame.dry_run(described)
        return
    header, made = _make(frame, plan, asked.overwrite)
    _tell(frame, header, made, folder if asked.pictures else None, asked.shown)


def _make(frame: Frame, plan: Plan, overwrite: bool) -> tuple[Header, bool]:
    def made() -> Header:
        import torch

        from alignedcut_cli.commands.tree.result import MEANINGS, axes_of
        from alignedcut_cli.commands.tree.run import run
        from alignedcut_cli.core.numerics import NumericsError

        try:
            tensors, areas = run(frame, plan)
        except NumericsError as error:
            raise DataError("cannot-cluster", str(error), "Ask for fewer --clusters") from None
        return write_artifact(
            frame.project.path("tree", plan.recipe.name),
            plan.recipe,
            tensors,
            {name: MEANINGS[name] for name in tensors},
            axes=axes_of(plan, areas),
            numerics={"torch": torch.__version__, "device": "cpu", "computed": "float32, sums float64"},
            parents=plan.parents,
        )

    return frame.make_once(plan.recipe, overwrite, made)


def _tell(frame: Frame, header: Header, made: bool, folder: Path | None, shown: int) -> None:
    """Draw the figure, and print the table."""
    from alignedcut_cli.commands.tree.result import flat_rows, split_rows, split_table

    tensors = load_tensors(frame.project.path("tree", header.name))[1]
    rows = split_rows(header, tensors)
    result: dict[str, Any] = {"schema": "alignedcut.tree/1", **frame.artifact_object(header, made=made), "rows": rows}
    lines = [split_table(rows[:shown]), "", str(frame.project.path("tree", header.name))]
    if folder:

        def draw() -> None:
            from alignedcut_cli.report.figures import save_figure
            from alignedcut_cli.report.tree import tree_figure

            writing_text(folder / "table.csv", as_csv(flat_rows(rows)))
            save_figure(tree_figure(tensors["joins"], rows, tensors["sizes"], shown), folder / "tree.png")

        draw_once(frame.project, header, {"content": header.content, "shown": shown}, draw)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)
