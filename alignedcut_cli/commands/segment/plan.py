"""The plan of a segmentation: cuts, masks, classes, and scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignedcut_cli.commands.segment.asked import Asked
from alignedcut_cli.datasets.class_map import joined_classes, read_class_map
from alignedcut_cli.datasets.classes import FIGURE_GROUND, Classes, figure_ground, find_classes, parse_ids
from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.datasets.open_masks import open_masks
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.ground_truth import given_cuts, joined_name, read_truth
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

__all__ = ["Line", "Plan", "make_plan"]

ALGORITHM = 2
METHOD_OPTIONS = {"oracle": ("--eigenvectors", "--thresholds", "--to-grid"), "kway": ("--clusters", "--discretise")}


@dataclass(frozen=True)
class Line:
    """One curve over layers: one model of one cut, and its slots (indices into axis S) in order of layer."""

    name: str
    cut: int
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """The scores to compute: every slot of the `cuts` against every labelling of the masks in `targets`.

    `scored` are the images that have a mask, `keys` their masks; `slots` are those of all cuts, `cut_of` the cut of each.
    """

    recipe: Recipe
    cuts: tuple[Header, ...]
    masks: MaskSet
    images: Sequence[Mapping[str, Any]]
    scored: tuple[int, ...]
    keys: tuple[str, ...]
    targets: tuple[Classes, ...]
    slots: tuple[Mapping[str, Any], ...]
    cut_of: tuple[int, ...]

    def clusters(self, target: Classes) -> int:
        """k of k-way: as given, or the number of classes."""
        return self.recipe.params["clusters"] or len(target.ids)

    def need(self) -> int:
        """Main memory of the run in bytes: node table, eigenvectors, and counts of each image and slot."""
        nodes = sum(cut.axes["M"]["size"] for cut in self.cuts)
        width = max(self.recipe.params.get("eigenvectors") or 0, *(self.clusters(one) for one in self.targets))
        levels = self.recipe.params.get("thresholds") or width
        each = max(len(one.ids) for one in self.targets)
        counts = 4 * len(self.slots) * len(self.scored) * levels * 3 * each * len(self.targets)
        return nodes * (4 * width + 16 + 4 * each) + counts + (128 << 20)


def make_plan(frame: Frame, asked: Asked, place: Path) -> Plan:
    """The plan of a segmentation by the masks at `place`. Reads each once: their ids determine the classes and the recipe.

    Raises UsageError, DataError, InputMissingError or UnavailableError.
    """
    _require_used(asked)
    if asked.class_map and {"--background", "--ignore"} & asked.explicit:
        raise UsageError(
            "option-contradicts", "--class-map says which ids count", "Leave --background and --ignore out"
        )
    background, ignore = parse_ids("--background", asked.background), parse_ids("--ignore", asked.ignore)
    chosen = None if asked.classes is None else parse_ids("--classes", asked.classes)
    names, given = given_cuts(frame, asked.source)
    cuts = tuple(header for _, header in given)
    images = cuts[0].axes["B"]["images"]
    masks = open_masks(asked.dataset, place, asked.split, asked.names, asked.mask_suffix)
    if asked.class_map:
        masks = joined_classes(masks, read_class_map(asked.class_map))
    truth = read_truth(frame, masks, images, asked.on_extra_mask)
    plain = find_classes(truth.present, masks.names, background=background, ignore=ignore, chosen=chosen)
    targets = _targets(plain, asked.merge)
    params = _resolve(asked, cuts, targets)
    params |= {"background": list(background), "ignore": list(ignore), "classes": chosen and list(chosen)}
    params["names"] = list(plain.names)
    recipe = Recipe(
        "segment",
        check_name(asked.name or joined_name(names)),
        ALGORITHM,
        params,
        tuple(one for one, _ in given),
        {"masks": truth.digest},
    )
    slots = [(number, slot) for number, cut in enumerate(cuts) for slot in cut.axes["S"]["slots"]]
    return Plan(
        recipe,
        cuts,
        masks,
        images,
        truth.scored,
        truth.keys,
        targets,
        tuple(slot for _, slot in slots),
        tuple(number for number, _ in slots),
    )


def _require_used(asked: Asked) -> None:
    """Raise UsageError for options that the method does not use."""
    for method, options in METHOD_OPTIONS.items():
        given = [option for option in options if option in asked.explicit]
        if method != asked.method and given:
            raise UsageError(
                "option-unused",
                f"--method {asked.method} does not use {', '.join(given)}",
                f"Leave it out, or use {method}",
            )


def _targets(plain: Classes, merge: str) -> tuple[Classes, ...]:
    """The labellings to score: the classes, figure against ground, or both."""
    if merge == "none":
        return (plain,)
    return (figure_ground(plain),) if merge == FIGURE_GROUND else (plain, figure_ground(plain))


def _resolve(asked: Asked, cuts: Sequence[Header], targets: Sequence[Classes]) -> dict[str, Any]:
    """The parameters of the method and of the scores."""
    widths = {cut.name: cut.axes["C"]["size"] for cut in cuts}
    least = min(widths, key=lambda name: widths[name])
    params: dict[str, Any] = {
        "method": asked.method,
        "to_pixels": asked.to_pixels,
        "merge": asked.merge,
        "bootstrap": asked.bootstrap,
        "clusters": asked.clusters,
        "seed": asked.seed,
    }
    wanted = asked.eigenvectors if asked.method == "oracle" else max(asked.clusters or len(one.ids) for one in targets)
    if wanted > widths[least]:
        asks = "--eigenvectors" if asked.method == "oracle" else "--clusters"
        remedy = f"Cut with --eigenvectors {wanted}, or give at most {asks} {widths[least]}"
        raise UsageError("too-many-eigenvectors", f"{asks} {wanted}: cut/{least} has {widths[least]}", remedy)
    if asked.method == "oracle":
        return params | {"eigenvectors": wanted, "thresholds": asked.thresholds, "to_grid": asked.to_grid}
    return params | {"discretise": asked.discretise}
