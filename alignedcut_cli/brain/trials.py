"""Single trials of a table: their averages, and noise ceilings from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alignedcut_cli.brain.words import few
from alignedcut_cli.core.encode.reliability import split_half
from alignedcut_cli.errors import DataError

__all__ = ["REPEATS", "TRIALS", "mean_repeats", "of_trials", "with_trials"]

TRIALS, REPEATS = "repeats", "reps"
"""Names of arrays of single trials (images, r, channels), and of numbers of trials averaged: one, or one per image."""
_FEWEST_IMAGES = 3


def with_trials(path: Path, trials: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trials (n, r, N) as float32, and the responses (n, N): those given, or else (`values` are trials) their means.

    Raises DataError if their shapes do not match, or an image has no trial.
    """
    if trials.ndim != 3 or trials.dtype.kind not in "fiu" or (values.ndim == 2 and trials[:, 0].shape != values.shape):
        raise DataError(
            "trials-shape",
            f"{path}: `{TRIALS}` must be (images, trials, channels) numbers, and is {trials.shape} {trials.dtype}"
            + (f" beside responses {values.shape}" if values.ndim == 2 else ""),
            "Save NaN where there was no trial",
        )
    trials = np.asarray(trials, np.float32)
    if values.ndim == 2:
        return trials, values
    there = np.isfinite(trials)
    counts = there.sum(1)
    if empty := np.flatnonzero(~there.any((1, 2))).tolist():
        raise DataError(
            "trials-missing",
            f"{path}: no trial of the images in rows {few([one + 1 for one in empty])}",
            "Leave them out",
        )
    total = np.where(there, trials, 0).sum(1, dtype=np.float64)
    return trials, np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0).astype(np.float32)


def of_trials(trials: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """The ceiling of each column, float32 (N,), by split halves over images with at least two trials, and notes."""
    finite = np.isfinite(trials)
    columns = np.asarray(finite.any((0, 1)))
    counts = np.asarray(finite[:, :, columns].all(2).sum(1))
    several = counts > 1
    if several.sum() < _FEWEST_IMAGES:
        return None, [f"{int(several.sum())} images have two trials or more: too few for a ceiling"]
    found = np.full(len(columns), np.nan, np.float32)
    found[columns] = split_half(trials[several][:, :, columns])
    told = f"ceilings are reliabilities of {counts.min()} to {counts.max()} trials, by split halves"
    return found, [told + ("" if several.all() else f" of the {int(several.sum())} images with two or more")]


def mean_repeats(path: Path, repeats: np.ndarray, images: int) -> float:
    """The number of trials averaged per response; the harmonic mean of numbers that vary."""
    counts = np.asarray(repeats, np.float64).reshape(-1)
    if counts.shape not in ((1,), (images,)) or not (counts >= 1).all() or np.isinf(counts).any():
        raise DataError(
            "reps-invalid",
            f"{path}: `{REPEATS}` must be one number of trials, or one for each of {images} images, from 1",
            "Save how many trials were averaged",
        )
    return float(1 / (1 / counts).mean())
