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
from alignedcut_cli.brain.words import few
from alignedcut_cli.datasets.names import same_form
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.artifact import map_tensor, read_layout

__all__ = ["READERS", "read_table"]

_ROI_PREFIXES = ("roi.", "rois/", "rois.", "roi/")
_CEILINGS = ("ceiling", "noise_ceiling")


@dataclass(frozen=True)
class _Table:
    """The content of a file: values (B, columns), image names (None: in a file beside it), masks and ceilings (columns,)."""

    values: np.ndarray
    images: list[str] | None
    rois: Mapping[str, np.ndarray] = field(default_factory=dict)
    ceiling: np.ndarray | None = None
    notes: Sequence[str] = ()


def read_table(path: Path) -> Responses:
    """The responses of a table. Image names come from the table, or from a list beside it (`names_beside`).

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
    ceiling, note = None, None
    if table.ceiling is not None:
        _require_length(path, "the ceiling", table.ceiling, values.shape[1:])
        ceiling, note = as_share(table.ceiling, str(path))
    files = tuple(_file(path, name) for name in names)
    training = Split((values,), np.arange(len(values)), tuple(names), files)
    notes = [*table.notes, *notes, *([note] if note else [])]
    return assemble(Recording("table", training, None, rois, ceiling, notes), path)


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
        name = "responses" if "responses" in archive.headers else tables[0] if len(tables) == 1 else None
        if name is None:
            raise _no_responses(path, archive.headers)
        texts = [key for key, header in archive.headers.items() if header.dtype.kind not in "fiub"]
        named = ["images"] if "images" in archive.headers else [texts[place] for place in image_columns(texts)]
        images = archive.text(named[0]) if named else None
        columns = archive.headers[name].shape[-1:]
        extra = {key: _read_extra(archive, key, columns) for key in archive.headers if key in _CEILINGS or _roi(key)}
        return _Table(archive.numbers(name), images, _rois(extra), _ceiling(extra))


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
    if "responses" not in layout.offsets:
        raise _no_responses(path, layout.offsets)
    extra = {key: np.array(map_tensor(layout, key)) for key in layout.offsets if key in _CEILINGS or _roi(key)}
    images = _json_list(path, layout.metadata["images"]) if "images" in layout.metadata else None
    return _Table(map_tensor(layout, "responses"), images, _rois(extra), _ceiling(extra))


def _json_list(path: Path, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError, TypeError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(
            "image-list-unreadable", f"{path}: metadata `images` is no JSON list of names", "Write it again"
        )
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
