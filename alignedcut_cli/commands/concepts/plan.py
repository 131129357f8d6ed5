"""The plan of a run of `concepts`: its coloring and cut, slots, masks, pixels, and the memory needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.concepts.asked import Asked
from alignedcut_cli.commands.concepts.naming import Naming, read_naming
from alignedcut_cli.datasets.names import same_form
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.frame.config import parse_layers
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.onto import require_stored
from alignedcut_cli.nodes.slots import Slot, find_slots
from alignedcut_cli.nodes.spaces import Alignment, Space, aligned_space, comparable_slots
from alignedcut_cli.store.canonical import tensor_digest
from alignedcut_cli.store.header import Header, Input, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Pixel", "Plan", "make_plan"]

ALGORITHM = 2


@dataclass(frozen=True)
class Pixel:
    """One reference patch: of an image, at a row and column of the first slot's grid, from the top left."""

    image: int
    row: int
    column: int

    def cell(self, grid: Sequence[int], other: Sequence[int]) -> tuple[int, int]:
        """The row and column, in another grid (rows, cols), of the patch that holds the centre of this one of `grid`."""
        row, column = (self.row + 0.5) / grid[0] * other[0], (self.column + 0.5) / grid[1] * other[1]
        return int(row), int(column)

    def node(self, slot: Slot, grid: Sequence[int]) -> int:
        """The node of a slot that holds the centre of this patch of a grid (rows, cols)."""
        columns = slot.about["grid"][1]
        row, column = self.cell(grid, slot.about["grid"])
        return self.image * slot.tokens + slot.about["class_token"] + row * columns + column


