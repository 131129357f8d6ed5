"""The simulated brain, whose truth is known: which layers, models and captions predict which area. Prints the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors
from sample_data.make.brain import write_brain

pytestmark = pytest.mark.benchmark

EARLY, LATE = ("V1", "V2", "V3", "V4"), ("EBA", "FBA", "OFA", "FFA", "OWFA", "VWFA")
LAYERS = 6


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Tensors of eReg of all blocks of tiny-clip and tiny-mae, regions, models."""
    folder = tmp_path_factory.mktemp("world")
    write_brain(folder / "brain", training=400, test=200)
    seen = [str(folder / f"brain/{kind}_split/{kind}_images") for kind in ("training", "test")]
    models = ["-m", "tiny-clip", "-m", "tiny-mae", "--name", "clip", "--name", "mae"]
    place = ["-p", str(folder / "study"), "-q"]
    assert main(["extract", *seen, *models, "--tap", "maps", "--modules", "blocks.?", *place]) == 0
    given = ["--brain", str(folder / "brain"), "--from", "clip", "--from", "mae", "--split", "given"]
    options = ["--metric", "ereg", "--roi", ",".join((*EARLY, *LATE)), "--bootstrap", "200", "--name", "world"]
    assert main(["score", *given, *options, *place]) == 0
    header, tensors = load_tensors(Path(folder / "study/score/world.safetensors"))
    return tensors, [one["region"] for one in header.axes["C"]["targets"]], list(header.axes["M"]["labels"])


def test_early_areas_follow_early_layers_and_category_areas_late_ones_of_the_model_that_knows_categories(
    scored: tuple[dict[str, np.ndarray], list[str], list[str]],
) -> None:
    tensors, regions, models = scored
    clip, mae = models.index("tiny-clip"), models.index("tiny-mae")
    for area in (*EARLY, *LATE):
        c = regions.index(area)
        best, score = tensors["best"][clip, c, 0], tensors["best.score"][:, c]
        share = score[clip] / tensors["ceiling"][c, 0, 1]
        told = f"block {best} r {score[clip]:.3f}, {100 * share:.0f} % of the ceiling"
        print(f"{area}: tiny-clip {told}; tiny-mae {score[mae]:.3f}")
        if area in EARLY:
            assert best <= 2 and abs(score[clip] - score[mae]) < 0.05 and share > 0.6
        else:
            assert best == LAYERS - 1 and score[clip] > score[mae] + 0.2 and share > 0.55
        assert tensors["best.p"][clip, c] < 0.02
