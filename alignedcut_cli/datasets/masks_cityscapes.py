"""Cityscapes' naming: which file holds the class ids of a photograph, and the names of the ids."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from alignedcut_cli.datasets.mask_sets import named
from alignedcut_cli.errors import UsageError

__all__ = ["PHOTOGRAPH", "cityscapes_names", "cityscapes_suffix"]

PHOTOGRAPH = "_leftImg8bit"
_FILE = re.compile(r".*(_gt(?:Fine|Coarse)_(?:color|instanceIds|instanceTrainIds|label(?:Train)?Ids))", re.DOTALL)
_LABELS = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan",
    "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
_TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def cityscapes_suffix(folder: Path, stems: Collection[str]) -> str | None:
    """The suffix of the label files in a folder whose PNGs are all named as in Cityscapes, such as _gtFine_labelIds.

    None for other folders. Raises UsageError if there are two kinds of ids.
    """
    found = [_FILE.fullmatch(stem) for stem in stems]
    kinds = sorted({one[1] for one in found if one and one[1].endswith(("_labelIds", "_labelTrainIds"))})
    if not kinds or None in found:
        return None
    if len(kinds) > 1:
        raise UsageError("which-masks", f"{folder} holds {named(kinds)}", "Choose one: --mask-suffix " + kinds[0])
    return kinds[0]


def cityscapes_names(suffix: str) -> dict[int, str]:
    """The names of the ids in files that end in `suffix`; {} for suffixes that are not Cityscapes'.

    The licence plate, -1, is not in the PNGs.
    """
    if not _FILE.fullmatch(suffix):
        return {}
    if suffix.endswith("_labelIds"):
        return dict(enumerate(_LABELS))
    return {number: _LABELS[one] for number, one in enumerate(_TRAINED)} if suffix.endswith("_labelTrainIds") else {}
