"""Reliability of responses, from signal-to-noise ratios or from single trials. Without torch."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.numerics import NumericsError, stream

__all__ = ["halves", "share_of_snr", "spearman_brown", "split_half"]


def share_of_snr(snr: np.ndarray, repeats: float) -> np.ndarray:
    """snr^2 / (snr^2 + 1 / repeats): the share of variance of averaged responses that is signal, (N,).

    `snr` is the ratio of the standard deviations of signal and noise in a single trial (NSD's ncsnr); `repeats` the
    number of trials averaged, their harmonic mean where it varies (Allen et al. 2022).
    """
    square = np.square(snr, dtype=np.float64)
    return square / (square + 1 / repeats)


def spearman_brown(reliability: np.ndarray | float, times: float = 2.0) -> np.ndarray | float:
    """The reliability of `times` as many trials: t r / (1 + (t - 1) r); 2 r / (1 + r) of two halves."""
    return times * reliability / (1 + (times - 1) * reliability)


def halves(trials: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Means of two random halves of each image's trials, (n, N) float64 both, and the ratio of all trials to a half's.

    `trials` is (n, r, N), NaN where there is none: a trial counts if all its values are finite. Halves have equal sizes: of
    an odd number of trials one is left out. Raises NumericsError where an image has fewer than two.
    """
    there = np.asarray(np.isfinite(trials).all(2))  # (n, r)
    counts = np.asarray(there.sum(1))
    if counts.min() < 2:
        raise NumericsError(f"image {int(counts.argmin())} has {int(counts.min())} trials, and two are needed")
    order = np.where(there, random.random(there.shape), np.inf).argsort(1).argsort(1)  # the rank of each trial
    size = np.asarray(counts // 2)[:, None]
    first, second = order < size, (order >= size) & (order < 2 * size)
    filled = np.where(there[:, :, None], trials, 0).astype(np.float64)
    means = [np.einsum("nr,nrv->nv", part, filled) / size for part in (first, second)]
    return means[0], means[1], float(counts.mean() / size.mean())


def split_half(trials: np.ndarray, draws: int = 100, seed: int = 0) -> np.ndarray:
    """The reliability of mean responses, (N,) float64: the share of their variance that is not noise, not below 0.

    Pearson's r over images between the means of two random halves of the trials (n, r, N), averaged over `draws` splits
    and corrected to all trials by Spearman-Brown. Raises NumericsError as `halves` does.
    """
    random = np.random.default_rng(stream(seed, "split-half"))
    total, times = np.zeros(trials.shape[2]), 2.0
    for _ in range(draws):
        left, right, times = halves(trials, random)
        left, right = left - left.mean(0), right - right.mean(0)
        length = np.sqrt((left**2).sum(0) * (right**2).sum(0))
        total += np.divide((left * right).sum(0), length, out=np.zeros_like(length), where=length > 0)
    return np.asarray(spearman_brown((total / draws).clip(0), times))
