"""The raw content of a dataset of responses, before any selection: splits of memory-mapped arrays, masks, ceilings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Recording", "Split"]

_BLOCK = 32 << 20


@dataclass(frozen=True)
class Split:
    """The rows of one split: the arrays (rows, columns) of the hemispheres, and which rows are used."""

    arrays: tuple[np.ndarray, ...]
    rows: np.ndarray
    images: tuple[str, ...]
    files: tuple[Path | None, ...]

    @property
    def columns(self) -> int:
        return sum(array.shape[1] for array in self.arrays)

    def blocks(self) -> Iterator[np.ndarray]:
        """The used rows in order, in float32 blocks (some rows, columns) of about 32 MiB."""
        step = max(1, _BLOCK // (4 * max(1, self.columns)))
        for start in range(0, len(self.rows), step):
            rows = self.rows[start : start + step]
            with np.errstate(over="ignore"):  # overflow gives infinity; such columns are dropped
                parts = [array[rows].astype(np.float32, copy=False) for array in self.arrays]
            yield np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Recording:
    """The raw content of a dataset, before unusable voxels are dropped. Masks, ceiling, vertices, signal-to-noise
    ratios and the names of subjects are over all columns; `trials` is (rows, r, columns), NaN where there is none."""

    source: str
    training: Split
    test: Split | None
    rois: Mapping[str, np.ndarray]
    ceiling: np.ndarray | None
    notes: Sequence[str]
    left: int | None = None
    vertices: np.ndarray | None = None
    snr: np.ndarray | None = None
    subjects: np.ndarray | None = None
    trials: np.ndarray | None = None

    @property
    def splits(self) -> tuple[Split, ...]:
        return (self.training, self.test) if self.test else (self.training,)
