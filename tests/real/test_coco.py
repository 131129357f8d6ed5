"""COCO's own panoptic annotations beside class ids that were made from them by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.datasets.masks import read_mask
from alignedcut_cli.datasets.masks_coco import VOID, open_panoptic

pytestmark = pytest.mark.real


def test_panoptic_segments_have_the_classes_of_the_semantic_masks(real: Path) -> None:
    """Pixel by pixel, things and stuff: all agree, and void is where those masks are unlabelled (0)."""
    found = open_panoptic(real / "coco")
    assert (len(found.keys), found.names[1], found.names[200]) == (35, "person", "rug-merged")
    for key in found.keys:
        classes = found.load(key)
        np.testing.assert_array_equal(
            np.where(classes == VOID, 0, classes), read_mask(real / f"coco/semantic/{key}.png")
        )
