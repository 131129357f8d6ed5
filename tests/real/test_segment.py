"""Real photographs and real weights: figures part from ground before categories part from each other (paper, Fig. 5)."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.datasets.class_names import read_names
from alignedcut_cli.datasets.masks import read_mask
from alignedcut_cli.main import main
from tests.conftest import REAL, Cli

pytestmark = pytest.mark.real

MODELS = {"deit": "deit_tiny_patch16_224.fb_in1k", "augreg": "vit_tiny_patch16_224.augreg_in21k_ft_in1k"}
FIGURE, CATEGORY = 0.65, 0.43
STUFF, UNLABELLED = "92-200", "0"
THINGS = range(1, 91)


@pytest.fixture(scope="module")
def panoptic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 35 photographs of which every pixel is labelled as thing or stuff: images/, masks/."""
    if not REAL.is_dir():
        pytest.skip("real photographs and weights are not here (../shared/real)")
    folder = tmp_path_factory.mktemp("panoptic")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for path in sorted((REAL / "coco/panoptic").glob("*.png")):
        shutil.copy(REAL / f"coco/images/{path.stem}.jpg", folder / "images")
        shutil.copy(REAL / f"coco/semantic/{path.name}", folder / "masks")
    return folder


def commonest_things(masks: Path, count: int = 6) -> list[int]:
    """The things that cover the most pixels."""
    pixels: Counter[int] = Counter()
    for path in masks.iterdir():
        for one, number in zip(*np.unique(read_mask(path), return_counts=True), strict=True):
            pixels[int(one)] += int(number) if one in THINGS else 0
    return [one for one, _ in pixels.most_common(count)]


def best_layers(cli: Cli, panoptic: Path, study: Path, name: str, *options: object) -> dict[str, tuple[int, float]]:
    """{cut: (layer, mIoU)} of the best slot."""
    run = cli("segment", "--masks", panoptic / "masks", "--names", REAL / "coco/categories.json", "--background", STUFF,
              "--ignore", UNLABELLED, "--from", "deit", "--from", "augreg", "--name", name, *options, "-p", study,
              "--bootstrap", 0, "--no-pictures", "--json")  # fmt: skip
    assert run.status == 0, run.err
    best = {}
    for cut in MODELS:
        row = max((row for row in run.object["rows"] if row["cut"] == cut), key=lambda row: row["miou"])
        best[cut] = (row["layer"], row["miou"])
    print(name, best)
    return best


@pytest.mark.parametrize(("tap", "layers"), [("attn", "4,6,9"), ("block", "1,3,5,7,8,10")])
def test_figures_part_from_ground_before_categories(
    cli: Cli, panoptic: Path, tmp_path: Path, tap: str, layers: str
) -> None:
    """On some layers, for time. The residual stream keeps the order in both models; attention output ties in AugReg."""
    words = [word for name, model in MODELS.items() for word in ("-m", model, "--name", name)]
    words += [word for model in MODELS.values() for word in ("--weights", str(REAL / f"weights/{model}.safetensors"))]
    place = ("-p", str(tmp_path), "-q")
    assert main(["extract", str(panoptic / "images"), *words, "--tap", tap, "--layers", layers, *place]) == 0
    for name in MODELS:
        assert (
            main(["cut", "--from", name, "--per-slot", "--solver", "lowrank", "-C", "10", "--name", name, *place]) == 0
        )
    figure = best_layers(cli, panoptic, tmp_path, "figure", "--merge", "figure-ground")
    things = commonest_things(panoptic / "masks")
    names = read_names(REAL / "coco/categories.json")
    assert {names[one] for one in things} == {"person", "pizza", "bowl", "motorcycle", "dining table", "bear"}
    category = best_layers(cli, panoptic, tmp_path, "six", "--classes", ",".join(map(str, things)))
    for cut in MODELS:
        assert figure[cut][1] >= FIGURE
        assert category[cut][1] >= CATEGORY
        assert figure[cut][0] < category[cut][0] or (tap == "attn" and figure[cut][0] <= category[cut][0])
