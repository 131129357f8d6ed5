"""Tables of responses, one row per image: csv, tsv, npy, npz and safetensors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.arrays import NpyHeader, map_npy, require_loadable
from alignedcut_cli.brain.ceilings import as_share
from alignedcut_cli.brain.channels import read_channels
from alignedcut_cli.brain.delimited import image_columns
from alignedcut_cli.brain.image_names import names_beside
from alignedcut_cli.brain.npz import Npz, open_npz
from alignedcut_cli.brain.recording import Recording, Split
from alignedcut_cli.brain.responses import Responses, assemble
from alignedcut_cli.brain.trials import REPEATS, TRIALS, mean_repeats, of_trials, with_trials
from alignedcut_cli.brain.voxels import SNRS, Voxels, read_voxels
from alignedcut_cli.brain.words import few
from alignedcut_cli.core.encode.reliability import share_of_snr
from alignedcut_cli.datasets.names import same_form
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.artifact import map_tensor, read_layout

__all__ = ["READERS", "json_list", "read_table"]

_ROI_PREFIXES = ("roi.", "rois/", "rois.", "roi/")
_CEILINGS = ("ceiling", "noise_ceiling")


@dataclass(frozen=True)
class _Table:
    """The content of a file: values (B, columns), image names (None: in a file next to it), masks and ceilings (columns,).

    `snr` is per column, `repeats` the number of trials averaged; `trials` are single trials (B, r, columns).
    """

    values: np.ndarray
    images: list[str] | None
    rois: Mapping[str, np.ndarray] = field(default_factory=dict)
    ceiling: np.ndarray | None = None
    notes: Sequence[str] = ()
    snr: np.ndarray | None = None
    repeats: float | None = None
    trials: np.ndarray | None = None


def read_table(path: Path) -> Responses:
    """The responses of a table. Image names come from the table, or from a list next to it (`names_beside`).

    Raises DataError if the file cannot be read, names an image twice, or has masks or ceilings of another length.
    """
    table = READERS[path.suffix.lower()](path)
    values = table.values
    if values.ndim != 2 or not values.size:
        raise DataError(
            "table-shape",
            f"{path}: responses must be (images, channels), and have shape {values.shape}",
            "Give one row per image and one column per channel",
        )
    given, notes = (table.images, []) if table.images is not None else names_beside(path)
    names = _names(path, given, len(values))
    rois = {name: _mask(path, name, mask, values.shape[1:]) for name, mask in table.rois.items()}
    voxels = read_voxels(path, values.shape[1])
    twice = sorted(rois.keys() & voxels.rois.keys())
    if twice:
        raise DataError("roi-twice", f"{path} and {voxels.path} both have ROI {few(twice)}", "Keep one of them")
    rois |= voxels.rois
    ceiling, ceiling_notes = _ceiling_of(path, table, voxels)
    files = tuple(_file(path, name) for name in names)
    training = Split((values,), np.arange(len(values)), tuple(names), files)
    notes = [*table.notes, *voxels.notes, *notes, *ceiling_notes]
    snr = table.snr if table.snr is not None else voxels.snr
    trials, subjects = table.trials, voxels.subjects
    found = Recording("table", training, None, rois, ceiling, notes, snr=snr, subjects=subjects, trials=trials)
    return assemble(found, path)


def _ceiling_of(path: Path, table: _Table, voxels: Voxels) -> tuple[np.ndarray | None, list[str]]:
    """The columns' noise ceilings, and notes: as given; else from single trials; else from signal-to-noise and repeats."""
    given = table.ceiling if table.ceiling is not None else voxels.ceiling
    if given is not None:
        _require_length(path, "the ceiling", given, table.values.shape[1:])
        ceiling, note = as_share(given, str(path))
        return ceiling, [note] if note else []
    if table.trials is not None:
        return of_trials(table.trials)
    snr = table.snr if table.snr is not None else voxels.snr
    if snr is None:
        return None, []
    repeats = table.repeats or voxels.repeats
    if repeats is None:
        return None, ["signal-to-noise ratios without `reps`, the number of trials averaged, give no ceiling"]
    return share_of_snr(snr, repeats).astype(np.float32), []


def _names(path: Path, given: Sequence[str], rows: int) -> list[str]:
    """The image name of each row, checked: one per row, none empty, none repeated."""
    names = [name.strip().replace("\\", "/") for name in given]
    if len(names) != rows:
        raise DataError("image-count", f"{path} has {rows} rows and {len(names)} image names", "Name each row's image")
    if empty := [row + 1 for row, name in enumerate(names) if not name]:
        raise DataError("image-nameless", f"{path}: no image is named in row {few(empty)}", "Name each row's image")
    if twice := [name for name, count in Counter(map(same_form, names)).items() if count > 1]:
        raise DataError(
            "image-twice", f"{path} names twice: {few(twice)}", "Give one row per image: average repeated trials"
        )
    return names


