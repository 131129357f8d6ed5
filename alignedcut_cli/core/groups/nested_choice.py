"""The best of several segmentations, scored on held-out images."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.core.groups.iou import mean_iou

__all__ = ["nested_choice"]

_CHUNK = 1 << 22


def nested_choice(counts: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean IoU of the best slot, chosen without the images that it is scored on, (T,) float64, and the choices (T, F).

    counts (S, b, 3, k) of each slot and image, weights (T, b) of images (bootstrap draws, or ones), folds (b,) 0 to F - 1.
    Each fold is scored with the slot that is best on the others; counts of all folds are summed before IoU is taken. An
    image that is drawn twice stays in one fold, so that it is never on both sides.
    """
    found = [_some(counts, part, folds) for part in np.array_split(weights, _parts(counts, weights))]
    return np.concatenate([score for score, _ in found]), np.concatenate([chosen for _, chosen in found])


def _parts(counts: np.ndarray, weights: np.ndarray) -> int:
    """The number of parts to split draws into, so that each holds about 4 million numbers."""
    return max(1, min(len(weights), len(weights) * counts[:, 0].size // _CHUNK))


def _some(counts: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    slots, images = counts.shape[:2]
    each = counts.transpose(1, 0, 2, 3).reshape(images, -1).astype(np.float64)  # (b, S * 3 * k)
    shape = (len(weights), slots, *counts.shape[2:])
    whole = (weights @ each).reshape(shape)
    total = np.zeros((len(weights), *counts.shape[2:]))
    draws, choices = np.arange(len(weights)), []
    for fold in range(int(folds.max()) + 1):
        mine = folds == fold
        inside = (weights[:, mine] @ each[mine]).reshape(shape)
        chosen = np.nan_to_num(mean_iou(whole - inside), nan=-1).argmax(1)  # (T,)
        total += inside[draws, chosen]
        choices.append(chosen)
    return mean_iou(total), np.stack(choices, 1)
