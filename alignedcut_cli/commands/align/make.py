"""Make a planned alignment unless it is up to date, and report the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignedcut_cli.commands.align.result import axes, influence_tensors, roi_table, tensors
from alignedcut_cli.commands.align.tasks import Aligning, numerics
from alignedcut_cli.core.align.train import Alignment
from alignedcut_cli.frame.keep import Held
from alignedcut_cli.frame.pairs import ENOUGH, HELDOUT
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import run_here, run_sweeps
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.commands.align.asked import Asked
    from alignedcut_cli.commands.align.plan import Plan

__all__ = ["make"]


def make(
    frame: Frame, plan: Plan, device: torch.device, overwrite: bool, shared: Asked | None = None
) -> tuple[Header, bool]:
    """The header of an alignment, made unless it is up to date, and whether it was made.

    Its tasks are shared on the cluster of the options `shared`, if they are given.
    """
    return frame.make_once(plan.recipe, overwrite, lambda: _fit_and_write(frame, plan, device, shared))


def _fit_and_write(frame: Frame, plan: Plan, device: torch.device, shared: Asked | None) -> Header:
    _note_few_heldout(frame, plan)
    files = Parts(frame.project, plan.recipe, numerics(device))
    if shared:
        files.open()
        aligning = Aligning(frame, plan, files, device)
        run_sweeps(frame, shared, aligning.sweeps())
    else:
        aligning = Aligning(frame, plan, Held(frame, plan.recipe, files), device, keeps=True)
        with aligning.keeper.told_when_stopped():
            run_here(frame, aligning.sweeps())
    header = _write(frame, plan, aligning, device)
    aligning.drop()
    return header


def _write(frame: Frame, plan: Plan, aligning: Aligning, device: torch.device) -> Header:
    """The artifact, from what the fits gave."""
    fitted, crossed = aligning.fitted(), aligning.crossed()
    _tell(frame, fitted.alignment)
    arrays, meanings = tensors(plan, fitted)
    added, told, scores = influence_tensors(plan, fitted, crossed)
    arrays, meanings = arrays | added, meanings | told
    return write_artifact(
        frame.project.path("align", plan.recipe.name),
        plan.recipe,
        arrays,
        meanings,
        axes=axes(plan, arrays),
        numerics={**numerics(device), "computed": "float32"},
        parents=plan.parents,
        rois=roi_table(plan, fitted, arrays, scores),
    )


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
