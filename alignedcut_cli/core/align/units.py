"""Standardisation of responses: each voxel is fitted in units of its own standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import mean_square
from alignedcut_cli.core.numerics import NumericsError

__all__ = ["LARGEST", "SlotError", "Units", "rounding", "slot_scales"]

LARGEST = 1e30
"""The largest standard deviation, and one over the smallest, at which the read-out fits in float32."""
_LOUDEST = 1e15
_BLOCK = 2048


@dataclass(frozen=True)
class Units:
    """`mean` and `scale` of each voxel, (N,) float64: responses Y = mean + scale Z, of which Z (B, N) is fitted."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, responses: Tensor, rows: Tensor) -> Units:
        """Mean and standard deviation over some rows of responses (B, N) float32; a constant voxel has scale 1."""
        means, scales = [], []
        for block in responses.split(_BLOCK, 1):
            known = block[rows].double()
            constant = (known == known[0]).all(0)
            means.append(known[0].where(constant, known.mean(0)))
            scales.append(known.std(0, correction=0).masked_fill_(constant, 1))
        return cls(torch.cat(means), torch.cat(scales))

    def beyond(self) -> Tensor:
        """The voxels (n,) whose read-out is out of float32's range: `scale` above LARGEST, or below one over it."""
        return ((self.scale > LARGEST) | (self.scale < 1 / LARGEST)).nonzero().squeeze(1)

    def standardise(self, responses: Tensor) -> None:
        """Replace the responses Y (B, N) by Z, computed in float64."""
        blocks = zip(*(one.split(_BLOCK, -1) for one in (responses, self.mean, self.scale)), strict=True)
        for block, mean, scale in blocks:
            block.copy_((block.double() - mean) / scale)

    def read_out(self, beta: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """beta (E, N) and eps (N,) of Y, float32, from those of Z: scale beta, and mean + scale eps."""
        scaled = torch.empty_like(beta, dtype=torch.float32)
        for block, part, scale in zip(*(one.split(_BLOCK, -1) for one in (scaled, beta, self.scale)), strict=True):
            block.copy_(part * scale)
        return scaled, (self.mean + eps * self.scale).float()


class SlotError(NumericsError):
    """The features of some slots are numerically unusable; `slots` are their indices."""

    def __init__(self, slots: Sequence[int], message: str) -> None:
        super().__init__(message)
        self.slots = list(slots)


def slot_scales(means: Sequence[Tensor]) -> list[float]:
    """Root mean square of each slot's centred features (B, D_i).

    Raises SlotError if those of some slots are the same for all images, or vary by too much or too little for float32.
    """
    centred = [mean - mean.mean(0) for mean in means]
    varied = [float(block.abs().max()) for block in centred]
    if dead := [number for number, mean in enumerate(means) if varied[number] <= rounding(mean)]:
        raise SlotError(dead, "the features are the same for all images")
    if beyond := [number for number, one in enumerate(varied) if not 1 / _LOUDEST < one < _LOUDEST]:
        raise SlotError(beyond, f"the features vary by {varied[beyond[0]]:.1g}, too much or too little for float32")
    return [float(mean_square(block).sqrt()) for block in centred]


def rounding(values: Tensor) -> float:
    """The size of rounding errors in differences of numbers as large as `values`."""
    return 8 * torch.finfo(values.dtype).eps * float(values.abs().max())
