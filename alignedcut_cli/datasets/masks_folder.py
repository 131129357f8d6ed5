"""A folder of PNG masks of class ids, with an optional file that names the ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alignedcut_cli.datasets.class_names import NAMES_FILES, read_names
from alignedcut_cli.datasets.folders import walk
from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.datasets.masks import read_mask
from alignedcut_cli.datasets.masks_cityscapes import PHOTOGRAPH, cityscapes_names, cityscapes_suffix
from alignedcut_cli.datasets.names import same_form
from alignedcut_cli.errors import DataError, InputMissingError
from alignedcut_cli.store.files import disk_errors

__all__ = ["open_folder", "read_masks"]


def open_folder(folder: Path, names: Path | None = None, mask_suffix: str | None = None) -> MaskSet:
    """The masks of a folder and its subfolders. Names of ids come from `names`, or names.json or names.txt in the folder.

    With `mask_suffix`, the mask of a.jpg is a + mask_suffix + .png, and other files are not masks; Cityscapes' suffix is
    recognised by its file names, and its photographs' ending ignored. Hidden files are skipped; a broken link is
    an unreadable mask. Raises InputMissingError for a missing folder, or one without masks, UsageError for two kinds
    of Cityscapes ids, DataError for two masks with one name, or names that cannot be read.
    """
    with disk_errors(folder):
        if not folder.is_dir():
            raise InputMissingError("masks-missing", f"{folder} is no folder", "Give the folder with the PNG masks")
        inside = [folder / name for name in NAMES_FILES if (folder / name).is_file()]
    below = walk(folder, (".png",))
    there = sorted([*below.files, *below.dangling])
    suffix = (mask_suffix or "").removesuffix(".png") or cityscapes_suffix(folder, [one.stem for one in there]) or ""
    files = _by_key(folder, there, suffix)
    if not files:
        told = f" whose name ends in {suffix}.png" if suffix else ""
        raise InputMissingError("masks-missing", f"{folder} holds no mask{told}", "Give the folder with the PNG masks")
    notes = below.notes("masks")
    given = names or next(iter(inside), None)

    def load(key: str) -> np.ndarray:
        if files[key] in below.dangling:
            raise DataError(
                "bad-mask", f"{files[key]} is a link to nothing", "Fetch its file (datalad get), or remove it"
            )
        return read_mask(files[key])

    def ids() -> set[int]:
        return {one for key in files for one in np.unique(load(key)).tolist()}

    return MaskSet(
        folder,
        tuple(files),
        load,
        read_names(given, folder.absolute().name, ids, notes.append) if given else cityscapes_names(suffix),
        (lambda path: path.removesuffix(PHOTOGRAPH)) if suffix else (lambda path: path),
        files,
        notes,
    )


def _by_key(folder: Path, files: Sequence[Path], suffix: str) -> dict[str, Path]:
    """The files that end in the suffix, by their paths below a folder without suffix and extension.

    Raises DataError for two that differ only in Unicode form or in the case of the extension.
    """
    chosen = {file: file.relative_to(folder).with_suffix("").as_posix() for file in files if file.stem.endswith(suffix)}
    owners: dict[str, Path] = {}
    for file, key in chosen.items():
        other = owners.setdefault(same_form(key), file)
        if other != file:
            raise DataError("mask-twice", f"{other} and {file} are masks of one name", "Keep one of them")
    return {key.removesuffix(suffix): file for file, key in chosen.items()}


def read_masks(
    folder: Path,
    images: Sequence[Mapping[str, Any]],
    note: Callable[[str], None] = lambda _: None,
    *,
    mask_suffix: str | None = None,
) -> list[np.ndarray]:
    """The mask (H, W) int64 of each image, found by its name without extension; palette PNGs are read as indices.

    A note says what was skipped. Raises InputMissingError if the folder or a mask is missing, DataError for a mask of
    colours or of another size.
    """
    masks = open_folder(folder, mask_suffix=mask_suffix)
    for text in masks.notes:
        note(text)
    return masks.read_all(images)
