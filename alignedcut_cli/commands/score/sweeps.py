"""The sweep of a scoring: a task a layer. The brain's side is made once a process, with the first of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from alignedcut_cli.commands.score.asked import Asked
from alignedcut_cli.frame.config import memory_bytes, resolve_device
from alignedcut_cli.frame.keep import Held
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.commands.score.layer import Rows
    from alignedcut_cli.commands.score.plan import Plan
    from alignedcut_cli.commands.score.sides import BrainSide

__all__ = ["Scoring", "open_sweeps", "parts_of"]

LAYERS = "layers"


def open_sweeps(frame: Frame, asked: Asked) -> list[tuple[Recipe, list[Sweep]]]:
    """The sweep of the scoring that is asked for, whose parts are files."""
    from alignedcut_cli.commands.score.plan import make_plan

    plan, device = make_plan(frame, asked), resolve_device(asked.device)
    scoring = Scoring(plan, parts_of(frame, plan, device), device, memory_bytes(asked.memory))
    return [(plan.recipe, scoring.sweeps())]


def parts_of(frame: Frame, plan: Plan, device: torch.device) -> Parts:
    """The files of the layers' rows."""
    import torch

    return Parts(frame.project, plan.recipe, {"torch": torch.__version__, "device": device.type})


class Scoring:
    """The tasks of a scoring, and the rows that they wrote."""

    def __init__(self, plan: Plan, parts: Parts | Held, device: torch.device, budget: int) -> None:
        self._plan, self._parts, self._device, self._budget = plan, parts, device, budget
        self._count = len(plan.layers)

    @cached_property
    def brain(self) -> BrainSide:
        """The brain's side of every comparison, kept over layers."""
        from alignedcut_cli.commands.score.sides import BrainSide

        return BrainSide(self._plan, self._device, self._budget)

    def missing(self) -> list[int]:
        """The layers without rows."""
        return self._parts.missing(LAYERS, self._count)

    def sweeps(self) -> list[Sweep]:
        """That of the layers."""
        return [Sweep(LAYERS, "scoring", "layers", [1] * self._count, self.missing, self._score, by_threads=True)]

    def _score(self, numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        from alignedcut_cli.commands.score import layer

        for number in numbers:
            rows = layer.score_layer(self._plan, self._plan.layers[number], self.brain)
            self._parts.write(LAYERS, number, self._count, rows)
            advance(1)

    def rows(self) -> list[Rows]:
        """The rows of all layers, in order."""
        return [dict(self._parts.read(LAYERS, number, self._count)) for number in range(self._count)]
