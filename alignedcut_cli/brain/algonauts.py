"""A subject of Algonauts 2023, in the layout of its release."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.arrays import map_npy
from alignedcut_cli.brain.ceilings import as_share
from alignedcut_cli.brain.recording import Recording, Split
from alignedcut_cli.brain.responses import Responses, assemble
from alignedcut_cli.brain.rois import read_rois
from alignedcut_cli.brain.surface import read_vertices
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError, InputMissingError
from alignedcut_cli.store.files import disk_errors

__all__ = ["fmri_path", "read_algonauts"]

_HEMISPHERES = ("lh", "rh")
_PICTURES = {"training": "train", "test": "test"}


def fmri_path(folder: Path, hemisphere: str, kind: str) -> Path:
    """The file of a subject's responses; `kind` is training or test."""
    return folder / f"{kind}_split" / f"{kind}_fmri" / f"{hemisphere}_{kind}_fmri.npy"


def read_algonauts(folder: Path) -> Responses:
    """The responses of the subject in `folder`, test rows (if released) after training rows.

    Raises InputMissingError if there are no training responses or images, DataError if files contradict each other.
    """
    notes: list[str] = []
    fmri = _read_fmri(folder, "training", notes)
    if not fmri:
        raise InputMissingError(
            "fmri-missing",
            f"{fmri_path(folder, 'lh', 'training')} does not exist, nor does that of rh",
            "Fetch the training responses of this subject",
        )
    training = _read_split(folder, "training", fmri, notes)
    if not training.images:
        raise InputMissingError(
            "images-missing",
            f"{folder / 'training_split/training_images'} holds no train-NNNN_nsd-NNNNN.png",
            "Fetch the training images of this subject: their names tie them to the responses",
        )
    test = _read_test(folder, fmri, notes)
    widths = {hemisphere: array.shape[1] for hemisphere, array in fmri.items()}
    rois, roi_notes = read_rois(folder / "roi_masks", widths)
    ceiling = _read_ceiling(folder / "noise_ceiling", widths, notes)
    vertices = read_vertices(folder / "roi_masks", widths)
    left = widths.get("lh", 0)
    recording = Recording("algonauts", training, test, rois, ceiling, [*notes, *roi_notes], left, vertices)
    return assemble(recording, folder)


def _read_fmri(folder: Path, kind: str, notes: list[str]) -> dict[str, np.ndarray]:
    """The responses of each hemisphere with a file, (rows, vertices), memory-mapped."""
    paths = {hemisphere: fmri_path(folder, hemisphere, kind) for hemisphere in _HEMISPHERES}
    found = {hemisphere: map_npy(path) for hemisphere, path in paths.items() if path.is_file()}
    for hemisphere, array in found.items():
        if array.ndim != 2 or not array.size:
            raise DataError(
                "fmri-shape",
                f"{paths[hemisphere]} must be (images, vertices), and has shape {array.shape}",
                "Fetch the file again",
            )
    if len({len(array) for array in found.values()}) > 1:
        rows = " and ".join(f"{len(array)} in {hemisphere}" for hemisphere, array in found.items())
        raise DataError("fmri-rows", f"{folder}: the hemispheres' {kind} rows differ: {rows}", "Fetch both files again")
    if len(found) == 1:
        missing = next(path for hemisphere, path in paths.items() if hemisphere not in found)
        notes.append(f"{missing.relative_to(folder).as_posix()} is missing: one hemisphere only")
    return found


def _read_split(folder: Path, kind: str, fmri: dict[str, np.ndarray], notes: list[str]) -> Split:
    """One split's responses with their images; rows without an image are left out, with a note."""
    pictures = _find_pictures(folder / f"{kind}_split" / f"{kind}_images", kind, notes)
    count = len(next(iter(fmri.values())))
    beyond = [path.name for row, path in pictures.items() if not 0 <= row < count]
    if beyond:
        raise DataError(
            "images-beyond-rows",
            f"{folder}: the {kind} responses have {count} rows, none for {few(beyond)}",
            "Images and responses must be those of one subject: the first number of a name is the row, from 1",
        )
    nameless = [row + 1 for row in range(count) if row not in pictures]
    if nameless and pictures:
        notes.append(f"{len(nameless)} of {count} {kind} rows have no image and are left out: {few(nameless)}")
    paths = [path for _, path in sorted(pictures.items())]
    rows = np.array(sorted(pictures), np.int64)
    return Split(tuple(fmri.values()), rows, tuple(path.name for path in paths), tuple(paths))


