"""Running a planned scoring, with a checkpoint after each layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from alignedcut_cli.commands.score.bands import best_of_each_set, score_bands
from alignedcut_cli.commands.score.layer import Rows, score_layer
from alignedcut_cli.commands.score.result import axes_of, meanings_of
from alignedcut_cli.commands.score.sides import BrainSide
from alignedcut_cli.commands.score.summary import bounds, summary_tensors, targets_of
from alignedcut_cli.frame.keep import Keeper
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.score.plan import Plan

__all__ = ["make"]


def make(frame: Frame, plan: Plan, device: torch.device, budget: int, overwrite: bool) -> tuple[Header, bool]:
    """The header of a scoring, made unless it is up to date, and whether it was made."""
    return frame.make_once(plan.recipe, overwrite, lambda: _score_and_write(frame, plan, device, budget))


def _score_and_write(frame: Frame, plan: Plan, device: torch.device, budget: int) -> Header:
    keeper = Keeper(
        frame, plan.recipe, {"torch": torch.__version__, "device": device.type}, lambda state: f"{_done(state)} layers"
    )
    brain = BrainSide(plan, device, budget)
    with keeper.told_when_stopped():
        rows = _score_layers(frame, plan, brain, keeper)
        best = best_of_each_set(plan, rows) if plan.bands else []
        if best:
            rows.append(score_bands(plan, brain, best))
    targets, owners = targets_of(plan), [layer.source for layer in plan.layers]
    models = len(plan.sets) + plan.bands
    owners += [models - 1] * plan.bands
    tensors = summary_tensors(plan, targets, rows, owners, models)
    tensors["ceiling"] = bounds(plan, targets, brain)
    if plan.bands:
        shares = rows[-1]["shares"]
        tensors["shares"] = np.stack([shares[list(target.lines)].mean(0) for target in targets])
    if plan.recipe.params["per_voxel"]:
        for number, case in enumerate(plan.cases):
            if case.voxels is not None:
                tensors[f"voxel.{number}"] = np.stack([row[f"voxel.{number}"] for row in rows])
                tensors[f"column.{number}"] = case.voxels
    header = write_artifact(
        frame.project.path("score", plan.recipe.name),
        plan.recipe,
        tensors,
        meanings_of(tensors),
        axes=axes_of(plan, targets, best, tensors),
        numerics={"torch": torch.__version__, "device": device.type, "computed": "float64, products float32"},
        parents=plan.parents,
    )
    keeper.drop()
    return header


def _score_layers(frame: Frame, plan: Plan, brain: BrainSide, keeper: Keeper) -> list[Rows]:
    """The rows of all layers, resuming after those in a checkpoint."""
    state: dict[str, Any] = keeper.read() or {}
    done = _done(state)
    rows = [_of_layer(state, number) for number in range(done)]
    with frame.output.progress("scoring", len(plan.layers), "layers", done) as advance:
        for number in range(done, len(plan.layers)):
            found = score_layer(plan, plan.layers[number], brain)
            rows.append(found)
            state |= {f"{number:05d}.{name}": array for name, array in found.items()}
            keeper(partial(dict, state))
            advance(1)
    return rows


def _done(state: Any) -> int:
    """The number of layers in a kept state."""
    return len({name.partition(".")[0] for name in state})


def _of_layer(state: Any, number: int) -> Rows:
    prefix = f"{number:05d}."
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
