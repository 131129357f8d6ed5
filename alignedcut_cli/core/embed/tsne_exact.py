"""The repulsion of t-SNE over all pairs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.embed.kernels import push_all
from alignedcut_cli.core.embed.threads import share_rows

__all__ = ["exact_repulsion", "in_three_rows"]

TILE = 1 << 26
_LARGE = 2000


def exact_repulsion(places: np.ndarray, device: torch.device | None = None) -> tuple[np.ndarray, float]:
    """F_i = sum_j (y_i - y_j) k_ij^2 with k_ij = 1 / (1 + |y_i - y_j|^2), and Z = sum over i != j of k_ij.

    places (m, d) float64, d at most 3; F (m, d) float64. m^2 pairs: on the CPU in a compiled loop over float32
    differences, elsewhere in tiles of torch. Sums along a row are float32.
    """
    if device is not None and device.type != "cpu":
        return _on_device(places, device)
    centred = in_three_rows(places - places.mean(0))
    forces, sums = np.empty_like(centred), np.empty(len(places), np.float32)
    share_rows(len(places), lambda a, b: push_all(centred, a, b, forces, sums), large=len(places) > _LARGE)
    return forces[: places.shape[1]].T.astype(np.float64), float(sums.sum(dtype=np.float64)) - len(places)


def in_three_rows(places: np.ndarray) -> np.ndarray:
    """Coordinates (3, m) float32 of places (m, d), zero where d is less: what the compiled loops take."""
    found = np.zeros((3, len(places)), np.float32)
    found[: places.shape[1]] = places.T
    return found


def _on_device(places: np.ndarray, device: torch.device) -> tuple[np.ndarray, float]:
    centred = torch.from_numpy(places - places.mean(0)).to(device)
    step = max(1, TILE // len(places))
    parts = [_tile(block, centred) for block in centred.split(step)]
    forces, sums = (torch.cat(found).double() for found in zip(*parts, strict=True))
    return forces.cpu().numpy(), float(sums.sum()) - len(places)


def _tile(targets: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """(F (t, d), sum_j k_ij (t,)) of targets (t, d) under all places (m, d) float64; kernels and sums are float32.

    1 + |y - s|^2 = [-2 y, 1, 1 + |y|^2] [s, |s|^2, 1]^T in float64, as the products lose digits.
    """
    left = torch.cat([-2 * targets, torch.ones_like(targets[:, :1]), targets.square().sum(1, keepdim=True) + 1], 1)
    right = torch.cat([places, places.square().sum(1, keepdim=True), torch.ones_like(places[:, :1])], 1)
    kernel = (left @ right.T).float().reciprocal_()  # (t, m)
    sums = kernel.sum(1)
    pushes = torch.cat([torch.ones_like(places[:, :1]), places], 1).float()
    total = kernel.square_() @ pushes  # (t, 1 + d)
    return targets.float() * total[:, :1] - total[:, 1:], sums
