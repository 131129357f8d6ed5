"""The small world: figures and categories are found in the layers of networks that learned them, and not in random ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from alignedcut_cli.datasets.samples import sample_data, sample_models
from alignedcut_cli.main import main
from tests.conftest import Cli

FIGURE, CATEGORY, GAIN = 0.65, 0.35, 0.10


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with cuts of three slots of tiny-clip, trained and at random initialisation, on all 64 scenes."""
    folder = tmp_path_factory.mktemp("world")
    torch.manual_seed(0)
    untrained = timm.create_model(f"local-dir:{sample_models()['tiny-clip']}", pretrained=False)
    save_file(untrained.state_dict(), folder / "random.safetensors")
    scenes, place = str(sample_data() / "scenes/images"), ("-p", str(folder / "study"), "-q")
    weights = ("--weights", str(folder / "random.safetensors"))
    for name, more in (("trained", ()), ("random", weights)):
        assert main(["extract", scenes, "-m", "tiny-clip", "--name", name, *more, *place]) == 0
        assert main(["cut", "--from", name, "--layers", "1,4,5", "--per-slot", "-C", "10", "--name", name, *place]) == 0
    return folder / "study"


def curves(cli: Cli, study: Path, target: str) -> dict[str, dict[int, float]]:
    """mIoU of each layer, of both cuts."""
    scenes = sample_data() / "scenes"
    run = cli("segment", "--masks", scenes / "category", "--names", scenes / "names.json", "--from", "trained",
              "--from", "random", "--merge", "both", "-p", study, "--name", "both", "--no-pictures", "--json")  # fmt: skip
    assert run.status == 0, run.err
    assert run.object["classes"]["classes"][:3] == ["background", "face", "body"]
    rows = [row for row in run.object["rows"] if row["target"] == target]
    return {cut: {row["layer"]: row["miou"] for row in rows if row["cut"] == cut} for cut in ("trained", "random")}


def test_figures_and_categories_are_found_where_they_were_learned(cli: Cli, world: Path) -> None:
    figure, category = (curves(cli, world, target) for target in ("figure-ground", "classes"))
    print(figure, category)
    assert max(figure["trained"].values()) >= FIGURE
    assert max(category["trained"].values()) >= CATEGORY
    assert max(category["random"].values()) <= max(category["trained"].values()) - GAIN
    assert max(figure["random"].values()) < FIGURE


def test_figure_and_ground_part_before_categories(cli: Cli, world: Path) -> None:
    figure, category = (curves(cli, world, target)["trained"] for target in ("figure-ground", "classes"))
    assert max(figure, key=lambda layer: figure[layer]) < max(category, key=lambda layer: category[layer])
