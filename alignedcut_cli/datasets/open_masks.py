"""The readers of ground truths, by their --dataset names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.datasets.masks_coco import open_instances, open_panoptic
from alignedcut_cli.datasets.masks_folder import open_folder
from alignedcut_cli.datasets.masks_imagenet import open_imagenet
from alignedcut_cli.datasets.masks_voc import open_voc
from alignedcut_cli.errors import UsageError

__all__ = ["MASK_READERS", "MaskReader", "open_masks"]


@dataclass(frozen=True)
class MaskReader:
    """One reader: the function that opens a path, and whether it takes a split, a file of names or a mask suffix."""

    open: Callable[..., MaskSet]
    split: bool = False
    names: bool = False
    mask_suffix: bool = False


MASK_READERS = {
    "folder": MaskReader(open_folder, names=True, mask_suffix=True),
    "voc": MaskReader(open_voc, split=True),
    "imagenet-seg": MaskReader(open_imagenet),
    "coco-panoptic": MaskReader(open_panoptic),
    "coco-instances": MaskReader(open_instances),
}


def open_masks(
    dataset: str, path: Path, split: str | None, names: Path | None, mask_suffix: str | None = None
) -> MaskSet:
    """The ground truth at `path`. Raises UsageError for a split, names or a suffix that the dataset does not use."""
    reader = MASK_READERS[dataset]
    given = {"split": split, "names": names, "mask_suffix": mask_suffix}
    for option, value in given.items():
        if value is not None and not getattr(reader, option):
            users = ", ".join(name for name, one in MASK_READERS.items() if getattr(one, option))
            told = option.replace("_", "-")
            raise UsageError("option-unused", f"--{told} serves --dataset {users} alone", "Leave it out")
    return reader.open(path, **{option: value for option, value in given.items() if value is not None})
