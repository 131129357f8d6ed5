"""The work of an extraction as sweeps: a task a shard, which is written for every tap that one pass over it reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.loaded import loaded
from alignedcut_cli.commands.extract.onto_plan import plan_onto
from alignedcut_cli.commands.extract.onto_run import Embedding
from alignedcut_cli.commands.extract.plan import Plan, make_plans
from alignedcut_cli.commands.extract.writing import write_behind
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep
from alignedcut_cli.store.features import FeatureWriter
from alignedcut_cli.store.header import Recipe

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.backbones.load import Backbone

__all__ = ["Pass", "open_sweeps", "passes_of", "shard_axes"]


def open_sweeps(frame: Frame, asked: Asked) -> list[tuple[Recipe, list[Sweep]]]:
    """Each feature set with the sweep of the pass that makes it, planned from the options; or the cut of --onto with its.

    Nothing is written: images and weights that were hashed before come from the project's cache.
    """
    device, planned = resolve_device(asked.device), replace(asked, dry_run=True)
    if asked.onto is not None:
        plan = plan_onto(frame, planned, asked.onto)
        return [(plan.recipe, [Embedding(frame, plan, asked, device).sweep])]
    models = make_plans(frame, planned)
    passes = [one for plans in models for one in passes_of(frame, plans, asked, device)]
    return [(plan.recipe, [one.sweep]) for one in passes for plan in one.plans]


def passes_of(frame: Frame, plans: Sequence[Plan], asked: Asked, device: torch.device) -> list[Pass]:
    """The passes over the images that read the sets of one model.

    What is read in one pass has the same shards; taps of other widths have others, as if they were read alone.
    """
    ranges = dict.fromkeys(plan.ranges for plan in plans)
    return [Pass(frame, [plan for plan in plans if plan.ranges == one], asked, device) for one in ranges]


class Pass:
    """The sets of one model and one plan of shards, and what writes each, by its tap."""

    def __init__(self, frame: Frame, plans: Sequence[Plan], asked: Asked, device: torch.device) -> None:
        self.plans = list(plans)
        self._frame, self._asked, self._device = frame, asked, device
        self.writers = {plan.tap: _writer(frame, plan, device) for plan in plans}

    @property
    def sweep(self) -> Sweep:
        plan = self.plans[0]
        sizes = [stop - start for start, stop in plan.ranges]
        names = ", ".join(one.recipe.name for one in self.plans)
        return Sweep("shards", names, "images", sizes, self._missing, self._run)

    def prepare(self, *, here: bool) -> None:
        """Raise what bad options or weights raise, before anything is begun; a model needed `here` is loaded and kept."""
        from alignedcut_cli.backbones.pipeline import batch_size_for

        batch_size_for(self._asked.batch_size, self._device)
        if here and self._missing():
            self._loaded()

    def _loaded(self) -> Backbone:
        plan = self.plans[0]
        return loaded(plan.backbone, plan.weights, plan.recipe.external["weights"], self._device)

    def _missing(self) -> list[int]:
        return sorted(set().union(*(writer.missing() for writer in self.writers.values())))

    def _run(self, numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        """Read the images of some shards once, and write of each shard what is not there yet."""
        from alignedcut_cli.backbones.pipeline import batch_size_for, extract_shards, tensor_meanings

        due = {
            tap: {number for number in numbers if not writer.is_whole(number)}
            for tap, writer in self.writers.items()
            if not writer.is_committed()
        }
        due = {tap: missing for tap, missing in due.items() if missing}
        if not due:
            return
        plan, frame = self.plans[0], self._frame
        size = batch_size_for(self._asked.batch_size, self._device)
        frame.output.detail(f"{plan.recipe.params['model']} on {self._device}, {size} images a batch")
        shards = extract_shards(
            self._loaded(),
            plan.manifest.paths(),
            [(number, *plan.ranges[number]) for number in sorted(set().union(*due.values()))],
            plan.layers,
            taps=list(due),
            tokens=plan.tokens,
            dtype=plan.recipe.params["dtype"],
            batch_size=size,
            seed=self._asked.seed,
            workers=os.cpu_count() or 1,
            advance=advance,
            say=frame.output.note,
        )
        meanings, axes = tensor_meanings(plan.layers, plan.tokens), shard_axes(plan)
        write_behind(
            partial(
                self.writers[tap].write, number, found[tap], meanings, numerics=self.writers[tap].numerics, axes=axes
            )
            for number, found in shards
            for tap in found
            if number in due[tap]
        )


def _writer(frame: Frame, plan: Plan, device: torch.device) -> FeatureWriter:
    folder = frame.project.path("features", plan.recipe.name)
    return FeatureWriter(folder, plan.recipe, plan.ranges, numerics=_numerics(plan, device))


def _numerics(plan: Plan, device: torch.device) -> Mapping[str, str]:
    import torch

    return {
        "torch": torch.__version__,
        "device": device.type,
        "computed": "float32",
        "stored": plan.recipe.params["dtype"],
    }


def shard_axes(plan: Plan) -> dict[str, Any]:
    """The axes that all shards of a set share."""
    tokens = {plan.backbone.tokens_of(layer) for layer in plan.layers}
    sizes = {"P": {"size": tokens.pop()}} if len(tokens) == 1 else {}
    return {**sizes, **({"K": {"size": plan.tokens.sampled}} if plan.tokens.sampled else {})}
