"""The plan of pathways: which slots of which cuts, against which classes, instances and positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alignedcut_cli.commands.pathways.asked import Asked
from alignedcut_cli.datasets.classes import Classes, find_classes, parse_ids
from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.datasets.open_masks import MASK_READERS, open_masks
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.ground_truth import Instances, given_cuts, joined_name, read_instances, read_truth
from alignedcut_cli.frame.run import Frame, require_choice
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

__all__ = ["Plan", "make_plan"]

ALGORITHM = 2


@dataclass(frozen=True)
class Plan:
    """The slots to be measured: those of the `cuts` in turn, `cut_of` the cut of each; `scored` images have a mask.

    `instances` returns the instance ids (H, W) of a scored image by its key, where known.
    """

    recipe: Recipe
    cuts: tuple[Header, ...]
    masks: MaskSet
    images: Sequence[Mapping[str, Any]]
    scored: tuple[int, ...]
    keys: tuple[str, ...]
    classes: Classes
    instances: Instances | None
    slots: tuple[Mapping[str, Any], ...]
    cut_of: tuple[int, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        return ("class", "position", *(["instance"] if self.instances else []))

    def need(self) -> int:
        """Bytes of main memory: node tables and eigenvectors, tables of each image, and those of one slot's draws."""
        nodes = sum(cut.axes["M"]["size"] * (4 * cut.axes["C"]["size"] + 24) for cut in self.cuts)
        params = self.recipe.params
        cells = params["clusters"] * max(len(self.classes.ids), params["grid"] ** 2)
        return nodes + 8 * cells * (len(self.scored) + 2 * params["bootstrap"]) + (64 << 20)


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a measurement. Reads every mask once. Raises UsageError, DataError or InputMissingError."""
    require_choice("--dataset", asked.dataset, tuple(MASK_READERS))
    require_choice("--on-extra-mask", asked.on_extra_mask, ("fail", "skip"))
    names, given = given_cuts(frame, asked.source)
    cuts = tuple(header for _, header in given)
    _require_enough(asked, cuts)
    images = cuts[0].axes["B"]["images"]
    masks = open_masks(asked.dataset, asked.masks, asked.split, asked.names, asked.mask_suffix)
    truth = read_truth(frame, masks, images, asked.on_extra_mask)
    classes = find_classes(truth.present, masks.names, background=(), ignore=parse_ids("--ignore", asked.ignore))
    instances, external = read_instances(
        frame, asked.instances, masks, [images[number] for number in truth.scored], asked.mask_suffix
    )
    params = {
        name: getattr(asked, name) for name in ("eigenvectors", "clusters", "grid", "bootstrap", "permutations", "seed")
    }
    params |= {"ignore": list(parse_ids("--ignore", asked.ignore)), "names": list(classes.names)}
    name = check_name(asked.name or joined_name(names))
    recipe = Recipe(
        "pathways", name, ALGORITHM, params, tuple(one for one, _ in given), {"masks": truth.digest, **external}
    )
    slots = [(number, slot) for number, cut in enumerate(cuts) for slot in cut.axes["S"]["slots"]]
    return Plan(
        recipe,
        cuts,
        masks,
        images,
        truth.scored,
        truth.keys,
        classes,
        instances,
        tuple(slot for _, slot in slots),
        tuple(number for number, _ in slots),
    )


def _require_enough(asked: Asked, cuts: Sequence[Header]) -> None:
    least = min(cuts, key=lambda cut: cut.axes["C"]["size"])
    if asked.eigenvectors >= least.axes["C"]["size"]:
        raise UsageError(
            "too-many-eigenvectors",
            f"--eigenvectors {asked.eigenvectors} after the first: cut/{least.name} has {least.axes['C']['size']} in all",
            f"Cut with --eigenvectors {asked.eigenvectors + 1}, or give fewer",
        )
    smallest = min(int(stop) for stop in (cut.axes["M"]["size"] // cut.axes["G"]["size"] for cut in cuts))
    if asked.clusters > smallest:
        raise UsageError("too-many-clusters", f"--clusters {asked.clusters} of {smallest} nodes", "Give fewer")
