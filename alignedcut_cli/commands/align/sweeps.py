"""The sweeps of an alignment (`tasks.py`), or of the alignments of --ablate, each of which is a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignedcut_cli.commands.align.asked import Asked
from alignedcut_cli.commands.align.tasks import Aligning, numerics
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.commands.align.plan import Plan

__all__ = ["open_sweeps", "sweeps_of"]


def open_sweeps(frame: Frame, asked: Asked) -> list[tuple[Recipe, list[Sweep]]]:
    """The sweeps of the alignment that is asked for, whose parts are files; with --ablate, that of its weights."""
    from alignedcut_cli.commands.align.plan import make_plan

    return [sweeps_of(frame, make_plan(frame, asked), asked, resolve_device(asked.device))]


def sweeps_of(frame: Frame, plan: Plan, asked: Asked, device: torch.device) -> tuple[Recipe, list[Sweep]]:
    """The same for a plan."""
    from alignedcut_cli.commands.align.ablate import ablated_plans, ablation_recipe, ablation_sweep

    if asked.ablate:
        plans = ablated_plans(plan, asked.ablate)
        return ablation_recipe(plan, plans), [ablation_sweep(frame, plans, device, asked.overwrite)]
    files = Parts(frame.project, plan.recipe, numerics(device))
    return plan.recipe, Aligning(frame, plan, files, device).sweeps()
