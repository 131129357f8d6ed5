"""PASCAL VOC 2012 in its original layout: JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from __future__ import annotations

from pathlib import Path

from alignedcut_cli.datasets.mask_sets import MaskSet, named
from alignedcut_cli.datasets.masks import inside, read_mask
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.store.files import disk_errors

__all__ = ["VOC_CLASSES", "open_voc"]

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SPLIT = "trainval"
_FOLDERS = ("SegmentationClass", "SegmentationClassAug")
_LISTS = ("ImageSets/Segmentation", "ImageSets/SegmentationAug")


def open_voc(path: Path, split: str | None = None) -> MaskSet:
    """The masks of the images that a split lists (default: trainval), with the names of the 20 classes.

    `path` is VOC2012, VOCdevkit, or the folder above. A list names images, or photographs and masks in two columns
    (/JPEGImages/x.jpg /SegmentationClassAug/x.png). Masks missing in SegmentationClass are taken from SegmentationClassAug.
    Raises InputMissingError if the tree, its lists or a listed mask are missing, UsageError for an unknown split,
    DataError for a mask without its photograph, or a line that names no such files.
    """
    with disk_errors(path):
        roots = (path, path / "VOC2012", path / "VOCdevkit/VOC2012")
        root = next((one for one in roots if any((one / folder).is_dir() for folder in _FOLDERS)), None)
        if root is None:
            raise InputMissingError(
                "masks-missing", f"{path / _FOLDERS[0]} does not exist", "Give VOCdevkit/VOC2012, as VOC 2012 unpacks"
            )
        masks = _listed(root, split or SPLIT)
        lacking = [key for key, (_, mask) in masks.items() if not mask.is_file()]
        alone = [key for key, (photograph, _) in masks.items() if not photograph.is_file()]
    if lacking:
        folder = masks[lacking[0]][1].parent
        raise InputMissingError("masks-missing", f"{folder} lacks {named(lacking)}", "Unpack VOC 2012 again")
    if alone:
        folder = masks[alone[0]][0].parent
        raise DataError("mask-alone", f"{folder} lacks the photographs of {named(alone)}", "Unpack VOC 2012 again")
    files = {key: mask for key, (_, mask) in masks.items()}
    return MaskSet(root, tuple(files), lambda key: read_mask(files[key]), dict(enumerate(VOC_CLASSES)), files=files)


def _listed(root: Path, split: str) -> dict[str, tuple[Path, Path]]:
    """{key: (photograph, mask)} of a split's list."""
    texts = [found for folder in reversed(_LISTS) for found in sorted((root / folder).glob("*.txt"))]
    there = {found.stem: found for found in texts if found.is_file()}
    if not there:
        raise InputMissingError("masks-missing", f"{root / _LISTS[0]} holds no list", "Unpack VOC 2012 again")
    if split not in there:
        raise UsageError(
            "bad-split",
            f"--split {split}: {root / _LISTS[0]} has no {split}.txt",
            f"Give one of: {', '.join(sorted(there))}",
        )
    found: dict[str, tuple[Path, Path]] = {}
    for number, line in enumerate(there[split].read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if columns := line.split():
            photograph, mask = _files(root, columns, f"{there[split]}, line {number},")
            if found.setdefault(photograph.stem, (photograph, mask)) != (photograph, mask):
                raise DataError("bad-list", f"{there[split]} lists two masks of {photograph.stem}", "Take one out")
    return found


def _files(root: Path, columns: list[str], where: str) -> tuple[Path, Path]:
    """The photograph and the mask that one line names."""
    if len(columns) == 1:
        photograph = inside(root / "JPEGImages", f"{columns[0]}.jpg", where)
        masks = [inside(root / folder, f"{columns[0]}.png", where) for folder in _FOLDERS]
        return photograph, next((mask for mask in masks if mask.is_file()), masks[0])
    if len(columns) != 2 or not columns[1].lower().endswith(".png"):
        raise DataError(
            "bad-list", f"{where} is neither a name nor a photograph and its PNG", "Correct the line, or take it out"
        )
    photograph, mask = (inside(root, column.removeprefix("/"), where) for column in columns)
    return photograph, mask