def _file(path: Path, name: str) -> Path | None:
    """The path of a named image, relative to the table's folder or absolute."""
    try:
        return found if (found := path.parent / name).is_file() else None
    except (OSError, ValueError):
        return None


def _require_length(path: Path, what: str, array: np.ndarray | NpyHeader, columns: tuple[int, ...]) -> None:
    if array.shape != columns or array.dtype.kind not in "fiub":
        raise DataError(
            "table-length",
            f"{path}: {what} must be {columns} numbers, and is {array.shape} {array.dtype}",
            "Give one value per channel",
        )


def _mask(path: Path, name: str, mask: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    _require_length(path, f"ROI {name}", mask, columns)
    if not np.isin(mask, (0, 1)).all():
        raise DataError("roi-mask", f"{path}: ROI {name} must be true or false per channel", "Save it as bool")
    return np.array(mask, bool)


def _read_delimited(path: Path) -> _Table:
    images, values, notes = read_channels(path)
    return _Table(values, images, notes=notes)


def _read_npy(path: Path) -> _Table:
    return _Table(map_npy(path), None)


def _read_npz(path: Path) -> _Table:
    with open_npz(path) as archive:
        tables = [
            name for name, header in archive.headers.items() if len(header.shape) == 2 and header.dtype.kind == "f"
        ]
        lone = tables[0] if len(tables) == 1 else TRIALS if TRIALS in archive.headers and not tables else None
        name = "responses" if "responses" in archive.headers else lone
        if name is None:
            raise _no_responses(path, archive.headers)
        texts = [key for key, header in archive.headers.items() if header.dtype.kind not in "fiub"]
        named = ["images"] if "images" in archive.headers else [texts[place] for place in image_columns(texts)]
        images = archive.text(named[0]) if named else None
        columns = archive.headers[name].shape[-1:]
        extra = {key: _read_extra(archive, key, columns) for key in archive.headers if _is_of_columns(key)}
        values = archive.numbers(name)
        trials = archive.numbers(TRIALS) if TRIALS in archive.headers else None
        repeats = archive.numbers(REPEATS) if REPEATS in archive.headers else None
        return _table(path, values, images, extra, trials, repeats)


def _read_extra(archive: Npz, key: str, columns: tuple[int, ...]) -> np.ndarray:
    """A mask or ceiling; decompressed only if its header has the right length."""
    header = archive.headers[key]
    require_loadable(header, f"{archive.path}: {key}")
    _require_length(archive.path, key, header, columns)
    return archive.numbers(key)


def _read_safetensors(path: Path) -> _Table:
    try:
        layout = read_layout(path)
    except DataError as error:
        raise DataError(
            "table-unreadable", error.message, "Save float, integer and bool tensors (no bfloat16) with safetensors"
        ) from None
    name = next((one for one in ("responses", TRIALS) if one in layout.offsets), None)
    if name is None:
        raise _no_responses(path, layout.offsets)
    extra = {key: np.array(map_tensor(layout, key)) for key in layout.offsets if _is_of_columns(key)}
    images = json_list(path, "images", layout.metadata["images"]) if "images" in layout.metadata else None
    trials, repeats = (map_tensor(layout, key) if key in layout.offsets else None for key in (TRIALS, REPEATS))
    return _table(path, map_tensor(layout, name), images, extra, trials, repeats)


def _is_of_columns(key: str) -> bool:
    """Whether an array has one value per channel."""
    return key in _CEILINGS or key in SNRS or bool(_roi(key))


def _table(
    path: Path,
    values: np.ndarray,
    images: list[str] | None,
    extra: Mapping[str, np.ndarray],
    trials: np.ndarray | None,
    repeats: np.ndarray | None,
) -> _Table:
    """A table from its arrays: single trials are averaged where there are no responses."""
    if trials is not None:
        trials, values = with_trials(path, trials, values)
    snr = next((np.asarray(extra[key], np.float32) for key in SNRS if key in extra), None)
    counted = None if repeats is None else mean_repeats(path, repeats, len(values))
    return _Table(values, images, _rois(extra), _ceiling(extra), (), snr, counted, trials)


def json_list(path: Path, key: str, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError, TypeError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError("image-list-unreadable", f"{path}: metadata `{key}` is no JSON list of names", "Write it again")
    return names


def _roi(key: str) -> str:
    """The name of the region whose mask the array `key` is; empty if it is no mask."""
    return next((key[len(prefix) :] for prefix in _ROI_PREFIXES if key.startswith(prefix)), "")


def _rois(extra: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {_roi(key): array for key, array in extra.items() if _roi(key)}


def _ceiling(extra: Mapping[str, np.ndarray]) -> np.ndarray | None:
    return next((extra[key] for key in _CEILINGS if key in extra), None)


def _no_responses(path: Path, found: Mapping[str, object]) -> DataError:
    return DataError(
        "responses-missing",
        f"{path} has no array `responses`, only {few(list(found)) or 'nothing'}",
        "Call the (images, channels) array `responses`",
    )


READERS: dict[str, Callable[[Path], _Table]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
"""A reader for each file name suffix."""