def _find_pictures(folder: Path, kind: str, notes: list[str]) -> dict[int, Path]:
    """{row: image} from the names in a split's folder of images. Raises DataError if two have the same row."""
    pattern = re.compile(rf"{_PICTURES[kind]}-(\d+)_nsd-\d+\.(?:png|PNG)")
    with disk_errors(folder):
        names = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    found: dict[int, Path] = {}
    for name in names:
        if match := pattern.fullmatch(name):
            row = int(match[1]) - 1
            if row in found:
                raise DataError(
                    "row-twice", f"{folder}: {found[row].name} and {name} are both row {row + 1}", "Remove one"
                )
            found[row] = folder / name
    others = [name for name in names if not pattern.fullmatch(name)]
    if others:
        notes.append(f"{len(others)} files in {folder.name} are no {_PICTURES[kind]}-NNNN_nsd-NNNNN.png: {few(others)}")
    return found


def _read_test(folder: Path, training: dict[str, np.ndarray], notes: list[str]) -> Split | None:
    """The test split's rows, if its responses exist and match the training split's hemispheres and vertices."""
    ignored: list[str] = []
    fmri = _read_fmri(folder, "test", ignored)
    if fmri and set(fmri) >= set(training):
        fmri = {hemisphere: fmri[hemisphere] for hemisphere in training}
        widths = [[array.shape[1] for array in split.values()] for split in (training, fmri)]
        if widths[0] != widths[1]:
            raise DataError(
                "test-vertices",
                f"{folder}: {widths[1]} vertices in the test responses, {widths[0]} in the training's",
                "Give both splits of one subject",
            )
        split = _read_split(folder, "test", fmri, notes)
        if not split.images:
            notes.append("the test responses have no images and are left out")
        return split if split.images else None
    held = len(_find_pictures(folder / "test_split" / "test_images", "test", []))
    if fmri:
        notes.append(f"the test responses are left out: only {', '.join(fmri)} is there")
    elif held:
        notes.append(f"{held} test images have no responses: the challenge held them back")
    return None


def _read_ceiling(folder: Path, widths: dict[str, int], notes: list[str]) -> np.ndarray | None:
    """The noise ceiling of each vertex, float32 (columns,), NaN for a hemisphere without; None if both lack it."""
    found = {hemisphere: _find_ceiling(folder, hemisphere, width) for hemisphere, width in widths.items()}
    missing = [hemisphere for hemisphere, values in found.items() if values is None]
    if missing:
        notes.append(f"no noise ceiling for {' and '.join(missing)}")
    if len(missing) == len(widths):
        return None
    whole = [np.full(widths[side], np.nan) if values is None else values for side, values in found.items()]
    shares, note = as_share(np.concatenate(whole), str(folder))
    notes += [note] if note else []
    return shares


def _find_ceiling(folder: Path, hemisphere: str, width: int) -> np.ndarray | None:
    """One hemisphere's ceilings (width,): the file with the usual name, else the only one of that hemisphere and length."""
    usual = folder / f"{hemisphere}_noise_ceiling.npy"
    if usual.is_file():
        values = map_npy(usual)
        if values.shape != (width,):
            raise DataError(
                "ceiling-length",
                f"{usual} must have {width} ceilings, one a vertex, and has shape {values.shape}",
                "Give the ceilings of this subject and hemisphere",
            )
        return values
    with disk_errors(folder):
        others = sorted(path for path in folder.glob(f"{hemisphere}[._]*.npy") if path.is_file())
    fitting = [path for path in others if map_npy(path).shape == (width,)]
    if len(fitting) > 1:
        names = ", ".join(path.name for path in fitting)
        raise DataError("ceiling-ambiguous", f"{folder}: {names} all fit {hemisphere}", f"Keep one, as {usual.name}")
    return map_npy(fitting[0]) if fitting else None
