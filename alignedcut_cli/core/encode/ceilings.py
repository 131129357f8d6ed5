"""Noise ceilings for RDM comparisons: across subjects, or from split halves of the trials."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.encode.compare import compare, pooled
from alignedcut_cli.core.encode.rdm import Gram, rdm
from alignedcut_cli.core.encode.reliability import halves, spearman_brown
from alignedcut_cli.core.numerics import stream

__all__ = ["across_subjects", "rdm_reliability"]


def across_subjects(rdms: Tensor, by: str) -> tuple[Tensor, Tensor]:
    """Lower and upper noise ceiling of the subjects' RDMs (s, n, n), s >= 2, for each subject: (s,) both.

    Upper: the comparison with the average of all subjects, which on average no RDM exceeds; lower: with the average of
    the others (Nili et al. 2014). RDMs are averaged as `pooled` does for the comparison.
    """
    subjects = range(len(rdms))
    upper = compare(pooled(rdms, by), rdms, by)
    found = []
    for subject in subjects:
        others = rdms[[one for one in subjects if one != subject]]
        found.append(compare(pooled(others, by), rdms[subject : subject + 1], by))
    return torch.cat(found), upper


def rdm_reliability(
    trials: np.ndarray, distance: str, by: str, draws: int = 20, seed: int = 0, device: str | torch.device = "cpu"
) -> float:
    """How well a noise-free RDM would fit that of mean responses: the square root of its reliability, in 0..1.

    The reliability compares the RDMs of two random halves of the trials (n, r, N), averaged over `draws` splits and
    corrected to all trials by Spearman-Brown. Raises NumericsError as `halves` does.
    """
    random = np.random.default_rng(stream(seed, "rdm-reliability"))
    found, times = [], 2.0
    for _ in range(draws):
        left, right, times = halves(trials, random)
        one, other = (rdm(Gram.of([torch.from_numpy(part).to(device)]), distance) for part in (left, right))
        found.append(float(compare(one, other[None], by)))
    return float(np.sqrt(max(0.0, float(spearman_brown(float(np.mean(found)), times)))))
