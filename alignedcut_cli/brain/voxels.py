"""A table of voxels next to a table of responses: the subject, reliability and regions of each voxel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.delimited import open_delimited
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError

__all__ = ["SNRS", "Voxels", "read_voxels"]

SNRS = ("ncsnr", "snr")
_SUBJECTS = ("subject", "subj", "subj_id", "subject_id", "participant", "participant_id")
_REGIONS = ("roi", "region", "area")
_CEILINGS = ("ceiling", "noise_ceiling", "nc")
_REPEATS = ("reps", "repeats")
_IGNORED = (
    "voxel",
    "voxel_id",
    "index",
    "hemisphere",
    "hemi",
    "x",
    "y",
    "z",
    "i",
    "j",
    "k",
    "unit",
    "neuron",
    "neuroid",
)
_TRUE, _FALSE = ("1", "1.0", "true", "t", "yes"), ("0", "0.0", "false", "f", "no", "")


@dataclass(frozen=True)
class Voxels:
    """The columns of a table of voxels, (N,) each, None where it has no such column."""

    path: Path | None = None
    subjects: np.ndarray | None = None
    snr: np.ndarray | None = None
    ceiling: np.ndarray | None = None
    repeats: float | None = None
    rois: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_voxels(responses: Path, count: int) -> Voxels:
    """The table STEM.voxels.csv (or .tsv) next to responses STEM.*, one row per voxel in the order of their `count` columns.

    Columns, in any case: `subject` (or subj_id, ...), `ncsnr` or `snr`, `reps`, `ceiling`, `roi` (names of regions), and
    columns of 0 and 1, each a region. Raises DataError for another number of rows, or invalid cells.
    """
    names = [responses.with_name(f"{responses.stem}.voxels.{ending}") for ending in ("csv", "tsv")]
    path = next((one for one in names if one.is_file()), None)
    if path is None:
        return Voxels()
    table = open_delimited(path)
    header = [name.strip() for name in table.header]
    rows = [cells for _, cells in table.rows() if cells]
    if len(rows) != count:
        raise DataError(
            "voxels-count", f"{path} has {len(rows)} rows, {responses.name} {count} channels", "Give one row a channel"
        )
    columns = {name: [cells[place].strip() for cells in rows] for place, name in enumerate(header) if name}
    called = {name.lower(): name for name in columns}

    def text(known: tuple[str, ...]) -> list[str] | None:
        return next((columns[called[one]] for one in known if one in called), None)

    def numbers(known: tuple[str, ...]) -> np.ndarray | None:
        cells = text(known)
        return None if cells is None else np.array([_number(path, known[0], cell) for cell in cells], np.float32)

    regions, ignored = _regions(columns)
    named = text(_REGIONS)
    if named is not None:
        regions |= {one: np.array([cell == one for cell in named]) for one in dict.fromkeys(named) if one}
    subjects, repeats = text(_SUBJECTS), numbers(_REPEATS)
    if subjects is not None and not all(subjects):
        raise DataError("voxels-subject", f"{path}: voxel {subjects.index('') + 1} is of no subject", "Name it")
    notes = [f"{path.name} says whose the voxels are, and where"]
    notes += [f"{path.name}: columns passed over: {few(ignored)}"] if ignored else []
    return Voxels(
        path,
        None if subjects is None else np.array(subjects),
        numbers(SNRS),
        numbers(_CEILINGS),
        None if repeats is None else float(1 / (1 / repeats).mean()),
        regions,
        tuple(notes),
    )


def _regions(columns: Mapping[str, list[str]]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns of 0 and 1 as masks by name, and the unknown columns."""
    known = {*_SUBJECTS, *SNRS, *_REGIONS, *_CEILINGS, *_REPEATS}
    found: dict[str, np.ndarray] = {}
    ignored = []
    for name, cells in columns.items():
        if name.lower() in known:
            continue
        lowered = [cell.lower() for cell in cells]
        if name.lower() not in _IGNORED and all(cell in _TRUE + _FALSE for cell in lowered):
            found[name] = np.array([cell in _TRUE for cell in lowered])
        else:
            ignored.append(name)
    return found, ignored


def _number(path: Path, column: str, cell: str) -> float:
    """A cell's number, NaN for an empty one. Raises DataError for anything but a number >= 0."""
    if cell.lower() in ("", "nan", "na"):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise DataError("voxels-number", f"{path}: {column} {cell[:40]!r} is no number from 0", "Correct the table")
    return value
