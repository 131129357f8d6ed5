"""The plan of a tree: one graph's cut, and the masks and alignment that describe its sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alignedcut_cli.commands.tree.asked import Asked
from alignedcut_cli.datasets.classes import Classes, find_classes, parse_ids
from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.datasets.open_masks import open_masks
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.ground_truth import Truth, read_truth
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.onto import has_features, require_stored
from alignedcut_cli.nodes.slots import Slot, find_slots
from alignedcut_cli.nodes.spaces import Space, aligned_space, comparable_slots
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

__all__ = ["Plan", "make_plan"]

ALGORITHM = 1


@dataclass(frozen=True)
class Plan:
    """The cut, and descriptions of its nodes: classes by `masks`, brain areas by `space` and its `slots`."""

    recipe: Recipe
    cut: Header
    parents: tuple[Header, ...]
    masks: MaskSet | None = None
    truth: Truth | None = None
    classes: Classes | None = None
    space: Space | None = None
    slots: tuple[Slot, ...] = ()

    def need(self) -> int:
        """Main memory in bytes: two copies of the eigenvectors, leaves of each replicate, one tile of features."""
        nodes, params = self.cut.axes["M"]["size"], self.recipe.params
        return nodes * (8 * params["eigenvectors"] + 40) + 8 * params["clusters"] ** 2 + (128 << 20)


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a tree. Reads every mask once. Raises UsageError, DataError or InputMissingError."""
    project = frame.project
    name = project.parse(asked.source, "cut")[1] if asked.source else project.only("cut")
    given, cut = project.input("cut", "cut", name)
    if cut.axes["G"]["size"] > 1:
        raise UsageError(
            "several-graphs",
            f"cut/{name} has {cut.axes['G']['size']} graphs, whose eigenvectors are not comparable",
            "Give a cut of one graph: one that was not made with --per-slot",
        )
    if asked.eigenvectors > cut.params["eigenvectors"]:
        raise UsageError(
            "too-many-eigenvectors",
            f"--eigenvectors {asked.eigenvectors} of {cut.params['eigenvectors']}",
            "Ask for fewer",
        )
    if asked.clusters > cut.axes["M"]["size"]:
        raise UsageError("too-many-clusters", f"--clusters {asked.clusters} of {cut.axes['M']['size']} nodes", "Fewer")
    params: dict[str, Any] = {key: getattr(asked, key) for key in ("eigenvectors", "clusters", "bootstrap", "seed")}
    inputs, parents, external = [given], [cut], {}
    masks = truth = classes = space = None
    slots: tuple[Slot, ...] = ()
    if asked.masks is not None:
        masks = open_masks("folder", asked.masks, None, None, asked.mask_suffix)
        truth = read_truth(frame, masks, cut.axes["B"]["images"], "skip")
        classes = find_classes(truth.present, masks.names, background=(), ignore=parse_ids("--ignore", asked.ignore))
        params |= {"names": list(classes.names), "ignore": asked.ignore}
        external["masks"] = truth.digest
    aligned = [f"align/{one.name}" for one in cut.inputs if one.kind == "align" and has_features(cut)]
    align = asked.align or next(iter(aligned), None)
    if align is not None:
        space = aligned_space(project, "aligned", align, None)
        assert space.alignment is not None
        slots = tuple(comparable_slots(space, _slots_of(frame, cut)))
        if space.alignment.given.name not in [one.name for one in cut.inputs if one.kind == "align"]:
            inputs.append(space.alignment.given)
            parents.append(space.alignment.header)
        params["areas"] = f"align/{space.alignment.header.name}"
    recipe = Recipe("tree", check_name(asked.name or name), ALGORITHM, params, tuple(inputs), external)
    return Plan(recipe, cut, tuple(parents), masks, truth, classes, space, slots)


def _slots_of(frame: Frame, cut: Header) -> list[Slot]:
    """The slots of a cut in its order, from the feature sets that it was made of."""
    require_stored(cut)
    sets = [frame.features(one.name) for one in cut.inputs if one.kind == "features"]
    return [
        slot
        for features, layers in zip(sets, cut.params["layers"], strict=True)
        for slot in find_slots(features, ",".join(map(str, layers)))
    ]
