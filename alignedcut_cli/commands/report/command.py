"""`alignedcut report`: from artifacts to one interactive page."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.report.asked import Asked
from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame

if TYPE_CHECKING:
    from alignedcut_cli.commands.report.plan import Plan

__all__ = ["BEFORE", "EXAMPLES", "NAME", "command"]

NAME = "report"
EXAMPLES = (
    "alignedcut report -p study",
    'alignedcut report --from color/tiny-clip --images 12 --title "What tiny-clip sees" --name mail -p study',
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip -p study",
    "alignedcut cut --from features/tiny-clip -p study",
    "alignedcut color --from cut/tiny-clip -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Write one HTML page of a study: pick any patch of any photograph, and see everything by how like it is.

    One file that needs no network and loads nothing: open it, mail it, cite it. Patches are compared by eigenvectors of
    the cut and, where there is an alignment, in aligned and brain space; colours, segments and concepts are views of the
    same photographs. Below: what areas of the brain are predicted to say, paths over layers, curves with intervals, and
    every command, parameter and version behind it. What does not fit into the budget is left out and named on top. With
    scripts off, sheets and curves stay.
    """
    from alignedcut_cli.commands.report.plan import make_plan

    plan = make_plan(frame, asked)
    path = frame.project.path(plan.recipe.kind, plan.recipe.name)
    if asked.dry_run:
        inputs = [one.reference for one in plan.recipe.inputs]
        described = DryRun(inputs, [(str(path), plan.budget)], plan.need())
        frame.dry_run(described)
        return
    header, made = frame.make_once(plan.recipe, asked.overwrite, lambda: _write(frame, plan))
    about: dict[str, Any] = {
        "schema": "alignedcut.report/1",
        **frame.artifact_object(header, made=made),
        "bytes": path.stat().st_size,
        "shown": header.raw["shown"],
        "left_out": header.raw["left_out"],
        "cosine_cost": header.raw["cosine_cost"],
    }
    for line in header.raw["left_out"]:
        frame.output.note(line)
    for space, cost in header.raw["cosine_cost"].items():
        frame.output.detail(f"cosines in {space} are exact to {cost:.3f} on the page")
    frame.output.detail(f"{path}: {format_bytes(about['bytes'])}")
    frame.output.result(str(path), about)
    if asked.show:
        webbrowser.open(path.absolute().as_uri())


def _write(frame: Frame, plan: Plan) -> Any:
    from alignedcut_cli.commands.report.run import write_report

    return write_report(frame, plan)