@dataclass(frozen=True)
class Plan:
    """The plan: `slots` with `offsets`, the first node of each in the cut; `masks` as read.

    `comparable` are the same slots with their transforms in `space`, where pixels are compared.
    """

    recipe: Recipe
    parents: tuple[Header, ...]
    color: Header
    slots: tuple[Slot, ...]
    offsets: tuple[int, ...]
    aligned: Space
    space: Space
    comparable: tuple[Slot, ...]
    masks: tuple[np.ndarray, ...]
    pixels: tuple[Pixel, ...]
    naming: Naming | None

    @property
    def alignment(self) -> Alignment:
        assert self.aligned.alignment is not None
        return self.aligned.alignment

    @property
    def images(self) -> Sequence[Mapping[str, Any]]:
        return self.color.axes["B"]["images"]

    @property
    def nodes(self) -> int:
        return sum(slot.nodes for slot in self.slots)

    @property
    def voxels(self) -> int:
        return self.alignment.header.axes["N"]["size"]

    @property
    def on_surface(self) -> bool:
        """Whether the positions of the voxels are known."""
        return "vertices" in self.alignment.header.raw["tensors"]

    def output_bytes(self) -> int:
        """Bytes of the artifact: voxel maps, similarities, node table, and small tables."""
        maps = 8 * self.voxels * len(self.slots) * (self.recipe.params["concepts"] + 1)
        return maps + self.nodes * (2 * len(self.pixels) + 18)

    def need(self) -> int:
        """Bytes of main memory, without tiles."""
        channels = self.alignment.channels
        covariances = 8 * 3 * (self.recipe.params["concepts"] + 1) * channels**2
        masks = sum(mask.nbytes for mask in self.masks)
        places = self.color.axes["M"]["size"] * (4 * self.color.axes["d"]["size"] + 16)
        names = self.naming.need(self.recipe.params["concepts"] * len(self.slots)) if self.naming else 0
        held = self.output_bytes() + covariances + masks + places + names
        return held + self.space.opening_bytes() + 8 * channels * self.voxels


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a run; masks are read and every option is checked. Raises UsageError, DataError or InputMissingError."""
    _require_used(asked)
    radius = _radius(asked.radius)
    project = frame.project
    name = _color_name(frame, asked.source)
    given, color = project.input("color", "color", name)
    cut_given, cut = _behind(frame, f"color/{name}", color.inputs[0])
    if cut.params.get("graph"):
        raise DataError(
            "cut-of-graphs",
            f"cut/{cut.name} is of graphs ({cut.params['graph']}), whose places have no features of their own",
            "Give a coloring of a cut of features",
        )
    require_stored(cut)
    sources = [one for one in cut.inputs if one.kind == "features"]
    behind = [_behind(frame, f"cut/{cut.name}", one) for one in sources]
    sets = [frame.features(one.name) for one in sources]
    everything = [
        slot
        for features, layers in zip(sets, cut.params["layers"], strict=True)
        for slot in find_slots(features, ",".join(map(str, layers)))
    ]
    chosen = _chosen(everything, asked.layers)
    starts = [0, *accumulate(slot.nodes for slot in everything)]
    aligned = aligned_space(project, "aligned", _align_name(frame, asked.align, cut), None)
    slots = comparable_slots(aligned, [everything[number] for number in chosen])
    for slot in slots:
        slot.require_tokens()
    space = _pixel_space(frame, asked, cut, aligned)
    images = color.axes["B"]["images"]
    pixels = tuple(_pixel(text, images, slots[0]) for text in asked.pixel)
    masks, names = _masks(frame, asked, images)
    if masks:
        _require_not_void(asked, pixels, masks, slots[0])
    assert aligned.alignment is not None
    inputs = [given, cut_given, *(one for one, _ in behind), aligned.alignment.given]
    parents = [color, cut, *(header for _, header in behind), aligned.alignment.header]
    external = {"masks": tensor_digest({str(number): mask for number, mask in enumerate(masks)})} if masks else {}
    params = {**_params(asked, slots, pixels, space, names), "radius": radius}
    naming = read_naming(frame, asked, images)
    if naming:
        inputs.append(naming.given)
        parents.append(naming.parent)
        external |= naming.external
        params["words"] = naming.params
    recipe = Recipe("concepts", check_name(asked.name or name), ALGORITHM, params, tuple(inputs), external)
    return Plan(
        recipe,
        tuple(parents),
        color,
        tuple(slots),
        tuple(starts[number] for number in chosen),
        aligned,
        space,
        tuple(comparable_slots(space, slots)) if pixels else (),
        tuple(masks),
        pixels,
        naming,
    )


def _require_used(asked: Asked) -> None:
    """Raise UsageError for an option given without the option that it modifies."""
    unused = [] if asked.masks else sorted(asked.explicit & {"--background", "--ignore", "--mask-suffix"})
    if unused:
        raise UsageError("option-unused", f"{', '.join(unused)} serves --masks alone", "Give --masks, or leave it out")
    if asked.space and not asked.pixel:
        raise UsageError("option-unused", "--space serves --pixel alone", "Give --pixel, or leave it out")
    if asked.masks and asked.background == asked.ignore:
        raise UsageError(
            "bad-background", f"--background and --ignore are both {asked.ignore}", "Give two different class ids"
        )


def _color_name(frame: Frame, source: str | None) -> str:
    """The coloring of --from: the one named, or the only one of the cut named."""
    project = frame.project
    if source is None:
        return project.only("color")
    if "cut" not in source.split("/")[:-1]:
        return project.parse(source, "color")[1]
    cut = project.parse(source, "cut")[1]
    content = project.header("cut", cut).content
    headers = [(name, project.header("color", name)) for name in project.names("color")]
    made = [name for name, header in headers if header.inputs[0].content == content]
    if len(made) == 1:
        return made[0]
    if made:
        told = ", ".join(f"color/{name}" for name in made)
        raise UsageError("ambiguous-input", f"cut/{cut} has {len(made)} colours: {told}", "Give one with --from")
    raise InputMissingError(
        "artifact-missing",
        f"there is no color artifact of cut/{cut}, and concepts lie in its space",
        f"Make it with alignedcut color --from cut/{cut}",
    )


def _behind(frame: Frame, child: str, wanted: Input) -> tuple[Input, Header]:
    """An input of an artifact; DataError if it has changed since the artifact was made."""
    found, header = frame.project.input(wanted.role, wanted.kind, wanted.name)
    if found.content != wanted.content:
        raise DataError(
            "input-changed",
            f"{wanted.kind}/{wanted.name} is no longer what {child} was made of",
            f"Make {child} again",
        )
    return found, header


def _chosen(slots: Sequence[Slot], layers: str) -> list[int]:
    """The indices of the cut's slots whose layers were chosen."""
    there = sorted({slot.layer for slot in slots})
    wanted = there if layers == "all" else parse_layers(layers, max(there) + 1)
    lacking = [layer for layer in wanted if layer not in there]
    if lacking:
        told = ", ".join(map(str, there))
        raise UsageError("bad-layers", f"the cut has no layer {lacking[0]}", f"It has layers {told}")
    return [number for number, slot in enumerate(slots) if slot.layer in wanted]


def _align_name(frame: Frame, align: str | None, cut: Header) -> str | None:
    """The align artifact given, else that of the cut, else None (the only one in the project)."""
    own = [one for one in cut.inputs if one.kind == "align"]
    if align or not own:
        return align
    return _behind(frame, f"cut/{cut.name}", own[0])[0].name


def _pixel_space(frame: Frame, asked: Asked, cut: Header, aligned: Space) -> Space:
    """The space in which pixels are compared: the one given, else the cut's own, with its areas."""
    name = asked.space or cut.params["space"]
    if name == "raw":
        return Space("raw")
    assert aligned.alignment is not None
    rois = cut.params.get("roi") if name == cut.params["space"] else None
    return aligned_space(frame.project, name, aligned.alignment.header.name, ",".join(rois) if rois else None)


