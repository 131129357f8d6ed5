"""Synthetic data for the tests of `segment`: pictures with masks of two classes, and features that encode them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import jaccard_score

from alignedcut_cli.main import main
from alignedcut_cli.store.project import Project
from tests.helpers.aligning import Made, image_entries, write_made

PICTURES, SIZE = 8, (8, 12)
FIRST = Made({0: 8, 1: 8}, grid=(4, 6), class_token=True, seed=1, model="first")
SECOND = Made({2: 10}, grid=(2, 3), seed=2, model="second")


def image_list(count: int = PICTURES) -> list[dict[str, Any]]:
    return image_entries([f"picture-{number}.jpg" for number in range(count)])


def mask_of(number: int) -> np.ndarray:
    """A mask (8, 12): class 3 above, class 7 below, void at the left edge of every other picture."""
    mask = np.zeros(SIZE, np.uint8)
    mask[1:4, number % 4 : number % 4 + 5] = 3
    mask[5:8, number % 3 + 2 : number % 3 + 9] = 7
    if number % 2:
        mask[:, 0] = 255
    return mask


def make_scenes(folder: Path) -> Path:
    """study/ with cuts first and second (per slot) and joint (of first), and masks/ of the 8 pictures."""
    project, images = Project(folder / "study").create(), image_list()
    (folder / "masks").mkdir(parents=True)
    for number in range(PICTURES):
        Image.fromarray(mask_of(number)).save(folder / "masks" / f"picture-{number}.png")
    for name, made in (("first", FIRST), ("second", SECOND)):
        values = {layer: made.values(images, layer) for layer in made.widths}
        for number in range(PICTURES):
            rows, columns = SIZE[0] // made.grid[0], SIZE[1] // made.grid[1]
            cells = mask_of(number)[::rows, ::columns].reshape(-1)
            for layer, array in values.items():
                draws = np.random.default_rng(layer)
                for one in (0, 3, 7):
                    array[number, made.class_token :][cells == one] += 12 * draws.standard_normal(array.shape[-1])
        write_made(project, name, made, images, values=values)
    place = ("-C", "10", "-p", str(folder / "study"), "-q")
    assert main(["cut", "--from", "first", "--per-slot", "--name", "first", *place]) == 0
    assert main(["cut", "--from", "second", "--per-slot", "--name", "second", *place]) == 0
    assert main(["cut", "--from", "first", "--name", "joint", *place]) == 0
    return folder


def slow_oracle(
    patches: np.ndarray,
    masks: list[np.ndarray],
    background: int | None,
    *,
    area: bool = False,
    mode: str = "bilinear",
    thresholds: int = 10,
) -> list[float]:
    """mIoU at each threshold by C.4, with torch's interpolation and scikit-learn's Jaccard index.

    `patches` (b, rows, cols, C) float64, `masks` (H, W) of class ids with -1 for void.
    """
    grid = patches.shape[1:3]
    classes = sorted({int(one) for mask in masks for one in np.unique(mask)} - {-1})
    weights = np.stack([[_cell_weights(mask, grid, one, classes, area) for one in classes] for mask in masks])
    centres = [(weights[:, k, ..., None] * patches).sum((0, 1, 2)) / weights[:, k].sum() for k in range(len(classes))]
    truths, similarities = [], []
    for vectors, mask in zip(patches, masks, strict=True):
        cosines = np.stack([vectors @ c / np.linalg.norm(vectors, axis=-1) / np.linalg.norm(c) for c in centres])
        how = {"mode": "bilinear", "align_corners": False} if mode == "bilinear" else {"mode": "nearest-exact"}
        large = torch.nn.functional.interpolate(torch.from_numpy(cosines)[None], size=mask.shape, **how)[0].numpy()
        truths.append(mask[mask >= 0])
        similarities.append(large[:, mask >= 0])
    truth, large = np.concatenate(truths), np.concatenate(similarities, 1)
    outside = -1 if background is None else background
    scores = []
    for threshold in np.linspace(0, 1, thresholds):
        made = np.where(large.max(0) < threshold, outside, np.array(classes)[large.argmax(0)])
        scores.append(jaccard_score(truth, made, labels=classes, average="macro", zero_division=0))
    return scores


def _cell_weights(mask: np.ndarray, grid: tuple[int, ...], one: int, classes: list[int], area: bool) -> np.ndarray:
    """(rows, cols) of one class, for grids that divide the mask evenly."""
    rows, columns = grid
    cells = mask.reshape(rows, mask.shape[0] // rows, columns, mask.shape[1] // columns)
    if area:
        return (cells == one).mean((1, 3))
    counts = np.stack([(cells == each).sum((1, 3)) for each in [-1, *classes]])
    return (counts.argmax(0) == 1 + classes.index(one)).astype(float)


def patches_of(tensors: dict[str, np.ndarray], slot: int, made: Made, images: int = PICTURES) -> np.ndarray:
    """The eigenvectors (B, rows, cols, C) float64 of a slot's patches."""
    mine = tensors["nodes"][:, 1] == slot
    tokens = tensors["eigenvectors"][mine].reshape(images, -1, tensors["eigenvectors"].shape[1])
    return tokens[:, made.class_token :].reshape(images, *made.grid, -1).astype(np.float64)
