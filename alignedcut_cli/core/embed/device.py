"""Gradient descent of t-SNE on a GPU, over all pairs: by Triton kernels where available, else in tiles of torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.embed.affinities import triton_kernels
from alignedcut_cli.core.embed.descent import LEAST_GAIN, LONGEST_STEP, MOMENTUM
from alignedcut_cli.core.embed.on_host import Affinities

__all__ = ["OnDevice", "pull_all", "push_all"]

_TILE = 1 << 25


class OnDevice:
    """Descent (see `descent.Descent`) on the device of the affinities; `start` (m, 3) float32."""

    def __init__(self, joint: Affinities, start: np.ndarray) -> None:
        self._joint = joint
        self._places = torch.from_numpy(start).to(joint.values.device)
        self._updates, self._gains = torch.zeros_like(self._places), torch.ones_like(self._places)

    def load(self, state: dict[str, np.ndarray]) -> None:
        found = (torch.from_numpy(state[name]).to(self._places.device) for name in ("places", "updates", "gains"))
        self._places, self._updates, self._gains = found

    def state(self) -> dict[str, np.ndarray]:
        now = {"places": self._places, "updates": self._updates, "gains": self._gains}
        return {name: value.cpu().numpy().copy() for name, value in now.items()}

    def step(self, exaggeration: float) -> None:
        forces, sums = push_all(self._places)
        pulls, _ = pull_all(self._joint, self._places)
        share = 1 / self._z(sums).clamp_min(torch.finfo(torch.float32).tiny).float()
        gradient = exaggeration * pulls - share * forces
        flipped = self._updates.sign() != gradient.sign()
        self._gains = torch.where(flipped, self._gains + 0.2, self._gains * 0.8 + LEAST_GAIN)
        self._updates = MOMENTUM * self._updates - (len(gradient) / exaggeration) * self._gains * gradient
        length = self._updates.norm(dim=1, keepdim=True)
        self._updates = self._updates * (LONGEST_STEP / length).clamp_max(1)
        self._places = self._places + self._updates
        self._places = self._places - self._places.mean(0)

    def divergence(self) -> float:
        _, sums = push_all(self._places)
        _, mismatch = pull_all(self._joint, self._places)
        mass = self._joint.values.double().sum()
        return float(mismatch.double().sum() + mass * self._z(sums).clamp_min(torch.finfo(torch.float64).tiny).log())

    def _z(self, sums: Tensor) -> Tensor:
        return sums.double().sum() - len(sums)


def push_all(places: Tensor) -> tuple[Tensor, Tensor]:
    """F_i = sum_j (y_i - y_j) k_ij^2 (m, 3) and sum_j k_ij (m,), k_ij = 1 / (1 + |y_i - y_j|^2), of points (m, 3) float32.

    All m^2 pairs, from differences; j = i is included. float32.
    """
    if compiled := triton_kernels(places):
        return compiled.push_all(places)
    parts = [_push(block, places) for block in places.split(max(1, _TILE // len(places)))]
    forces, sums = (torch.cat(found) for found in zip(*parts, strict=True))
    return forces, sums


def _push(targets: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    apart = [here[:, None] - there for here, there in zip(targets.T, places.T, strict=True)]  # three of (t, m)
    kernel = torch.ones_like(apart[0])
    for along in apart:
        kernel.addcmul_(along, along)
    kernel.reciprocal_()
    sums = kernel.sum(1)
    kernel.square_()
    return torch.stack([(along.mul_(kernel)).sum(1) for along in apart], 1), sums


def pull_all(joint: Affinities, places: Tensor) -> tuple[Tensor, Tensor]:
    """sum_j p_ij k_ij (y_i - y_j) (m, 3) and sum_j p_ij log(p_ij / k_ij) (m,) of points (m, 3) float32, in float32."""
    if compiled := triton_kernels(places):
        return compiled.pull_all(joint.values, joint.columns, joint.bounds, places)
    rows = torch.arange(len(places), device=places.device).repeat_interleave(joint.bounds.diff())
    apart = places[rows] - places[joint.columns.long()]
    inverse = apart.square().sum(1) + 1
    forces = torch.zeros_like(places).index_add_(0, rows, (joint.values / inverse)[:, None] * apart)
    told = torch.xlogy(joint.values, joint.values * inverse)
    return forces, torch.zeros_like(places[:, 0]).index_add_(0, rows, told)
