"""Resampling between mask pixels and grid cells: shares of area one way, interpolation the other."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["UPSCALES", "area_shares", "stretch_bands", "stretch_matrix"]

UPSCALES = ("nearest", "bilinear")
BAND = 1 << 22


def stretch_matrix(pixels: int, cells: int, how: str, device: torch.device | None = None) -> Tensor:
    """The 1-D interpolation matrix from `cells` to `pixels`: (pixels, cells) float32 on `device`, rows sum to 1.

    Pixel y lies at (y + 1/2) cells / pixels. `nearest`: its cell. `bilinear`: the two nearest cell centres by distance,
    with the outermost values extended to the edge. Made once for many images: not to be altered.
    """
    return torch.from_numpy(_stretched(pixels, cells, how)).to(device)


@functools.lru_cache(maxsize=16)
def _stretched(pixels: int, cells: int, how: str) -> np.ndarray:
    doubled = (2 * np.arange(pixels) + 1) * cells
    one = np.eye(cells)
    if how == "nearest":
        return one[doubled // (2 * pixels)].astype(np.float32)
    places = (doubled / (2 * pixels) - 0.5).clip(0, cells - 1)
    low = np.minimum(np.floor(places).astype(np.int64), max(cells - 2, 0))
    share = (places - low)[:, None]
    return (one[low] * (1 - share) + one[np.minimum(low + 1, cells - 1)] * share).astype(np.float32)


def stretch_bands(maps: Tensor, size: tuple[int, int], how: str) -> Iterator[tuple[slice, Tensor]]:
    """Maps (k, rows, cols) at `size` (H, W) pixels, in bands of pixel rows: (rows of pixels, (k, band, W)) float32.

    A band holds at most about 4 million numbers, for any size of image.
    """
    count, rows, columns = maps.shape
    height, width = size
    down = stretch_matrix(height, rows, how, maps.device)  # (H, rows)
    across = maps.float() @ stretch_matrix(width, columns, how, maps.device).T  # (k, rows, W)
    step = max(1, BAND // max(1, count * width))
    for start in range(0, height, step):
        band = slice(start, min(start + step, height))
        yield band, torch.einsum("hr,krw->khw", down[band], across)


def area_shares(labels: Tensor, grid: tuple[int, int], classes: int) -> Tensor:
    """The share of each cell's area that each class covers: (rows * cols, k) float32; void (-1) is no class.

    `labels` (H, W) int64 in -1 to k - 1. Cells are H / rows by W / cols pixels; a pixel across two cells is split by area.
    """
    down = _overlaps(labels.shape[0], grid[0], labels.device)  # (rows, H)
    across = _overlaps(labels.shape[1], grid[1], labels.device).T  # (W, cols)
    shares = torch.zeros(grid[0] * grid[1], classes, device=labels.device)
    for one in labels.unique().tolist():
        if one >= 0:
            shares[:, one] = (down @ (labels == one).float() @ across).reshape(-1)
    return shares


def _overlaps(pixels: int, cells: int, device: torch.device) -> Tensor:
    """The share of each cell's length that each pixel covers: (cells, pixels) float32 on `device`, rows sum to 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64, device=device) * pixels / cells
    places = torch.arange(pixels, dtype=torch.float64, device=device)
    ends = torch.minimum(edges[1:, None], places + 1) - torch.maximum(edges[:-1, None], places)
    return (ends.clamp(min=0) * cells / pixels).float()
