"""PASCAL VOC 2012 as it unpacks: JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from __future__ import annotations

from pathlib import Path

from alignedcut_cli.datasets.mask_sets import MaskSet, named
from alignedcut_cli.datasets.masks import read_mask
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.store.files import disk_errors

__all__ = ["VOC_CLASSES", "open_voc"]

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SPLIT = "trainval"


def open_voc(path: Path, split: str | None = None) -> MaskSet:
    """The masks of the images that a split lists (default: trainval), with the names of the 20 classes.

    `path` is VOC2012, VOCdevkit, or the folder above. Raises InputMissingError if the tree, its lists or a listed mask
    are missing, UsageError for a split that is not there, DataError for a mask without its photograph.
    """
    with disk_errors(path):
        root = next(
            (found for found in (path, path / "VOC2012", path / "VOCdevkit/VOC2012") if _masks(found).is_dir()), None
        )
        if root is None:
            raise InputMissingError(
                "masks-missing", f"{_masks(path)} does not exist", "Give VOCdevkit/VOC2012, as VOC 2012 unpacks"
            )
        keys = _listed(root, split or SPLIT)
        lacking = [key for key in keys if not (_masks(root) / f"{key}.png").is_file()]
        alone = [key for key in keys if not (root / "JPEGImages" / f"{key}.jpg").is_file()]
    if lacking:
        raise InputMissingError("masks-missing", f"{_masks(root)} lacks {named(lacking)}", "Unpack VOC 2012 again")
    if alone:
        raise DataError(
            "mask-alone", f"{root / 'JPEGImages'} lacks the photographs of {named(alone)}", "Unpack VOC 2012 again"
        )
    return MaskSet(root, keys, lambda key: read_mask(_masks(root) / f"{key}.png"), dict(enumerate(VOC_CLASSES)))


def _masks(root: Path) -> Path:
    return root / "SegmentationClass"


def _listed(root: Path, split: str) -> tuple[str, ...]:
    lists = root / "ImageSets/Segmentation"
    there = sorted(found.stem for found in lists.glob("*.txt"))
    if not there:
        raise InputMissingError("masks-missing", f"{lists} holds no list", "Unpack VOC 2012 again")
    if split not in there:
        raise UsageError(
            "bad-split", f"--split {split}: {lists} has no {split}.txt", f"Give one of: {', '.join(there)}"
        )
    return tuple((lists / f"{split}.txt").read_text(encoding="utf-8", errors="replace").split())
