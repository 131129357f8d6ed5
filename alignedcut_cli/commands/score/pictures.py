"""The pictures and tables of a scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from alignedcut_cli.commands.score.result import best_rows, difference_rows, dimension_rows, long_rows, main_targets
from alignedcut_cli.commands.score.sides import BrainSide, LayerSide
from alignedcut_cli.commands.score.summary import MEAN
from alignedcut_cli.core.encode.rdm import average_rdm, rdm
from alignedcut_cli.frame.export import export_table, has_parquet, table_of_rows
from alignedcut_cli.frame.output import as_csv
from alignedcut_cli.frame.pictures import draw_once
from alignedcut_cli.report.figures import save_figure
from alignedcut_cli.report.scores import best_figure, depth_figure, dimension_figure, rdm_figure
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.score.plan import Plan
    from alignedcut_cli.frame.run import Frame

__all__ = ["draw_if_needed"]


def draw_if_needed(frame: Frame, plan: Plan, header: Header, tensors: Mapping[str, np.ndarray], folder: Path) -> None:
    """Draw the pictures and write the tables, unless they already show this content."""
    parquet = has_parquet()
    draw_once(
        frame.project,
        header,
        {"content": header.content, "parquet": parquet},
        lambda: _draw(plan, header, tensors, folder, parquet),
    )


def _draw(plan: Plan, header: Header, tensors: Mapping[str, np.ndarray], folder: Path, parquet: bool) -> None:
    rows, best = long_rows(header, tensors), best_rows(header, tensors)
    relation = dimension_rows(header, tensors)
    tables = {"table": rows, "best": best, "differences": difference_rows(header, tensors), "dimension": relation}
    for name, found in tables.items():
        if found:
            writing_text(folder / f"{name}.csv", as_csv(found))
    if parquet and rows:
        export_table(table_of_rows(rows), folder / "table.parquet")
    targets = header.axes["C"]["targets"]
    shown = [(targets[n]["metric"], targets[n]["region"], targets[n]["subject"]) for n in main_targets(targets)]
    main = [row for row in rows if (row["metric"], row["region"], row["subject"]) in shown]
    for metric in header.params["metrics"]:
        fits = metric in ("ereg", "ersa")
        split = "test" if fits or header.params["best_layer"] == "train" else "all"
        own = [row for row in main if row["metric"] == metric and row["cv_split"] == split]
        if own:
            save_figure(depth_figure(metric, own, split), folder / f"depth-{metric}.png")
    chosen = [row for row in best if (row["metric"], row["region"], row["subject"]) in shown]
    if chosen:
        save_figure(best_figure(chosen), folder / "best.png")
    _draw_dimension(main, relation, folder)
    _draw_rdms(plan, header, tensors, folder)


def _draw_dimension(main: Sequence[Mapping[str, Any]], relation: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw dimension against score for the first region of each measure, that of all voxels if there is one."""
    tested = [row for row in main if row["cv_split"] == "test" and row["dimension"] is not None]
    first = {row["metric"]: row["region"] for row in reversed(tested)}
    own = [row for row in tested if row["region"] == first[row["metric"]]]
    subjects = {row["metric"]: row["subject"] for row in own}
    known = [
        row
        for row in relation
        if row["metric"] in first
        and row["region"] == first[row["metric"]]
        and row["subject"] == subjects[row["metric"]]
    ]
    if len({row["layer"] for row in own}) > 2:
        save_figure(dimension_figure(own, known), folder / "dimension.png")


def _draw_rdms(plan: Plan, header: Header, tensors: Mapping[str, np.ndarray], folder: Path) -> None:
    """Draw the RDM of each model's best layer by crsa and the brain's, over all images, for the first region."""
    targets = header.axes["C"]["targets"]
    first = next((number for number in main_targets(targets) if targets[number]["metric"] == "crsa"), None)
    if first is None:
        return
    target, distance = targets[first], header.params["rdm"]
    brain = BrainSide(plan, torch.device("cpu"), 0)
    lines = [
        line
        for line in plan.lines
        if line.metric == "crsa"
        and plan.region(line) == target["region"]
        and target["subject"] in (MEAN, plan.cases[line.case].subject)
    ]
    case = plan.cases[lines[0].case]
    lines = [line for line in lines if plan.cases[line.case].images == case.images]
    images = torch.arange(len(case.images))
    each = torch.cat([brain.rdms(line.case, [line.region], images) for line in lines])
    told = f"mean of {len(lines)} subjects" if len(lines) > 1 else f"subject {case.subject}"
    mean = average_rdm(each) if distance == "pearson" and plan.cases[lines[0].case].rdms is None else each.mean(0)
    titles, found = [f"brain: {target['region']}, {told}"], [mean.numpy()]
    for number, model in enumerate(plan.models):
        best = tensors["best"][number, first, 0] if "best" in tensors else _top(plan, tensors, number, first)
        if best < 0:
            continue
        layer = plan.layers[int(best)]
        own = LayerSide(plan, layer, torch.device("cpu")).own_gram(case, np.arange(len(case.images)))
        titles.append(f"{model}\n{layer.map.name}: {tensors['every'][best, first]:.3f} on all images")
        found.append(rdm(own, distance).numpy())
    save_figure(rdm_figure(titles, found), folder / "rdms.png")


def _top(plan: Plan, tensors: Mapping[str, np.ndarray], model: int, target: int) -> int:
    """The layer of a model with the best score on all images, if none is chosen on train images."""
    own = [number for number, layer in enumerate(plan.layers) if layer.source == model]
    scores = np.nan_to_num(tensors["every"][own, target], nan=-np.inf)
    return own[int(scores.argmax())]
