"""COCO annotations for tests: JSON files with the fields of the real ones, from masks of class ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VOID = 255


def content(names: Sequence[str], size: tuple[int, int], categories: Mapping[int, str]) -> dict[str, Any]:
    """The part that panoptic and instance files share; image n has the id 100 + n."""
    images = [
        {"id": 100 + number, "file_name": f"{name}.jpg", "height": size[0], "width": size[1], "license": 1}
        for number, name in enumerate(names)
    ]
    told = [{"id": one, "name": name, "isthing": 1, "supercategory": "all"} for one, name in categories.items()]
    return {"info": {}, "licenses": [], "images": images, "annotations": [], "categories": told}


def rgb(ids: np.ndarray) -> np.ndarray:
    """The colours (H, W, 3) that store segment ids: R + 256 G + 65536 B."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths of a bool mask, column by column, starting with pixels outside: counted one by one."""
    found, inside = [0], False
    for one in mask.T.reshape(-1).tolist():
        if one != inside:
            found.append(0)
            inside = one
        found[-1] += 1
    return found


def squares(mask: np.ndarray) -> list[list[float]]:
    """A polygon around each pixel of a bool mask."""
    return [[x, y, x + 1, y, x + 1, y + 1, x, y + 1] for y, x in np.argwhere(mask).tolist()]


def write_panoptic(
    file: Path, names: Sequence[str], masks: Sequence[np.ndarray], categories: Mapping[int, str]
) -> None:
    """panoptic.json and panoptic/NAME.png; the segment of class c has the id 70001 + c, void is segment 0."""
    whole = content(names, masks[0].shape, categories)
    (file.parent / file.stem).mkdir(parents=True, exist_ok=True)
    for number, (name, mask) in enumerate(zip(names, masks, strict=True)):
        ids = np.where(mask == VOID, 0, 70_001 + mask.astype(np.int64))
        Image.fromarray(rgb(ids)).save(file.parent / file.stem / f"{name}.png")
        segments = [
            {"id": int(one), "category_id": int(one) - 70_001, "iscrowd": 0, "area": int((ids == one).sum())}
            for one in np.unique(ids[ids > 0])
        ]
        whole["annotations"].append({"image_id": 100 + number, "file_name": f"{name}.png", "segments_info": segments})
    file.write_text(json.dumps(whole))


def write_instances(
    file: Path, names: Sequence[str], masks: Sequence[np.ndarray], categories: Mapping[int, str]
) -> None:
    """An instance for each class of each mask, polygons and run lengths alternately, and a crowd where the mask is void."""
    whole = content(names, masks[0].shape, categories)
    for number, mask in enumerate(masks):
        for one in sorted(set(np.unique(mask).tolist()) - {0}):
            there = mask == one
            counted = one == VOID or one % 2
            shape = {"size": list(mask.shape), "counts": runs(there)} if counted else squares(there)
            whole["annotations"].append({
                "id": len(whole["annotations"]) + 1, "image_id": 100 + number, "segmentation": shape,
                "category_id": 1 if one == VOID else one, "iscrowd": int(one == VOID), "area": float(there.sum()),
            })  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole))
