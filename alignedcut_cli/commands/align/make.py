"""Make a planned alignment unless it is up to date, and report the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from alignedcut_cli.commands.align.folds import cross_validated
from alignedcut_cli.commands.align.result import axes, influence_tensors, roi_table, tensors
from alignedcut_cli.commands.align.run import fit
from alignedcut_cli.core.align.train import Alignment
from alignedcut_cli.frame.keep import Keeper
from alignedcut_cli.frame.pairs import ENOUGH, HELDOUT
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.align.plan import Plan

__all__ = ["make"]


def make(frame: Frame, plan: Plan, device: torch.device, overwrite: bool) -> tuple[Header, bool]:
    """The header of an alignment, made unless it is up to date, and whether it was made."""
    return frame.make_once(plan.recipe, overwrite, lambda: _fit_and_write(frame, plan, device))


def _fit_and_write(frame: Frame, plan: Plan, device: torch.device) -> Header:
    _note_few_heldout(frame, plan)
    keeper = Keeper(
        frame,
        plan.recipe,
        {"torch": torch.__version__, "device": device.type},
        lambda state: f"the start and {len(state['curve']) - 1} epochs",
    )
    with keeper.told_when_stopped():
        fitted = fit(frame, plan, device, keeper)
        crossed = cross_validated(frame, plan, fitted, device) if plan.recipe.params.get("folds") else None
    _tell(frame, fitted.alignment)
    arrays, meanings = tensors(plan, fitted)
    added, told, scores = influence_tensors(plan, fitted, crossed)
    arrays, meanings = arrays | added, meanings | told
    header = write_artifact(
        frame.project.path("align", plan.recipe.name),
        plan.recipe,
        arrays,
        meanings,
        axes=axes(plan, arrays),
        numerics={"torch": torch.__version__, "device": device.type, "computed": "float32"},
        parents=plan.parents,
        rois=roi_table(plan, fitted, arrays, scores),
    )
    keeper.drop()
    return header


def _note_few_heldout(frame: Frame, plan: Plan) -> None:
    heldout = int((plan.split == HELDOUT).sum())
    if heldout < ENOUGH:
        frame.output.note(
            f"{heldout} held-out images choose the penalty, the rank and the epoch, which is little to go by: "
            f"from {5 * ENOUGH} training images on there are {ENOUGH}"
        )


def _tell(frame: Frame, alignment: Alignment) -> None:
    """Report the fit on stderr."""
    if alignment.start:
        frame.output.note(
            f"ridge start: penalty {alignment.start.alpha:.3g}, rank {alignment.start.rank}, "
            f"held-out R^2 {alignment.start.score:.3f}"
        )
    epochs = len(alignment.heldout) - 1
    if epochs:
        best = float(alignment.heldout[alignment.best])
        kept = f"epoch {alignment.best} is kept" if alignment.best else "no epoch bettered the start, which is kept"
        frame.output.note(f"{epochs} epochs: {kept}, held-out R^2 {best:.3f}")
    closed = int(alignment.losses[:, -1].sum()) if len(alignment.losses) else 0
    if closed:
        frame.output.note(
            f"{closed} slot samples had a closed eigenvalue gap and were left out of the eigen-constraint"
        )
