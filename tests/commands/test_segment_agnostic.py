"""`alignedcut segment --method agnostic`: its JSON by COCO's own reader, its scores by hand, and what it refuses."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from alignedcut_cli.datasets.coco_shapes import covered
from alignedcut_cli.datasets.masks_coco import open_instances
from alignedcut_cli.store.artifact import load_tensors
from tests.conftest import Cli, Run
from tests.helpers.segmenting import PICTURES, SIZE, make_scenes, mask_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up world. Read only."""
    return make_scenes(tmp_path_factory.mktemp("agnostic"))


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "world"))


def decoded(runs: dict[str, Any]) -> np.ndarray:
    """The pixels (H, W) bool by COCO's own reader, which numpy 2 warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return coco.decode(runs).astype(bool)


def agnostic(cli: Cli, world: Path, *options: object) -> Run:
    run = cli("segment", "--method", "agnostic", "--from", "cut/first", *options, "-p", world / "study", "--json", "-q")
    assert run.status == 0, run.err
    return run


def test_masks_are_written_as_coco_reads_them(cli: Cli, world: Path) -> None:
    run = agnostic(cli, world, "--examples", 2)
    header, tensors = load_tensors(Path(run.object["path"]))
    folder = Path(run.object["pictures"])
    files = sorted(folder.glob("first/*.json"))
    assert len(files) == 2 and len(list(folder.glob("*.png"))) == 2 and (folder / "table.csv").is_file()
    for slot, file in enumerate(files):
        whole = json.loads(file.read_text())
        mine = tensors["proposals"][:, 1] == slot
        assert len(whole["annotations"]) == mine.sum() > PICTURES
        assert [one["id"] for one in whole["images"]] == list(range(1, PICTURES + 1))
        for number, one in zip(np.flatnonzero(mine), whole["annotations"], strict=True):
            pixels = decoded(one["segmentation"])
            assert (pixels == covered(one["segmentation"], *SIZE)).all(), "our own reader of COCO's text"
            assert one["image_id"] == tensors["proposals"][number, 0] + 1
            assert (one["area"], one["score"]) == (pixels.sum(), pytest.approx(tensors["scores"][number], abs=1e-5))
            cells = tensors["cells"][tensors["starts"][number] : tensors["starts"][number + 1]]
            grid = np.zeros((4, 6), bool)
            grid.reshape(-1)[cells] = True
            assert pixels[1::2, 1::2].shape == grid.shape and abs(pixels.mean() - grid.mean()) < 0.15
    masks = open_instances(files[0])
    assert masks.names[1] == "object" and set(np.unique(masks.load(masks.keys[0]))) <= {0, 1}
    assert (
        header.params["method"] == "agnostic"
        and "up to date" in cli("segment", "--method", "agnostic", "--from", "cut/first", "-p", world / "study").err
    )


def test_scores_are_those_of_the_masks_written(cli: Cli, world: Path) -> None:
    """Best IoU and recall by hand, from the JSON; regions of the classes 3 and 7, void left out."""
    run = agnostic(cli, world, "--masks", world / "masks", "--examples", 0)
    rows = run.object["rows"]
    files = sorted(Path(run.object["pictures"]).glob("first/*.json"))
    for row, file in zip(rows, files, strict=True):
        whole = json.loads(file.read_text())
        best = []
        for number in range(PICTURES):
            truth = mask_of(number)
            kept = truth != 255
            mine = [decoded(one["segmentation"]) for one in whole["annotations"] if one["image_id"] == number + 1]
            for kind in (3, 7):
                ious = [(m & kept & (truth == kind)).sum() / ((m | (truth == kind)) & kept).sum() for m in mine]
                best.append(max(ious))
        assert row["best IoU"] == pytest.approx(np.mean(best), abs=1e-6)
        assert row["interval"][0] <= row["best IoU"] <= row["interval"][1]
        assert row["recall at 100"] >= row["recall at 10"] >= row["recall at 1"]
        assert row["best IoU"] > 0.5, "the features hold the classes"


def test_instances_part_a_class(cli: Cli, world: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    for number in range(PICTURES):
        half = np.where(np.arange(SIZE[1]) < 6, 1, 2)
        Image.fromarray(np.where(mask_of(number) > 0, half, 0).astype(np.uint8)).save(numbers / f"picture-{number}.png")
    run = agnostic(cli, world, "--masks", world / "masks", "--instances", numbers, "--no-pictures")
    _, tensors = load_tensors(Path(run.object["path"]))
    wanted = {
        (number, kind, half)
        for number in range(PICTURES)
        for kind in (3, 7)
        for half in (1, 2)
        if ((mask_of(number) == kind) & (np.where(np.arange(SIZE[1]) < 6, 1, 2) == half)).any()
    }
    assert {tuple(one) for one in tensors["regions"][:, :3].tolist()} == wanted


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--clusters", 3), "option-unused"),
        (("--merge", "both"), "option-unused"),
        (("--ignore", "none"), "option-unused"),
        (("-C", 11), "too-many-eigenvectors"),
        (("--method", "oracle"), "masks-needed"),
        (("--method", "kway", "--instances", "x"), "option-unused"),
    ],
)
def test_what_has_no_use_is_refused(cli: Cli, world: Path, words: tuple[object, ...], code: str) -> None:
    run = cli("segment", "--method", "agnostic", "--from", "cut/first", *words, "-p", world / "study")
    assert run.status == 2 and f"[{code}, exit 2]" in run.err


def test_its_scores_are_exported_and_shown_on_a_page(cli: Cli, world: Path) -> None:
    agnostic(cli, world, "--masks", world / "masks", "--no-pictures")
    place = ("-p", world / "study")
    run = cli("show", "segment/first", "--table", "scores", "--export", world / "scores.csv", *place)
    assert run.status == 0, run.err
    head, *lines = (world / "scores.csv").read_text().splitlines()
    assert "best IoU" in head and len(lines) == 2
    run = cli("report", "--from", "segment/first", *place)
    assert run.status == 0, run.err
