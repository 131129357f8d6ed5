"""The repulsion of t-SNE over all pairs, in tiles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["TILE", "exact_repulsion", "repulsion_tiles"]

TILE = {"cpu": 1 << 17, "cuda": 1 << 26}


def exact_repulsion(places: np.ndarray, device: torch.device | None = None) -> tuple[np.ndarray, float]:
    """F_i = sum_j (y_i - y_j) k_ij^2 with k_ij = 1 / (1 + |y_i - y_j|^2), and Z = sum over i != j of k_ij.

    places (m, d) float64; F (m, d) float64. Squared distances are float64, as |y_i|^2 + |y_j|^2 - 2 y_i y_j loses
    digits; kernels and their sums along a row are float32. m^2 pairs, in tiles.
    """
    device = device or torch.device("cpu")
    centred = torch.from_numpy(places - places.mean(0)).to(device)[None]
    weights = torch.ones(centred.shape[:2], device=device)
    step = max(1, TILE[device.type] // len(places))
    parts = [repulsion_tiles(block, centred, weights) for block in centred.split(step, 1)]
    forces, sums = (torch.cat(found, 1)[0].double() for found in zip(*parts, strict=True))
    return forces.cpu().numpy(), float(sums.sum()) - len(places)


def repulsion_tiles(targets: Tensor, sources: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(F (b, t, d), sum_j w_j k_ij (b, t)) of targets (b, t, d) under sources (b, s, d) of weights (b, s).

    1 + |y - s|^2 = [-2 y, 1, 1 + |y|^2] [s, |s|^2, 1]^T in the precision of the places; the rest in float32.
    """
    left = torch.cat([-2 * targets, torch.ones_like(targets[..., :1]), targets.square().sum(2, keepdim=True) + 1], 2)
    right = torch.cat([sources, sources.square().sum(2, keepdim=True), torch.ones_like(sources[..., :1])], 2)
    kernel = torch.bmm(left, right.mT).float().reciprocal_()  # (b, t, s)
    sums = torch.bmm(kernel, weights[..., None]).squeeze(2)  # (b, t)
    # W (K^2)^T, as K^2 W^T with its d + 1 columns takes four times as long
    pushes = torch.cat([weights[..., None], sources.float() * weights[..., None]], 2)
    total = torch.bmm(pushes.mT, kernel.square_().mT)  # (b, 1 + d, t)
    return targets.float() * total[:, 0, :, None] - total[:, 1:].mT, sums
