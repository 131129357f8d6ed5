"""How well responses are predicted: R^2 and Pearson r per voxel, and whether a mean R^2 is above chance."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import sum_of_all
from alignedcut_cli.core.resample.draws import random_orders
from alignedcut_cli.core.resample.nulls import tail_p

__all__ = ["Scores", "mean_r_squared", "pearson", "permutation_p", "r_squared", "scores"]

_BLOCK = 2048
Scores = tuple[Tensor, Tensor]
"""R^2 (N,) and Pearson r (N,) per voxel, float64."""


def r_squared(predicted: Tensor, responses: Tensor) -> Tensor:
    """Share of variance explained per voxel: 1 - sum (y - y^)^2 / sum (y - mean y)^2, for (B, N): (N,) float64.

    A voxel that is constant over these images gets 0, as there is no variance to explain.
    """
    residual = (responses - predicted).double().square_().sum(0)
    spread = (responses - responses.mean(0)).double().square_().sum(0)
    varies = _varies(responses) & (spread > 0)
    return torch.where(varies, 1 - residual / spread.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def mean_r_squared(predicted: Tensor, responses: Tensor) -> float:
    """The mean over voxels of `r_squared`."""
    found = r_squared(predicted, responses)
    return float(sum_of_all(found)) / len(found)


def pearson(predicted: Tensor, responses: Tensor) -> Tensor:
    """Pearson correlation per voxel of two (B, N): (N,) float64; 0 where either is constant."""
    left = (predicted - predicted.mean(0)).double()
    right = (responses - responses.mean(0)).double()
    size = left.norm(dim=0) * right.norm(dim=0)
    vary = _varies(predicted) & _varies(responses) & (size > 0)
    return torch.where(vary, (left * right).sum(0) / size.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def _varies(values: Tensor) -> Tensor:
    """Whether each column of (B, N) varies: (N,) bool. Compares values, as the mean of equal values is rounded."""
    return (values != values[:1]).any(0)


def scores(aligned: Tensor, beta: Tensor, eps: Tensor, responses: Tensor) -> Scores:
    """R^2 and r per voxel of the prediction aligned beta + eps, for aligned (B, E) and responses (B, N): (N,) float64.

    Voxels are processed 2048 at a time, without a second array of the size of `responses`.
    """
    found = []
    for start in range(0, responses.shape[1], _BLOCK):
        columns = slice(start, start + _BLOCK)
        predicted = torch.addmm(eps[columns], aligned, beta[:, columns])
        found.append((r_squared(predicted, responses[:, columns]), pearson(predicted, responses[:, columns])))
    return torch.cat([one for one, _ in found]), torch.cat([other for _, other in found])


def permutation_p(predicted: Tensor, responses: Tensor, rounds: int = 1000, seed: int = 0) -> float:
    """The permutation p-value of the mean R^2 of (B, N), shuffling the images of the predictions: in (0, 1].

    (1 + number of shuffles at least as good) / (1 + `rounds`).
    """
    centred = (responses - responses.mean(0)).double()
    spread = centred.square().sum(0)
    made = (predicted - responses.mean(0)).double()
    gram = made @ (centred / spread.clamp_min(torch.finfo(torch.float64).tiny)).T  # (B, B): the term of each pair
    pairs = gram.cpu().numpy()
    images = np.arange(len(pairs))
    found = pairs[np.vstack([images, random_orders(len(pairs), rounds, seed)]), images].sum(1)
    return tail_p(found[0], found[1:])
