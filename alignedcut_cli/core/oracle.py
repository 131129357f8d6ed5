"""Oracle segmentation (paper, C.4): how well eigenvectors separate the classes of a ground truth."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["oracle_miou"]


def oracle_miou(eigenvectors: Tensor, labels: Tensor, thresholds: int = 10, background: int = 0) -> Tensor:
    """Mean IoU over classes at each threshold, of nodes (M, C) with class ids `labels` (M,) >= 0: (thresholds,) float64.

    A class's centre is the mean eigenvector of its nodes; a node takes the class of the most similar centre (cosine),
    or `background` where that similarity is below the threshold; thresholds are evenly spaced in [0, 1].
    """
    classes, ids = labels.unique(return_inverse=True)  # (k,), (M,)
    count = len(classes)
    members = torch.nn.functional.one_hot(ids, count).to(eigenvectors)  # (M, k)
    centres = members.T @ eigenvectors / members.sum(0)[:, None]
    cosines = torch.nn.functional.normalize(eigenvectors, dim=1) @ torch.nn.functional.normalize(centres, dim=1).T
    best, chosen = cosines.max(1)  # (M,)
    ground = (classes == background).nonzero().flatten()
    found = []
    for threshold in torch.linspace(0, 1, thresholds).tolist():
        given = chosen.clone()
        given[best < threshold] = int(ground[0]) if len(ground) else count
        table = torch.bincount(ids * (count + 1) + given, minlength=count * (count + 1)).reshape(count, count + 1)
        table = table.double()
        both = table[:, :count].diagonal()
        either = table.sum(1) + table[:, :count].sum(0) - both
        found.append((both / either).mean())
    return torch.stack(found)
