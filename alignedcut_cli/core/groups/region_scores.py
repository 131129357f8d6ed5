"""How well ranked class-agnostic masks cover the regions of a ground truth: best IoU, and average recall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["LIMITS", "THRESHOLDS", "average_recall", "region_numbers", "region_overlaps"]

THRESHOLDS = np.arange(0.5, 1.0, 0.05)
"""COCO's: 0.5, 0.55, ..., 0.95."""
LIMITS = (1, 10, 100)
"""Numbers of masks per image at which recall is taken, the best first."""


def region_numbers(classes: np.ndarray, instances: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(region (H, W) of each pixel from 0, -1 for none; (g, 2) class and instance of each region).

    A region is the pixels of one class (-1: none) and, where `instances` (H, W) are known, of one instance; 0 is no
    instance, so that all such pixels of a class form one region, as for stuff classes.
    """
    numbers = np.zeros_like(classes) if instances is None else instances
    pairs = np.stack([classes.reshape(-1), numbers.reshape(-1)], 1)
    counted = pairs[:, 0] >= 0
    found, places = np.unique(pairs[counted], axis=0, return_inverse=True)
    regions = np.full(len(pairs), -1, np.int64)
    regions[counted] = places.reshape(-1)
    return regions.reshape(classes.shape), found


def region_overlaps(masks: Sequence[np.ndarray], regions: np.ndarray, void: np.ndarray) -> np.ndarray:
    """The IoU of each mask (H, W) bool with each region: (p, g) float64. Pixels of `void` (H, W) bool are left out."""
    count = int(regions.max()) + 1
    sizes = np.bincount(regions[regions >= 0], minlength=count).astype(np.float64)
    found = np.zeros((len(masks), count))
    for number, mask in enumerate(masks):
        kept = mask & ~void
        both = np.bincount(regions[kept] + 1, minlength=count + 1)[1:]
        found[number] = both / (sizes + kept.sum() - both)
    return found


def average_recall(overlaps: Sequence[np.ndarray], limit: int) -> float:
    """The share of regions that a mask finds, mean over IoUs 0.5 to 0.95 (COCO): `overlaps` (p, g) of each image.

    Of each image's masks the first `limit` count, and each finds one region: the pairs of the largest IoU are matched
    first. NaN without regions.
    """
    total = sum(one.shape[1] for one in overlaps)
    if not total:
        return float("nan")
    matched = np.concatenate([_matched(one[:limit]) for one in overlaps])
    return float((matched[:, None] >= THRESHOLDS - 1e-9).sum() / (total * len(THRESHOLDS)))


def _matched(overlaps: np.ndarray) -> np.ndarray:
    """The IoU (g,) of each region with the mask matched to it greedily by IoU, 0 for none."""
    found = np.zeros(overlaps.shape[1])
    left = overlaps.copy()
    for _ in range(min(left.shape)):
        mask, region = np.unravel_index(left.argmax(), left.shape)
        if left[mask, region] <= 0:
            break
        found[region] = left[mask, region]
        left[mask], left[:, region] = -1, -1
    return found
