"""Running a planned scoring, with a checkpoint after each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from alignedcut_cli.commands.score.bands import best_of_each_set, score_bands
from alignedcut_cli.commands.score.result import axes_of, meanings_of
from alignedcut_cli.commands.score.summary import bounds, summary_tensors, targets_of
from alignedcut_cli.commands.score.sweeps import Scoring
from alignedcut_cli.frame.keep import Held
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import run_sweeps
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.score.asked import Asked
    from alignedcut_cli.commands.score.plan import Plan
    from alignedcut_cli.store.parts import Parts

__all__ = ["make"]


def make(
    frame: Frame, plan: Plan, parts: Parts, device: torch.device, budget: int, asked: Asked
) -> tuple[Header, bool]:
    """One scoring, made or found up to date: (header, whether it was made)."""
    return frame.make_once(
        plan.recipe, asked.overwrite, lambda: _score_and_write(frame, plan, parts, device, budget, asked)
    )


def _score_and_write(frame: Frame, plan: Plan, files: Parts, device: torch.device, budget: int, asked: Asked) -> Header:
    """Layer after layer, here or on the cluster; those that an interrupted run left are not done again."""
    held = Held(frame, plan.recipe, files, "layers")
    scoring = Scoring(plan, files if asked.cluster else held, device, budget)
    if asked.cluster:
        files.open()
    held.tell(len(plan.layers) - len(scoring.missing()))
    with held.told_when_stopped():
        run_sweeps(frame, asked, scoring.sweeps())
    header = _write(frame, plan, scoring, device)
    held.drop()
    return header


def _write(frame: Frame, plan: Plan, scoring: Scoring, device: torch.device) -> Header:
    """The artifact, from the rows of all layers: bands, means, intervals and differences are taken here."""
    rows = scoring.rows()
    best = best_of_each_set(plan, rows) if plan.bands else []
    if best:
        rows.append(score_bands(plan, scoring.brain, best))
    targets, owners = targets_of(plan), [layer.source for layer in plan.layers]
    models = len(plan.sets) + plan.bands
    owners += [models - 1] * plan.bands
    tensors = summary_tensors(plan, targets, rows, owners, models)
    tensors["ceiling"] = bounds(plan, targets, scoring.brain)
    if plan.bands:
        shares = rows[-1]["shares"]
        tensors["shares"] = np.stack([shares[list(target.lines)].mean(0) for target in targets])
    if plan.recipe.params["per_voxel"]:
        for number, case in enumerate(plan.cases):
            if case.voxels is not None:
                tensors[f"voxel.{number}"] = np.stack([row[f"voxel.{number}"] for row in rows])
                tensors[f"column.{number}"] = case.voxels
    return write_artifact(
        frame.project.path("score", plan.recipe.name),
        plan.recipe,
        tensors,
        meanings_of(tensors),
        axes=axes_of(plan, targets, best, tensors),
        numerics={"torch": torch.__version__, "device": device.type, "computed": "float64, products float32"},
        parents=plan.parents,
    )
