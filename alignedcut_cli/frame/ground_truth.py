"""The ground truth for the images of some cuts: which of them have a mask, and the classes in the masks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.datasets.mask_sets import MaskSet, named
from alignedcut_cli.datasets.masks_folder import open_folder
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Header, Input

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Instances", "Truth", "given_cuts", "joined_name", "read_instances", "read_truth"]

LONGEST_NAME = 120
Instances = Callable[[str, Mapping[str, Any]], "np.ndarray"]
"""Returns the instance ids (H, W) of a scored image, given its mask's key and its entry; 0 for none."""


@dataclass(frozen=True)
class Truth:
    """The masks of some images: `scored` are the images that have one, `keys` their masks; their digest and class ids."""

    scored: tuple[int, ...]
    keys: tuple[str, ...]
    digest: str
    present: tuple[int, ...]


def given_cuts(frame: Frame, source: Sequence[str]) -> tuple[list[str], list[tuple[Input, Header]]]:
    """Names and inputs of the cuts that a command line names, by default the only one; all must be of the same images.

    Raises UsageError, DataError or InputMissingError.
    """
    project = frame.project
    names = [project.parse(text, "cut")[1] for text in source] or [project.only("cut")]
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise UsageError("input-twice", f"--from names cut/{twice} twice", "Give each cut once")
    given = [project.input(f"cut.{number}", "cut", name) for number, name in enumerate(names)]
    _require_same_pictures(names, [header for _, header in given])
    return names, given


def read_truth(frame: Frame, masks: MaskSet, images: Sequence[Mapping[str, Any]], on_extra_mask: str) -> Truth:
    """The images that have a mask, and a survey of their masks; every mask is read once. Raises DataError."""
    for text in masks.notes:
        frame.output.note(text)
    found = masks.match(images)
    scored = _scored_images(frame, masks, found, images, on_extra_mask)
    keys = tuple(str(found[number]) for number in scored)
    return Truth(scored, keys, *_survey(frame, masks, [images[number] for number in scored], keys))


def joined_name(names: Sequence[str]) -> str:
    """The default name of an artifact of several cuts: theirs joined, or their number and a digest where that is long."""
    joined = "+".join(names)
    if len(joined) <= LONGEST_NAME:
        return joined
    return f"{len(names)}-cuts-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"


def _require_same_pictures(names: Sequence[str], cuts: Sequence[Header]) -> None:
    """Raise DataError unless all cuts are of the same images in the same order."""

    def contents(cut: Header) -> list[tuple[str, str]]:
        return [(image["path"], image["sha256"]) for image in cut.axes["B"]["images"]]

    for name, cut in zip(names[1:], cuts[1:], strict=True):
        if contents(cut) != contents(cuts[0]):
            raise DataError(
                "other-images", f"cut/{name} and cut/{names[0]} are of different images", "Give them one by one"
            )


def _scored_images(
    frame: Frame,
    masks: MaskSet,
    found: Sequence[str | None],
    images: Sequence[Mapping[str, Any]],
    on_extra_mask: str,
) -> tuple[int, ...]:
    """The images that have a mask. A note counts and names the others; masks without an image are refused."""
    scored = tuple(number for number, key in enumerate(found) if key is not None)
    without = [image["path"] for image, key in zip(images, found, strict=True) if key is None]
    alone = sorted(set(masks.keys) - set(found))
    if not scored:
        raise DataError(
            "no-mask",
            f"no mask of {masks.place} belongs to an image of the cut: masks {named(alone)}; images {named(without)}",
            "A mask has its image's file name",
        )
    if alone and on_extra_mask == "fail":
        raise DataError(
            "mask-alone",
            f"{len(alone)} masks of {masks.place} belong to no image of the cut: {named(alone)}",
            "Take them out, choose a --split, or leave them aside with --on-extra-mask skip",
        )
    if alone:
        frame.output.note(f"{len(alone)} masks belong to no image of the cut and are left aside: {named(alone)}")
    if without:
        frame.output.note(
            f"{len(without)} of {len(images)} images have no mask and are left out of the scores: {named(without)}"
        )
    return scored


def _survey(
    frame: Frame, masks: MaskSet, images: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> tuple[str, tuple[int, ...]]:
    """(digest of the class ids of all pixels of all images; the ids that occur), reading every mask once."""
    import numpy as np

    whole, present = hashlib.sha256(), set()
    with frame.output.progress("reading masks", len(keys), "masks") as advance:
        for image, key in zip(images, keys, strict=True):
            mask = masks.read(key, image)
            whole.update(f"{image['path']} {mask.shape}".encode())
            whole.update(np.ascontiguousarray(mask, "<i8").tobytes())
            present.update(np.unique(mask).tolist())
            advance(1)
    return whole.hexdigest(), tuple(sorted(present))


def read_instances(
    frame: Frame, place: Path | None, masks: MaskSet, images: Sequence[Mapping[str, Any]], mask_suffix: str | None
) -> tuple[Instances | None, dict[str, str]]:
    """The reader of instances of a scored image, and their digest for the recipe; None and {} where they are not known.

    From the PNGs in the folder `place`, one for every image (else UsageError), or from `masks` themselves.
    """
    if place is None:
        read = masks.instances
        return ((lambda key, _: read(key)) if read else None), {}
    own = open_folder(place, mask_suffix=mask_suffix)
    found = own.match(images)
    lacking = [image["path"] for image, key in zip(images, found, strict=True) if key is None]
    if lacking:
        raise UsageError("masks-missing", f"{place} has no instances for {lacking[0]}", "Give them for all masks")
    digest, _ = _survey(frame, own, images, [str(key) for key in found])
    by_path = {image["path"]: str(key) for image, key in zip(images, found, strict=True)}
    return (lambda _, image: own.read(by_path[image["path"]], image)), {"instances": digest}
