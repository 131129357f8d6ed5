"""Noise ceilings of comparisons of RDMs: how alike subjects are among themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from alignedcut_cli.core.encode.compare import compare, pooled

__all__ = ["across_subjects"]


def across_subjects(rdms: Tensor, by: str) -> tuple[float, float]:
    """(lower, upper) bound of the mean comparison that any RDM can have with the subjects' RDMs (s, n, n), s >= 2.

    Upper: that of the average of all subjects, which is nearest to them; lower: of the average of the others with each
    (Nili et al. 2014). RDMs are averaged as `pooled` does for the comparison.
    """
    subjects = range(len(rdms))
    upper = compare(pooled(rdms, by), rdms, by).mean()
    found = []
    for subject in subjects:
        others = rdms[[one for one in subjects if one != subject]]
        found.append(compare(pooled(others, by), rdms[subject : subject + 1], by))
    lower = torch.cat(found).mean()
    return float(lower), float(upper)
