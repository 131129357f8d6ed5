"""The space of a cut: raw, or aligned or brain by the transforms of an align artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.nodes.slots import Slot
from alignedcut_cli.store.artifact import map_tensors, open_tensors, read_header
from alignedcut_cli.store.header import Header, Input
from alignedcut_cli.store.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

__all__ = [
    "SPACES",
    "Alignment",
    "Space",
    "aligned_space",
    "brain_axes",
    "comparable_slots",
    "open_transforms",
    "transform_name",
]

SPACES = ("raw", "aligned", "brain")


@dataclass(frozen=True)
class Alignment:
    """The align artifact of a space. `rois` are the chosen areas (none: all voxels), `voxels` their number of voxels."""

    given: Input
    header: Header
    path: Path
    rois: tuple[str, ...]
    voxels: int

    @property
    def channels(self) -> int:
        return self.header.axes["E"]["size"]


@dataclass(frozen=True)
class Space:
    """The space in which nodes of a cut are compared; `alignment` is None only in raw space."""

    name: str
    alignment: Alignment | None = None

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the space in a recipe."""
        rois = {"roi": list(self.alignment.rois)} if self.alignment and self.name == "brain" else {}
        return {"space": self.name, **rois}

    def width(self, slot: Slot) -> int:
        """An upper bound on the width of a node in this space (less in brain space where beta is rank-deficient)."""
        if self.alignment is None:
            return slot.about["width"]
        channels = self.alignment.channels
        return min(channels, self.alignment.voxels) if self.name == "brain" else channels

    def transform_bytes(self, slots: Sequence[Slot]) -> int:
        """Bytes of the transforms of some slots."""
        return 4 * sum(slot.about["width"] * self.width(slot) for slot in slots) if self.alignment else 0

    def opening_bytes(self) -> int:
        """Memory in bytes for opening the transforms: beta, and its float64 Gram matrices."""
        if self.alignment is None or self.name != "brain":
            return 0
        channels, voxels = self.alignment.channels, self.alignment.header.axes["N"]["size"]
        return 4 * channels * voxels + 8 * 4 * channels**2


def aligned_space(project: Project, name: str, align: str | None, roi: str | None) -> Space:
    """The aligned or brain space of the align artifact `align` (None: the only one), with the voxels of `roi`."""
    found = project.parse(align, "align")[1] if align else _only_align(project)
    given, header = project.input("align", "align", found)
    path = project.path("align", found)
    rois = () if roi is None else _known_areas(header, roi)
    voxels = _count_voxels(path, header, rois) if rois else header.axes["N"]["size"]
    return Space(name, Alignment(given, header, path, rois, voxels))


def _only_align(project: Project) -> str:
    try:
        return project.only("align")
    except UsageError as error:
        raise UsageError(error.code, error.message, "Choose with --align NAME") from None


def _known_areas(header: Header, roi: str) -> tuple[str, ...]:
    """The areas in a list such as `V1,V4`, each once, sorted."""
    asked = sorted({part.strip() for part in roi.split(",")})
    there = header.axes["R"]["labels"]
    unknown = [area for area in asked if area not in there]
    if unknown:
        remedy = f"It has: {', '.join(there)}" if there else "It has no areas: leave --roi out"
        raise UsageError("unknown-roi", f"align/{header.name} has no area {', '.join(map(repr, unknown))}", remedy)
    return tuple(asked)


def _area_rows(header: Header, rois: Sequence[str]) -> list[int]:
    return [header.axes["R"]["labels"].index(area) for area in rois]


def _count_voxels(path: Path, header: Header, rois: Sequence[str]) -> int:
    membership = map_tensors(path)["rois"][_area_rows(header, rois)]
    count = int(membership.any(0).sum())
    if not count:
        raise DataError(
            "roi-empty", f"{', '.join(rois)} of align/{header.name} have no voxel", "Choose areas that hold voxels"
        )
    return count


def transform_name(space: Space, weights: str, about: Mapping[str, Any]) -> str | None:
    """The tensor of the align artifact that takes a slot of a model with these weights into the space; None in raw space.

    `about` is what is said of a slot that was compared in it. Raises DataError if the align artifact has none for it.
    """
    if space.alignment is None:
        return None
    for number, entry in enumerate(space.alignment.header.axes["S"]["slots"]):
        if (entry["weights"], entry["tap"], entry["layer"]) == (weights, about["tap"], about["layer"]):
            return _transform(number)
    told = f"align/{space.alignment.header.name} has no transform for layer {about['layer']} of {about['model']}"
    raise DataError("not-aligned", told, "Restore the alignment that the cut was made with")


def _transform(number: int) -> str:
    return f"transform.{number:03d}"


