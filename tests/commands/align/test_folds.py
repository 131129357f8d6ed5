"""`align --folds` and `--compare`: scores of images left out, their intervals, and paired differences of alignments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from alignedcut_cli.core.align import influence as module
from alignedcut_cli.core.align.influence import roi_scores
from alignedcut_cli.core.align.scores import r_squared
from tests.conftest import Cli, Run
from tests.helpers.aligning import IMAGES, make_world, refused


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("folds"))


def align(cli: Cli, world: Path, name: str, *options: object) -> Run:
    place = ("-p", world / "study", "--no-pictures", "--name", name, "--overwrite", "--epochs", 0)
    return cli("align", "--brain", world / "responses.csv", "--from", "first", *options, *place)


def rows_of(run: Run, key: str = "rois") -> dict[str, dict[str, Any]]:
    assert run.status == 0, run.err
    return {row["roi"]: row for row in run.object[key]}


def test_the_influence_of_an_image_is_that_of_leaving_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores without each image in a loop; one voxel is constant, one without image 3."""
    draws = np.random.default_rng(0)
    seen = draws.standard_normal((9, 5))
    seen[:, 4], seen[:, 3] = 2.0, np.eye(9)[3]
    made = seen + 0.5 * draws.standard_normal((9, 5))
    masks = torch.tensor([[True, True, False, False, True], [True] * 5])

    def scored(images: np.ndarray) -> np.ndarray:
        each = r_squared(torch.from_numpy(made[images]), torch.from_numpy(seen[images])).numpy()
        return np.array([each[mask].mean() for mask in masks.numpy()])

    score, influence = roi_scores(lambda part: torch.from_numpy(made)[:, part], torch.from_numpy(seen), masks)
    assert score.numpy() == pytest.approx(scored(np.arange(9)))
    without = np.array([scored(np.delete(np.arange(9), image)) for image in range(9)])  # (9, 2)
    assert influence.numpy() == pytest.approx((without.mean(0) - without).T * 8 / 9, abs=1e-9)
    monkeypatch.setattr(module, "_BLOCK", 2)
    again = roi_scores(lambda part: torch.from_numpy(made)[:, part], torch.from_numpy(seen), masks)
    torch.testing.assert_close(again[1], influence)


def test_every_image_is_scored_by_a_fit_without_it(cli: Cli, world: Path) -> None:
    run = align(cli, world, "crossed", "--folds", 3, "--json")
    arrays = load_file(world / "study/align/crossed.safetensors")
    plain = rows_of(align(cli, world, "plain", "--json"))
    for row in rows_of(run).values():
        assert row["r2.cv.low"] < row["r2.cv"] < row["r2.cv.high"]
        assert row["r2.test.low"] < row["r2.test"] < row["r2.test.high"]
        assert row["r2.cv"] < row["r2.train"]
        assert row["resampled"] == "95% t interval, images being independent"
        assert row["r2.test"] == plain[row["roi"]]["r2.test"] and "r2.cv" not in plain[row["roi"]]
    assert rows_of(run)["all"]["r2.cv.low"] > 0.1
    assert arrays["cv.influence"].shape[1] == IMAGES and len(arrays["tested"]) < IMAGES
    assert arrays["cv.influence"].sum(1) == pytest.approx(np.zeros(len(arrays["cv.influence"])), abs=1e-9)
    assert np.ptp(arrays["cv.influence"][-1]) > 0
    assert not list((world / "study/.alignedcut/kept").glob("**/*fold*"))


def test_differences_of_alignments_are_paired_over_images(cli: Cli, world: Path) -> None:
    align(cli, world, "wide", "--folds", 3)
    same = rows_of(align(cli, world, "again", "--folds", 3, "--compare", "align/wide", "--json"), "comparison")
    assert all((row["difference"], row["p"], row["images"]) == (0, 1, IMAGES) for row in same.values())
    narrow = rows_of(align(cli, world, "narrow", "--folds", 3, "--dim", 1, "--compare", "wide", "--json"), "comparison")
    row = narrow["all"]
    assert row["score"] == "r2.cv" and row["high"] < 0 and row["p"] <= row["p.holm"] < 0.05
    wide, own = (
        load_file(world / f"study/align/{name}.safetensors")["cv.influence"][-1] for name in ("wide", "narrow")
    )
    draws = np.random.default_rng(0).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), 4000) @ (own - wide)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(2 * draws.std(), rel=0.1)
    said = align(cli, world, "narrow", "--dim", 1, "--compare", "wide")
    assert "difference" in said.out and "images (test images)" in said.out
    assert said.out.splitlines()[-1].endswith("narrow.safetensors")


def test_what_cannot_be_compared_or_folded(cli: Cli, world: Path) -> None:
    align(cli, world, "base")
    other = align(cli, world, "odd", "--test-split", "even-odd", "--compare", "base", "--json")
    assert "different images" in refused(other, 65, "other-images")["message"]
    refused(align(cli, world, "x", "--compare", "nothing", "--json"), 66, "artifact-missing")
    refused(align(cli, world, "x", "--compare", "cut/base", "--json"), 2, "wrong-kind")
    refused(align(cli, world, "x", "--compare", "base", "--ablate", "eigen=1,0", "--json"), 2, "option-unused")
    refused(align(cli, world, "x", "--folds", IMAGES, "--json"), 2, "bad-folds")
