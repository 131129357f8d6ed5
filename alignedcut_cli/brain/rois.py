"""Regions of interest: the masks of a subject over both hemispheres, and groups of regions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.arrays import map_npy
from alignedcut_cli.brain.mapping import read_mapping
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError

__all__ = ["FAMILIES", "GROUPS", "read_rois", "with_groups"]

FAMILIES = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams")
GROUPS: dict[str, tuple[str, ...]] = {
    "V1": ("V1v", "V1d"),
    "V2": ("V2v", "V2d"),
    "V3": ("V3v", "V3d"),
    "V4": ("hV4",),
    "EBA": ("EBA",),
    "FBA": ("FBA-1", "FBA-2"),
    "OFA": ("OFA",),
    "FFA": ("FFA-1", "FFA-2"),
    "OPA": ("OPA",),
    "PPA": ("PPA",),
    "OWFA": ("OWFA",),
    "VWFA": ("VWFA-1", "VWFA-2"),
}
"""The regions in the paper's tables, and the parts that they consist of."""
_NO_REGION = "Unknown"
_MOST = 1 << 31


def with_groups(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The masks, bool (N,), followed by the GROUPS of their parts that are not among them."""
    groups = {
        name: np.logical_or.reduce([parts[part] for part in made_of if part in parts])
        for name, made_of in GROUPS.items()
        if name not in parts and any(part in parts for part in made_of)
    }
    return {**parts, **groups}


def read_rois(folder: Path, widths: Mapping[str, int]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The masks of all parts, bool (N,), hemispheres in the order of `widths` (vertices of each), and notes.

    A name without a vertex has an empty mask; a missing file gives a note. Raises DataError if a mask's length is
    not that of its hemisphere, or a mask or mapping cannot be read.
    """
    if not folder.is_dir():
        return {}, [f"no folder {folder.name}, so no ROIs"]
    parts: dict[str, np.ndarray] = {}
    notes: list[str] = []
    for family in FAMILIES:
        mapping = folder / f"mapping_{family}.npy"
        if not mapping.is_file():
            notes.append(f"{folder.name}/{mapping.name} is missing, so the ROIs of {family} are")
            continue
        names = read_mapping(mapping)
        for name in names.values():
            if name != _NO_REGION:
                parts.setdefault(name, np.zeros(sum(widths.values()), bool))
        notes += _mark(folder, family, names, widths, parts)
    return parts, notes


def _mark(
    folder: Path, family: str, names: Mapping[int, str], widths: Mapping[str, int], parts: Mapping[str, np.ndarray]
) -> list[str]:
    """Set the voxels of one family's regions in the masks; returns notes."""
    notes: list[str] = []
    first = 0
    for hemisphere, width in widths.items():
        path = folder / f"{hemisphere}.{family}_challenge_space.npy"
        if path.is_file():
            labels = _labels(path, width)
            for label in np.unique(labels).tolist():
                if label in names and names[label] != _NO_REGION:
                    parts[names[label]][first : first + width] |= labels == label
            nameless = sorted(set(np.unique(labels).tolist()) - set(names) - {0})
            notes += [f"{folder.name}/{path.name}: no name for label {few(nameless)}"] if nameless else []
        else:
            notes.append(f"{folder.name}/{path.name} is missing")
        first += width
    return notes


def _labels(path: Path, width: int) -> np.ndarray:
    """The integer label of each of a hemisphere's `width` vertices, int64 (width,)."""
    labels = map_npy(path)
    if labels.shape != (width,):
        raise DataError(
            "roi-length",
            f"{path} must have one label for each of {width} vertices, and has shape {labels.shape}",
            "Give the challenge_space mask of this subject and hemisphere",
        )
    if not (np.isfinite(labels) & (labels == np.rint(labels)) & (labels >= -_MOST) & (labels <= _MOST)).all():
        raise DataError("roi-labels", f"{path} must hold whole numbers as labels", "Fetch the file again")
    return np.asarray(labels, np.int64)
