"""Responses to images from any source: usable rows and voxels only, with notes on the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.arrays import LARGEST
from alignedcut_cli.brain.lost import without_lost_rows
from alignedcut_cli.brain.recording import Recording
from alignedcut_cli.brain.rois import with_groups
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.canonical import digest, tensor_digest

__all__ = ["Responses", "assemble"]


@dataclass(frozen=True)
class Responses:
    """One row of responses per image: B images, N voxels (vertices, channels).

    source     algonauts or table
    images     the name of each row's image: its file name, or what a table calls it, with any folders
    files      the path of that image; None where it is missing
    values     float32 (B, N), usable voxels only
    given      bool (B,), True for rows of the data's own test split
    voxels     int64 (N,), ascending: each voxel's column in the source, left hemisphere first
    dropped    int64, ascending: the columns that hold NaN or infinity, or are constant over the training rows
    rois       bool (N,) by name: parts, then groups; none is empty
    ceiling    float32 (N,), share of variance that can be explained, NaN where unknown; None if there is none
    notes      what is missing or unusual, one line each
    identity   64 hex digits: the content of images, values, rois and ceiling
    left       how many of the source's columns are of the left hemisphere; None if unknown
    vertices   int64 (N,), the vertex of its hemisphere of fsaverage for each voxel; None if unknown
    absent     ROIs that the source names and that have no usable voxel
    snr        float32 (N,), ratio of the standard deviations of signal and noise in a single trial (NSD's ncsnr), NaN where
               unknown; None if there is none
    subjects   the subject of each voxel, text (N,), where a table holds several; else None
    trials     float32 (B, r, N), the single trials averaged in `values`, NaN where there is none; None if unknown
    lost       images whose rows were left out, because more than half of their values are missing
    """

    source: str
    images: tuple[str, ...]
    files: tuple[Path | None, ...]
    values: np.ndarray
    given: np.ndarray
    voxels: np.ndarray
    dropped: np.ndarray
    rois: Mapping[str, np.ndarray]
    ceiling: np.ndarray | None
    notes: tuple[str, ...]
    identity: str
    left: int | None = None
    vertices: np.ndarray | None = None
    absent: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    snr: np.ndarray | None = None
    subjects: np.ndarray | None = None
    trials: np.ndarray | None = None

    def take(self, voxels: np.ndarray) -> Responses:
        """The responses of some of the voxels, bool (N,), at least one; images, notes and dropped are unchanged."""
        chosen = np.flatnonzero(voxels)

        def own(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[..., chosen]

        rois = {name: mask[chosen] for name, mask in self.rois.items() if mask[chosen].any()}
        return replace(
            self,
            values=self.values[:, chosen],
            voxels=self.voxels[chosen],
            rois=rois,
            ceiling=own(self.ceiling),
            identity=digest([self.identity, tensor_digest({"voxels": chosen})]),
            vertices=own(self.vertices),
            absent=(*self.absent, *(name for name in self.rois if name not in rois)),
            snr=own(self.snr),
            subjects=own(self.subjects),
            trials=own(self.trials),
        )


def assemble(found: Recording, where: Path) -> Responses:
    """The responses of the usable voxels in the rows kept by `without_lost_rows`.

    Raises DataError if no voxel is usable, or the array would be too large.
    """
    found, lost, lost_notes = without_lost_rows(found)
    images = tuple(name for split in found.splits for name in split.images)
    finite, varied = _usable(found)
    kept = finite & varied
    if not kept.any():
        raise DataError(
            "no-voxel",
            f"{where}: no voxel of {len(kept)} is usable: {'; '.join([_reasons(finite, varied), *lost_notes])}",
            "Give responses to at least two images that differ",
        )
    masks = {name: mask[kept] for name, mask in with_groups(found.rois).items()}
    rois = {name: mask for name, mask in masks.items() if mask.any()}
    absent = tuple(name for name in masks if name not in rois)
    notes = [
        *found.notes,
        *lost_notes,
        *_dropped_note(finite, varied),
        *([f"no voxel in: {', '.join(absent)}"] if absent else []),
    ]
    values = _gather(found, kept, len(images), where)
    ceiling = None if found.ceiling is None else found.ceiling[kept]
    vertices = None if found.vertices is None else found.vertices[kept]
    given = np.arange(len(images)) >= len(found.training.images)
    tensors = {"values": values, "given": given, **{f"roi.{name}": mask for name, mask in rois.items()}}
    tensors |= {} if ceiling is None else {"ceiling": ceiling}
    tensors |= {} if vertices is None else {"vertices": vertices}
    snr = None if found.snr is None else found.snr[kept]
    subjects = None if found.subjects is None else found.subjects[kept]
    trials = None if found.trials is None else found.trials[found.training.rows][:, :, kept]
    more = {"snr": snr, "trials": trials}
    tensors |= {name: array for name, array in more.items() if array is not None}
    told = [list(images), tensor_digest(tensors)]
    return Responses(
        source=found.source,
        images=images,
        files=tuple(file for split in found.splits for file in split.files),
        values=values,
        given=given,
        voxels=np.flatnonzero(kept),
        dropped=np.flatnonzero(~kept),
        rois=rois,
        ceiling=ceiling,
        notes=tuple(notes),
        identity=digest(told if subjects is None else [*told, subjects.tolist()]),
        left=found.left,
        vertices=vertices,
        absent=absent,
        lost=lost,
        snr=snr,
        subjects=subjects,
        trials=trials,
    )


def _usable(found: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Which columns are finite in all rows, and which vary over the training rows, bool (columns,) both."""
    finite = np.ones(found.training.columns, bool)
    constant = np.ones(found.training.columns, bool)
    first = None
    for split in found.splits:
        for block in split.blocks():  # (rows, columns)
            finite &= np.isfinite(block).all(0)
            first = block[0].copy() if first is None else first
            constant &= (block == first).all(0) | (split is not found.training)
    return finite, ~constant


def _gather(found: Recording, kept: np.ndarray, rows: int, where: Path) -> np.ndarray:
    """The usable columns of all used rows, float32 (B, N), filled block by block."""
    size = 4 * rows * int(kept.sum())
    if size > LARGEST:
        raise DataError(
            "too-large", f"{where} holds {size / 2**30:.3g} GiB of responses", f"Give at most {LARGEST >> 30} GiB"
        )
    values = np.empty((rows, int(kept.sum())), np.float32)
    done = 0
    for split in found.splits:
        for block in split.blocks():
            values[done : done + len(block)] = block[:, kept]
            done += len(block)
    return values


def _reasons(finite: np.ndarray, varied: np.ndarray) -> str:
    counts = {"with NaN or infinity": int((~finite).sum()), "constant": int((finite & ~varied).sum())}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _dropped_note(finite: np.ndarray, varied: np.ndarray) -> list[str]:
    columns = np.flatnonzero(~(finite & varied)).tolist()
    told = f"{len(columns)} of {len(finite)} voxels dropped ({_reasons(finite, varied)}): columns {few(columns)}"
    return [told] if columns else []
