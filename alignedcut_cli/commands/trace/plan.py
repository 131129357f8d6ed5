"""The plan of a trace: successive layers, pixels, labels, with every `auto` resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.trace.asked import Asked
from alignedcut_cli.commands.trace.pixels import Pixel, choose_pixels, in_grid
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.config import parse_layers
from alignedcut_cli.frame.run import Frame, require_choice
from alignedcut_cli.store.canonical import tensor_digest
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np

__all__ = ["GROUPS", "MEASURES", "Plan", "Track", "around", "make_plan"]

ALGORITHM = 3
MEASURES = ("eigenvectors", "map")
GROUPS = ("all", "foreground", "background")


@dataclass(frozen=True)
class Track:
    """The traced slots of one model (their indices in the cut), in order of layer, all on one grid."""

    model: str
    slots: tuple[int, ...]
    layers: tuple[int, ...]
    grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Plan:
    """The plan. `labels` holds, per grid, (B, rows, cols) int8: 1 foreground, 0 background, -1 void."""

    recipe: Recipe
    parent: Header
    tracks: tuple[Track, ...]
    pixels: tuple[Pixel, ...]
    labels: Mapping[tuple[int, int], np.ndarray] | None

    @property
    def slots(self) -> list[int]:
        """All traced slots, model by model."""
        return [slot for track in self.tracks for slot in track.slots]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Successive traced slots of the same model."""
        return [pair for track in self.tracks for pair in zip(track.slots, track.slots[1:], strict=False)]

    @property
    def groups(self) -> tuple[str, ...]:
        return GROUPS if self.labels is not None else GROUPS[:1]

    def need(self) -> int:
        """Bytes of main memory: the cut, its scaled rows, the map, one tile of distances, and the permuted scores."""
        total, width = self.parent.axes["M"]["size"], self.parent.axes["C"]["size"]
        params, images = self.recipe.params, self.parent.axes["B"]["size"]
        need = total * 4 * (2 * width + 2 * params["dims"] + 12) + 4096 * params["nodes"] * 4
        if self.labels is None:
            return need
        return need + 8 * images * (images * (max(self.cells) + 1) + params["permutations"])

    @property
    def cells(self) -> list[int]:
        """The number of concepts of each map: --concepts for the first, numbers around it for the others, at least 2."""
        params = self.recipe.params
        if params["measure"] == "map":
            return [params["concepts"]] * params["maps"]
        return around(params["concepts"], params["maps"])

    def pixels_in(self, grid: tuple[int, int]) -> list[Pixel]:
        """The pixels in the cells of a grid, converted from those of the first model's grid."""
        return [in_grid(pixel, self.tracks[0].grid, grid) for pixel in self.pixels]


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a trace, from headers and masks alone. Raises UsageError, DataError or InputMissingError."""
    require_choice("--measure", asked.measure, MEASURES)
    radius = _radius(asked.radius)
    if asked.measure != "map" and "--radius" in asked.explicit:
        raise UsageError("option-unused", "--radius serves --measure map alone", "Leave it out, or give --measure map")
    if asked.mask_suffix and not asked.masks:
        raise UsageError("option-unused", "--mask-suffix serves --masks alone", "Give --masks, or leave it out")
    if asked.masks and asked.background == asked.ignore:
        raise UsageError(
            "bad-masks", f"--background and --ignore are both {asked.background}", "Give two different class ids"
        )
    project = frame.project
    cut = project.parse(asked.source, "cut")[1] if asked.source else project.only("cut")
    given, parent = project.input("cut", "cut", cut)
    if parent.params["per_slot"]:
        raise UsageError(
            "per-slot-cut",
            f"cut/{cut} was made with --per-slot: places in different graphs do not compare",
            "Give a joint cut: alignedcut cut without --per-slot",
        )
    tracks = _tracks(parent.axes["S"]["slots"], asked.layers)
    images = parent.axes["B"]["images"]
    grids = list(dict.fromkeys(track.grid for track in tracks))
    labels = _labels(frame, asked, asked.masks, images, grids) if asked.masks else None
    mine = labels[tracks[0].grid] if labels else None
    pixels = choose_pixels(asked.pixels or ("10",), images, tracks[0].grid, mine, stream(asked.seed, "trace", "pixels"))
    params: dict[str, Any] = {
        "layers": {track.model: list(track.layers) for track in tracks},
        "eigenvectors": min(asked.eigenvectors, parent.axes["C"]["size"]),
        "dims": asked.dims,
        "nodes": asked.nodes,
        "perplexity": asked.perplexity,
        "measure": asked.measure,
        "pixels": [list(pixel) for pixel in pixels],
        "concepts": asked.concepts,
        "maps": asked.maps if labels else 1,
        "radius": radius if asked.measure == "map" else None,
        "seed": asked.seed,
    }
    external: dict[str, Any] = {}
    if labels:
        params |= {"background": asked.background, "ignore": asked.ignore, "permutations": asked.permutations}
        external["labels"] = tensor_digest({f"{rows}x{columns}": labels[rows, columns] for rows, columns in grids})
    recipe = Recipe("trace", check_name(asked.name or cut), ALGORITHM, params, (given,), external)
    return Plan(recipe, parent, tracks, pixels, labels)


def around(count: int, many: int) -> list[int]:
    """`many` distinct numbers >= 2, nearest to `count` first, ties to the larger."""
    return sorted(range(2, count + many + 1), key=lambda one: (abs(one - count), -one))[:many]


def _radius(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        radius = float(text)
    except ValueError:
        radius = 0.0
    if not 0 < radius < float("inf"):
        raise UsageError("bad-radius", f"--radius {text!r} is no radius", "Give auto, or a number above 0")
    return radius


def _tracks(slots: Sequence[Mapping[str, Any]], layers: str) -> tuple[Track, ...]:
    """The traced layers of each model of a cut. Raises UsageError for fewer than two layers."""
    found: dict[tuple[str, str], dict[int, int]] = {}
    for number, slot in enumerate(slots):
        there = found.setdefault((slot["model"], slot["tap"]), {})
        if slot["layer"] in there:
            raise UsageError(
                "slot-twice",
                f"the cut joins layer {slot['layer']} of {slot['model']} ({slot['tap']}) twice",
                "Trace a cut that holds each layer of a model once",
            )
        there[slot["layer"]] = number
    taps = {tap for _, tap in found}
    tracks = []
    for (model, tap), there in found.items():
        name = model if len(taps) == 1 else f"{model} {tap}"
        tracks.append(_track(name, there, _chosen(layers, name, sorted(there)), slots))
    if all(len(track.slots) < 2 for track in tracks):
        raise UsageError(
            "one-layer", "no model has two of the layers that are traced", "Choose --layers, or a cut, with more layers"
        )
    return tuple(tracks)


def _chosen(layers: str, model: str, there: Sequence[int]) -> list[int]:
    wanted = list(there) if layers == "all" else parse_layers(layers, max(there) + 1)
    lacking = [layer for layer in wanted if layer not in there]
    if lacking:
        told = ", ".join(map(str, there))
        raise UsageError("bad-layers", f"{model} has no layer {lacking[0]} in the cut", f"It has layers {told}")
    return wanted


def _track(model: str, there: Mapping[int, int], layers: Sequence[int], slots: Sequence[Mapping[str, Any]]) -> Track:
    numbers = tuple(there[layer] for layer in layers)
    grids = {tuple(slots[number]["grid"]) for number in numbers}
    if len(grids) > 1:
        raise DataError("other-grids", f"the layers of {model} have grids {sorted(grids)}", "Trace layers of one grid")
    return Track(model, numbers, tuple(layers), grids.pop())


def _labels(
    frame: Frame, asked: Asked, folder: Path, images: Sequence[Mapping[str, Any]], grids: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], np.ndarray]:
    """Per grid the most frequent of foreground (1), background (0) and void (-1) in each cell: (B, rows, cols) int8."""
    import numpy as np

    from alignedcut_cli.core.groups.grid_labels import grid_labels
    from alignedcut_cli.datasets.classes import void_alone
    from alignedcut_cli.datasets.masks_folder import read_masks

    masks = read_masks(folder, images, frame.output.note, mask_suffix=asked.mask_suffix)
    merged = [np.where(mask == asked.ignore, -1, (mask != asked.background).astype(np.int64)) for mask in masks]
    found = {grid: np.stack([grid_labels(mask, grid) for mask in merged]).astype(np.int8) for grid in grids}
    for kind, name in ((1, "foreground"), (0, "background")):
        if not all((labels == kind).any() for labels in found.values()):
            raise DataError(
                "one-group",
                f"{folder}: no cell is {name} (background is class {asked.background}, void {asked.ignore})",
                void_alone(masks, asked.background, asked.ignore)
                or "Give --background and --ignore as the masks have them",
            )
    return found