def _pixel(text: str, images: Sequence[Mapping[str, Any]], slot: Slot) -> Pixel:
    """The pixel that IMAGE:ROW:COL means: IMAGE is a number from 0, a path, or a name with or without extension."""
    parts = text.rsplit(":", 2)
    if len(parts) < 3 or not all(part.isascii() and part.isdigit() for part in parts[1:]):
        raise UsageError("bad-pixel", f"--pixel {text!r} is no IMAGE:ROW:COL", "Give for example scene-0003.png:5:7")
    rows, columns = slot.about["grid"]
    row, column = int(parts[1]), int(parts[2])
    if row >= rows or column >= columns:
        raise UsageError(
            "bad-pixel",
            f"--pixel {text}: {slot.name} has {rows} x {columns} patches",
            f"Give a row below {rows} and a column below {columns}: they count patches",
        )
    return Pixel(_image(text, parts[0], images), row, column)


def _image(text: str, asked: str, images: Sequence[Mapping[str, Any]]) -> int:
    paths = [PurePosixPath(same_form(image["path"])) for image in images]
    name = same_form(asked)
    found = [number for number, path in enumerate(paths) if name in (str(path), path.name, path.stem)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError("bad-pixel", f"--pixel {text}: {len(found)} images are called {asked}", "Give its path")
    if asked.isascii() and asked.isdigit() and int(asked) < len(images):
        return int(asked)
    raise UsageError(
        "bad-pixel",
        f"--pixel {text}: there is no image {asked!r}",
        f"Give a number below {len(images)}, or a name such as {paths[0].name}",
    )


def _masks(
    frame: Frame, asked: Asked, images: Sequence[Mapping[str, Any]]
) -> tuple[list[np.ndarray], Mapping[int, str]]:
    """The mask of each image, and the names of their class ids; none without --masks."""
    if asked.masks is None:
        return [], {}
    from alignedcut_cli.datasets.classes import void_alone
    from alignedcut_cli.datasets.masks_folder import open_folder

    truth = open_folder(asked.masks, mask_suffix=asked.mask_suffix)
    for text in truth.notes:
        frame.output.note(text)
    masks = truth.read_all(images)
    for side, there in (("foreground", _holds(masks, asked, False)), ("background", _holds(masks, asked, True))):
        if not there:
            raise DataError(
                "one-sided",
                f"no mask in {asked.masks} has a pixel of {side} (--background {asked.background}, "
                f"--ignore {asked.ignore})",
                void_alone(masks, asked.background, asked.ignore)
                or "Check --background, or give the masks of these images",
            )
    return masks, truth.names


def _holds(masks: Sequence[np.ndarray], asked: Asked, ground: bool) -> bool:
    """Whether some mask has background (or, with `ground` False, foreground)."""
    return any(((mask == asked.background) == ground)[mask != asked.ignore].any() for mask in masks)


def _require_not_void(asked: Asked, pixels: Sequence[Pixel], masks: Sequence[np.ndarray], slot: Slot) -> None:
    from alignedcut_cli.core.groups.grid_labels import grid_labels

    for text, pixel in zip(asked.pixel, pixels, strict=True):
        if grid_labels(masks[pixel.image], tuple(slot.about["grid"]))[pixel.row, pixel.column] == asked.ignore:
            raise UsageError(
                "bad-pixel", f"--pixel {text} is void ({asked.ignore}) in its mask", "Give one of figure or ground"
            )


def _params(
    asked: Asked, slots: Sequence[Slot], pixels: Sequence[Pixel], space: Space, names: Mapping[int, str]
) -> dict[str, Any]:
    sources = dict.fromkeys(slot.source.folder.name for slot in slots)
    params: dict[str, Any] = {
        "layers": [[slot.layer for slot in slots if slot.source.folder.name == name] for name in sources],
        "concepts": asked.concepts,
        "bootstrap": asked.bootstrap,
        "examples": asked.examples,
        "seed": asked.seed,
    }
    if asked.masks:
        named = {str(number): name for number, name in names.items()}
        params |= {"background": asked.background, "ignore": asked.ignore, "names": named}
    if pixels:
        params |= {"pixels": [[one.image, one.row, one.column] for one in pixels], **space.params}
    return params


def _radius(text: str) -> str | float:
    """`auto`, or a number above 0. Raises UsageError."""
    try:
        if text == "auto" or 0 < float(text) < math.inf:
            return text if text == "auto" else float(text)
    except ValueError:
        pass
    raise UsageError("bad-radius", f"--radius {text!r} cannot be", "Give auto, or a number above 0")
