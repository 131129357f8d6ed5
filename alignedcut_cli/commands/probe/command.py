"""`alignedcut probe`: an embedding and queries in words in, what the queries keep of it out."""

from __future__ import annotations

from typing import Any

from alignedcut_cli.commands.probe.asked import Asked
from alignedcut_cli.commands.probe.export import EXPORTS
from alignedcut_cli.core.resample.words import stated
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.output import as_csv
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.files import writing_text

__all__ = ["EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "probe"
EXAMPLES = (
    "alignedcut probe classify --from features/clip --queries queries.safetensors --labels labels.csv -p study",
    "alignedcut probe brain --from features/clip --queries queries.safetensors --brain responses.csv -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Predict classes or responses from an embedding, and from its similarity to a few queries in words.

    Features are the unit embeddings E of images, or their cosines with unit vectors of queries, S = E Q^T; both are
    used by ridge regression with exact leave-one-out. classify: one coefficient per query and class. brain: the score
    of each region, the mean |coefficient| of each query, and the rank among random sets of as many vectors.
    """
    from alignedcut_cli.commands.probe.plan import make_plan

    device = resolve_device(asked.device)
    plan = make_plan(frame, asked)
    path, folder = (
        frame.project.path("probe", plan.recipe.name),
        frame.project.pictures("probe", plan.recipe.name),
    )
    if asked.dry_run:
        outputs = [
            (str(path), 8 * (len(plan.queries.texts) + 20) * 64),
            *([(f"{folder}/", 0)] if asked.pictures else []),
        ]
        described = DryRun([f"features/{plan.parent.name}", str(asked.queries)], outputs, plan.need())
        frame.dry_run(described)
        return
    from alignedcut_cli.commands.probe.result import query_rows, score_rows, told
    from alignedcut_cli.commands.probe.run import make

    header, made = make(frame, plan, device, asked.overwrite)
    tensors = load_tensors(path)[1]
    rows, queries = score_rows(header, tensors), query_rows(header, tensors)
    lines = [told(header, rows, queries), str(path)]
    result: dict[str, Any] = {"schema": "alignedcut.probe/1", **frame.artifact_object(header, made=made)}
    result |= {"rows": rows, "queries": queries, "resampled": stated("test images", header.params["bootstrap"])}
    if asked.pictures:
        from alignedcut_cli.frame.pictures import draw_once
        from alignedcut_cli.report.figures import save_figure
        from alignedcut_cli.report.probes import classify_figure, importance_figure

        def draw() -> None:
            writing_text(folder / "scores.csv", as_csv(rows))
            writing_text(folder / "queries.csv", as_csv(queries))
            figure = classify_figure if header.params["what"] == "classify" else importance_figure
            save_figure(figure(rows, queries), folder / "probe.png")

        draw_once(frame.project, header, {"content": header.content}, draw)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)
