"""Preprocessing of a photograph by the model's own configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alignedcut_cli.errors import DataError

__all__ = ["ASPECT", "Preprocess", "preprocess_from"]

ASPECT = "squash"
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocess:
    """How a photograph becomes an input: the whole image is resized to size x size (`squash`), then normalised."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    def as_object(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "aspect": ASPECT,
        }

    def resize(self, image: Image.Image) -> np.ndarray:
        """The whole image at the model's size: uint8 (size, size, 3)."""
        return np.array(image.resize((self.size, self.size), _FILTERS[self.interpolation]))

    def normalise(self, pixels: np.ndarray, device: torch.device) -> Tensor:
        """(x / 255 - mean) / std of uint8 pixels (B, size, size, 3): float32 (B, 3, size, size) on the device."""
        images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).contiguous().float()  # bytes are moved fastest
        mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1) * 255
        std = torch.tensor(self.std, device=device).view(1, 3, 1, 1) * 255
        return images.sub_(mean).div_(std)


def preprocess_from(size: int, config: Mapping[str, Any], model: str) -> Preprocess:
    """The preprocessing in a model's configuration (mean, std, interpolation). Raises DataError if it has none."""
    mean, std = _three(config.get("mean")), _three(config.get("std"))
    interpolation = config.get("interpolation") or "bicubic"
    if mean is None or std is None or min(std) <= 0:
        raise DataError(
            "config-incomplete", f"the configuration of {model} states no mean and std", "Use another model"
        )
    chosen = "bilinear" if interpolation == "random" else str(interpolation)
    if chosen not in _FILTERS:
        raise DataError("config-incomplete", f"{model} asks for unknown interpolation {chosen!r}", "Use another model")
    return Preprocess(size, mean, std, chosen)


def _three(values: Any) -> tuple[float, float, float] | None:
    """Three finite numbers, one per colour channel; None for anything else."""
    try:
        red, green, blue = map(float, values)
    except (TypeError, ValueError, OverflowError):
        return None
    return (red, green, blue) if all(map(math.isfinite, (red, green, blue))) else None