def comparable_slots(space: Space, slots: Sequence[Slot]) -> list[Slot]:
    """The slots, each with the transform that the align artifact has for its weights, tap and layer."""
    alignment = space.alignment
    if alignment is None:
        return list(slots)
    known: dict[tuple[str, str, int], list[int]] = {}
    for number, entry in enumerate(alignment.header.axes["S"]["slots"]):
        known.setdefault((entry["weights"], entry["tap"], entry["layer"]), []).append(number)
    matches = [known.get(_key(slot), []) for slot in slots]
    if not all(matches):
        raise _not_aligned(alignment, slots, matches)
    return [_matched(alignment, slot, numbers) for slot, numbers in zip(slots, matches, strict=True)]


def _key(slot: Slot) -> tuple[str, str, int]:
    return slot.source.header.raw["external"].get("weights", ""), slot.about["tap"], slot.layer


def _matched(alignment: Alignment, slot: Slot, numbers: Sequence[int]) -> Slot:
    there = f"align/{alignment.header.name}"
    if len(numbers) > 1:
        raise DataError(
            "slot-twice",
            f"{there} has {len(numbers)} transforms for the weights and tap of {slot.name}",
            "Align again with each feature set once",
        )
    entry = alignment.header.axes["S"]["slots"][numbers[0]]
    if entry["width"] != slot.about["width"]:
        raise DataError(
            "shape-mismatch",
            f"{slot.name} has {slot.about['width']} channels, {there} was made of {entry['width']} for that slot",
            f"Align again with --from features/{slot.source.folder.name}",
        )
    return replace(slot, transform=_transform(numbers[0]))


def _not_aligned(alignment: Alignment, slots: Sequence[Slot], matches: Sequence[Sequence[int]]) -> UsageError:
    """The error for slots that the align artifact lacks: it names each, and the layers that all feature sets share."""
    missing: dict[str, list[int]] = {}
    for slot, numbers in zip(slots, matches, strict=True):
        if not numbers:
            missing.setdefault(f"features/{slot.source.folder.name} ({slot.about['tap']})", []).append(slot.layer)
    lacking = {layer for layers in missing.values() for layer in layers}
    shared = sorted({slot.layer for slot in slots} - lacking)
    told = "; ".join(f"{source} layers {', '.join(map(str, layers))}" for source, layers in missing.items())
    sources = dict.fromkeys(slot.source.folder.name for slot in slots)
    again = "Align again with " + " ".join(f"--from features/{source}" for source in sources)
    choose = f", or choose --layers {','.join(map(str, shared))}" if shared else ""
    return UsageError(
        "not-aligned", f"align/{alignment.header.name} has no transform for {told}", again + choose, missing=missing
    )


class Transformed(Protocol):
    """Whatever names its transform."""

    @property
    def transform(self) -> str | None: ...


def open_transforms(space: Space) -> Callable[[Transformed], Tensor | None]:
    """A function from a slot to its T (D, r) float32 on the CPU, None in raw space. Every byte of the file is verified."""
    alignment = space.alignment
    if alignment is None:
        return lambda slot: None
    import numpy as np
    import torch

    from alignedcut_cli.core.align.spaces import node_transform

    tensors = _verified(alignment)
    factor = _factor(alignment, tensors) if space.name == "brain" else None

    def transform(slot: Transformed) -> Tensor:
        assert slot.transform is not None
        return node_transform(torch.from_numpy(np.array(tensors[slot.transform])), factor)

    return transform


def brain_axes(alignment: Alignment) -> Tensor:
    """L (E, r) of `brain_factor`: rows x L of aligned rows x have the cosines of brain space. Every byte is verified."""
    return _factor(alignment, _verified(alignment))


def _verified(alignment: Alignment) -> Mapping[str, np.ndarray]:
    """All tensors of the align artifact, memory-mapped, verified against the recipe."""
    if read_header(alignment.path).content != alignment.given.content:
        raise DataError("input-changed", f"{alignment.path} has changed since it was planned with", "Run it again")
    return open_tensors(alignment.path)


def _factor(alignment: Alignment, tensors: Mapping[str, np.ndarray]) -> Tensor:
    """L of `brain_factor` with each voxel standardised, so that none dominates the cosines."""
    import numpy as np
    import torch

    from alignedcut_cli.core.align.spaces import brain_factor, roi_voxels
    from alignedcut_cli.core.numerics import NumericsError, torch_threads

    voxels = None
    if alignment.rois:
        membership = torch.from_numpy(np.array(tensors["rois"]))
        voxels = roi_voxels(membership, _area_rows(alignment.header, alignment.rois))
    beta = torch.from_numpy(np.array(tensors["beta"]))
    if "scale" in tensors:  # missing in artifacts of earlier versions
        beta /= torch.from_numpy(np.array(tensors["scale"]))
    try:
        with torch_threads(1):  # whoever opens the space, with however many threads, has the same rows
            return brain_factor(beta, voxels)
    except NumericsError as error:
        raise DataError(
            "no-direction", f"align/{alignment.header.name}: {error}", "Choose other areas, or align again"
        ) from None
