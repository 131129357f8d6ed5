"""The plan of `alignedcut cut --onto cut/NAME`, and what writes its artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.onto import (
    onto_axes,
    onto_tensors,
    other_slots,
    require_extensible,
    space_of,
)
from alignedcut_cli.nodes.slots import Slot, find_slots, require_same_images
from alignedcut_cli.nodes.spaces import Space, comparable_slots
from alignedcut_cli.store.artifact import open_tensors, write_artifact
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.commands.cut.asked import Asked

__all__ = ["ALGORITHM", "OF_THE_BASE", "OntoPlan", "Tensors", "make_onto", "plan_onto", "require_unshaped"]

ALGORITHM = 1
SHAPING = ("--space", "--layers", "--per-slot", "--eigenvectors", "--solver", "--gamma", "--seed", "--bootstrap")
OF_THE_BASE = frozenset(
    ("--align", "--roi", "--nodes", "--neighbors", "--sampling", "--precision", "--refine", "--balance", *SHAPING)
    + ("--graph", "--heads", "--scope", "--layer-weights", "--neighbors-across", "--threshold", "--epochs", "--batch")
)
"""Options that --onto takes from the base cut."""


@dataclass(frozen=True)
class OntoPlan:
    """The plan of the new cut: recipe, parents (the base cut last), the new slots graph by graph, and their space."""

    recipe: Recipe
    parents: tuple[Header, ...]
    base: Header
    path: Path
    space: Space
    groups: tuple[tuple[Slot, ...], ...]

    @property
    def slots(self) -> list[Slot]:
        return [slot for group in self.groups for slot in group]

    @property
    def images(self) -> Sequence[Any]:
        return self.slots[0].source.images

    @property
    def nodes(self) -> list[int]:
        """How many nodes each graph has."""
        return [sum(slot.nodes for slot in group) for group in self.groups]

    @property
    def ranges(self) -> list[tuple[int, int, int]]:
        """(graph, start, stop) of ranges of 128 MiB of features, as wide as a graph's widest."""
        from alignedcut_cli.core.graph.one_pass import range_nodes, split

        spans = [range_nodes(max(slot.about["width"] for slot in group)) for group in self.groups]
        counted = enumerate(zip(self.nodes, spans, strict=True))
        return [(number, *ends) for number, (nodes, span) in counted for ends in split(nodes, span)]


def require_unshaped(asked: Asked, unused: frozenset[str]) -> None:
    """Raise UsageError for options on the command line that --onto does not use."""
    if asked.explicit & unused:
        told = ", ".join(sorted(asked.explicit & unused))
        raise UsageError("option-unused", f"--onto does not use {told}: it takes the base cut's", "Leave it out")


def plan_onto(frame: Frame, asked: Asked, onto: str) -> OntoPlan:
    """The plan of an embedding: the feature sets must have the base cut's slots, in its order; the rest is the base's."""
    require_unshaped(asked, frozenset({"--images", "--pictures"}))
    project = frame.project
    found = project.parse(onto, "cut")[1]
    given, base = project.input("onto", "cut", found)
    require_extensible(base)
    names = [project.parse(text, "features")[1] for text in asked.source] or [project.only("features")]
    inputs = [project.input(f"features.{number}", "features", one) for number, one in enumerate(names)]
    groups, space, align = _matched(frame, base, names, [header for _, header in inputs])
    name = check_name(asked.name or f"{'+'.join(names)}-onto-{found}")
    params = {**base.params, "onto": True}
    everything = [*inputs, *align, (given, base)]
    recipe = Recipe("cut", name, ALGORITHM, params, tuple(one for one, _ in everything))
    return OntoPlan(recipe, tuple(header for _, header in everything), base, project.path("cut", found), space, groups)


def _matched(frame: Frame, base: Header, names: list[str], headers: list[Header]) -> tuple[Any, Space, list[Any]]:
    """(slots graph by graph, space, align input) that match the base cut. Raises DataError where they differ."""
    wanted = [given for given in base.inputs if given.kind == "features"]
    if len(names) != len(wanted):
        raise UsageError(
            "other-slots",
            f"cut/{base.name} joined {len(wanted)} feature sets, {len(names)} were given",
            "Give one --from for each, in its order: " + ", ".join(given.name for given in wanted),
        )
    require_same_images(names, headers)
    nodes = {node["recipe"]: node for node in base.history}
    sets = [frame.features(name) for name in names]
    slots: list[Slot] = []
    for given, features, header, layers in zip(wanted, sets, headers, base.params["layers"], strict=True):
        before, after = nodes[given.recipe]["external"].get("weights"), header.raw["external"].get("weights")
        found = find_slots(features, ",".join(map(str, layers)))
        if before != after:
            raise other_slots(base, f"features/{header.name} comes of other weights than features/{given.name}")
        slots += found
    for slot, about in zip(slots, base.axes["S"]["slots"], strict=True):
        differs = [key for key in ("model", "layer", "tap", "width") if slot.about[key] != about[key]]
        if differs:
            told = ", ".join(f"{key} {slot.about[key]}, not {about[key]}" for key in differs)
            raise other_slots(base, f"{slot.name} has {told}")
    space, align = space_of(frame.project, base)
    slots = comparable_slots(space, slots)
    groups = tuple((slot,) for slot in slots) if base.params["per_slot"] else (tuple(slots),)
    return groups, space, align


class Onto(Protocol):
    """What the artifact of an embedding is written from, for any kind of base cut."""

    @property
    def recipe(self) -> Recipe: ...
    @property
    def parents(self) -> tuple[Header, ...]: ...
    @property
    def base(self) -> Header: ...
    @property
    def path(self) -> Path: ...
    @property
    def groups(self) -> Sequence[Sequence[Slot]]: ...
    @property
    def images(self) -> Sequence[Any]: ...


Tensors = Mapping[str, "np.ndarray"]


def make_onto(
    frame: Frame,
    plan: Onto,
    device: torch.device,
    overwrite: bool,
    rows_of: Callable[[Tensors], Sequence[np.ndarray]],
) -> tuple[Header, bool]:
    """The header of an embedding, and whether it was made now: `rows_of` returns each graph's rows by the base's tensors."""
    import torch

    recipe = plan.recipe

    def made() -> Header:
        base = open_tensors(plan.path)
        groups = [[slot.about for slot in group] for group in plan.groups]
        tensors, meanings = onto_tensors(base, groups, len(plan.images), rows_of(base))
        axes = onto_axes(plan.base, groups, plan.images, len(tensors["nodes"]))
        return write_artifact(
            frame.project.path("cut", recipe.name),
            recipe,
            tensors,
            meanings,
            axes=axes,
            numerics={"torch": torch.__version__, "device": device.type, "computed": "float32"},
            parents=plan.parents,
        )

    return frame.make_once(recipe, overwrite, made)
