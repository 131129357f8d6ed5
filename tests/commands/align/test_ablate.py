"""`align --ablate`: one alignment a weight, the table of brain scores and oracle segmentation, and what it refuses."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import jaccard_score
from sklearn.metrics.pairwise import cosine_similarity

from alignedcut_cli.datasets.samples import sample_data
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.helpers.aligning import FIRST, Made, image_entries, latents, make_world, refused, whole, write_made
from tests.helpers.reference import dense_cut

PICTURES = 8
SEEN = Made({0: 8, 1: 12}, grid=(4, 6), class_token=True, seed=FIRST.seed, model="first")
"""The slots of FIRST, on pictures with masks."""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The made-up world with features/seen of 8 pictures, and masks/ of two classes that the features hold."""
    make_world(tmp_path)
    images = image_entries([f"picture-{number}.jpg" for number in range(PICTURES)])
    values = {layer: SEEN.values(images, layer) for layer in SEEN.widths}
    (tmp_path / "masks").mkdir()
    for number in range(PICTURES):
        mask = np.zeros((8, 12), np.uint8)
        mask[2:6, number % 4 : number % 4 + 6] = 3
        Image.fromarray(mask).save(tmp_path / "masks" / f"picture-{number}.png")
        inside = (mask[::2, ::2] == 3).reshape(-1)
        for layer, array in values.items():
            array[number, 1:][inside] += 9 * np.sign(np.arange(array.shape[-1]) % 3 - 1) * (1 + layer)
    write_made(Project(tmp_path / "study"), "seen", SEEN, images, values=values)
    return tmp_path


def ablate(cli: Cli, world: Path, values: str, *options: object, study: str = "study") -> Run:
    words = () if "--from" in options else ("--from", "first")
    place = ("--epochs", 2, "--name", "w", "-p", world / study)
    return cli("align", "--brain", world / "responses.csv", *words, "--ablate", f"eigen={values}", *options, *place)


def test_one_artifact_a_weight_and_a_table(cli: Cli, world: Path) -> None:
    run = ablate(cli, world, "1,0.1,0", "--json", "-q")
    assert (run.status, run.err) == (0, "")
    found = run.object
    assert found["schema"] == "alignedcut.ablation/1"
    names = ["w-eigen-1", "w-eigen-0.1", "w-eigen-0"]
    assert [one["name"] for one in found["artifacts"]] == names
    assert [row["eigen"] for row in found["rows"]] == ["1", "0.1", "0"]
    study = Project(world / "study")
    assert study.names("align") == sorted(names)
    for name, row in zip(names, found["rows"], strict=True):
        header = study.header("align", name)
        assert header.params["eigen"] == float(row["eigen"])
        assert row["R2 all"] == header.raw["rois"][-1]["r2.test"]
    with Path(found["table"]).open(newline="") as stream:
        cells = list(csv.reader(stream))
    assert Path(found["table"]) == world / "study/pictures/align/w-eigen/table.csv"
    assert cells[0] == ["eigen", "R2 all"]
    assert cells[1:] == [[row["eigen"], f"{row['R2 all']:.3f}"] for row in found["rows"]]
    assert list(check_project(study, deep=True)) == []


def test_a_row_of_the_table_is_what_align_makes_alone(cli: Cli, world: Path) -> None:
    assert ablate(cli, world, "0.5", "-q").status == 0
    run = cli("align", "--brain", world / "responses.csv", "--from", "first", "--eigen", 0.5, "--epochs", 2,
              "--name", "alone", "--no-pictures", "-p", world / "study", "--json")  # fmt: skip
    assert run.object["content"] == Project(world / "study").header("align", "w-eigen-0.5").content
    assert run.object["recipe"] == Project(world / "study").header("align", "w-eigen-0.5").recipe


def test_again_and_with_one_value_more(cli: Cli, world: Path) -> None:
    first = ablate(cli, world, "1,0", "--json").object
    again = ablate(cli, world, "1,0,0.1", "--json")
    assert [one["made"] for one in first["artifacts"]] == [True, True]
    assert [one["made"] for one in again.object["artifacts"]] == [False, False, True]
    assert again.object["rows"][:2] == first["rows"]
    assert "align/w-eigen-1 is up to date" in again.err
    refused(ablate(cli, world, "1,0", "--seed", 4, "--json", "-q"), 73, "output-exists")
    assert ablate(cli, world, "1,0", "--seed", 4, "--overwrite").status == 0


def test_a_dry_run_names_what_would_be_written(cli: Cli, world: Path) -> None:
    before = sorted(world.rglob("*"))
    planned = ablate(cli, world, "1,0", "--dry-run", "--json").object
    assert [Path(one["path"]).stem for one in planned["outputs"]] == ["w-eigen-1", "w-eigen-0"]
    assert sorted(world.rglob("*")) == before


# segmentation


def oracle(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Oracle mIoU (paper, C.4): the best of ten thresholds, by scikit-learn."""
    classes = sorted(set(labels.tolist()))
    centres = np.stack([vectors[labels == one].mean(0) for one in classes])
    cosines = cosine_similarity(vectors, centres)
    scores = []
    for threshold in np.linspace(0, 1, 10):
        given = np.where(cosines.max(1) < threshold, 0, np.array(classes)[cosines.argmax(1)])
        scores.append(jaccard_score(labels, given, labels=classes, average="macro", zero_division=0))
    return max(scores)


def expected_scores(world: Path, transforms: Mapping[int, np.ndarray] | None) -> list[float]:
    """The oracle mIoU of each slot: its tokens cut alone by a dense eigendecomposition, patches against the masks."""
    masks = [np.array(Image.open(world / f"masks/picture-{number}.png")) for number in range(PICTURES)]
    labels = np.stack([[[np.bincount(mask[r : r + 2, c : c + 2].reshape(-1)).argmax() for c in range(0, 12, 2)]
                        for r in range(0, 8, 2)] for mask in masks])  # fmt: skip
    scores = []
    for layer in (0, 1):
        tokens = whole(world / "study", "seen", f"tokens.{layer:02d}")
        nodes = tokens.reshape(-1, tokens.shape[-1])
        nodes = nodes if transforms is None else nodes @ transforms[layer]
        _, vectors = dense_cut(torch.from_numpy(nodes), 10)
        patches = vectors.numpy().reshape(PICTURES, 25, 10)[:, 1:].reshape(-1, 10)
        scores.append(oracle(patches, labels.reshape(-1)))
    return scores


def test_the_segmentation_of_raw_and_aligned_features(cli: Cli, world: Path) -> None:
    run = ablate(cli, world, "1,0", "--masks", world / "masks", "--segment", "features/seen", "--json", "-q")
    assert (run.status, run.err) == (0, "")
    rows = run.object["rows"]
    assert [row["eigen"] for row in rows] == ["raw", "1", "0"]
    assert rows[0].keys() == {"eigen", "mIoU first", "mIoU all"}
    assert rows[1].keys() == {"eigen", "R2 all", "mIoU first", "mIoU all"}
    for row in rows:
        found = None if row["eigen"] == "raw" else load_file(world / f"study/align/w-eigen-{row['eigen']}.safetensors")
        transforms = found and {layer: found[f"transform.{layer:03d}"] for layer in (0, 1)}
        assert row["mIoU all"] == row["mIoU first"]
        assert row["mIoU all"] == pytest.approx(np.mean(expected_scores(world, transforms)), abs=0.02)
    assert rows[0]["mIoU all"] > 0.8
    with Path(run.object["table"]).open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    assert [row["R2 all"] == "" for row in cells] == [True, False, False]
    again = ablate(cli, world, "1,0", "--masks", world / "masks", "--segment", "features/seen", "--json", "-q").object
    assert again["rows"] == rows


def test_models_have_columns_of_their_own(cli: Cli, world: Path) -> None:
    project, model = Project(world / "study"), Made({0: 9}, grid=(2, 3), seed=9, model="third")
    write_made(project, "third", model)
    images = project.header("features", "seen").axes["B"]["images"]
    write_made(project, "third-seen", replace(model, grid=(4, 3)), images)
    run = ablate(cli, world, "1", "--from", "first", "--from", "third", "--masks", world / "masks",
                 "--segment", "seen", "--segment", "third-seen", "--json", "-q")  # fmt: skip
    assert run.status == 0, run.err
    for row in run.object["rows"]:
        assert row["mIoU all"] == pytest.approx((2 * row["mIoU first"] + row["mIoU third"]) / 3)


def test_only_layers_that_are_aligned_are_segmented(cli: Cli, world: Path) -> None:
    masks = ("--masks", world / "masks", "--segment", "seen")
    one = ablate(cli, world, "1", "--layers", 1, *masks, "--json", "-q")
    assert one.status == 0, one.err
    both = ablate(cli, world, "1", *masks, "--overwrite", "--json", "-q").object["rows"][0]["mIoU all"]
    alone = expected_scores(world, None)
    assert one.object["rows"][0]["mIoU all"] == pytest.approx(alone[1], abs=0.02)
    assert both == pytest.approx(np.mean(alone), abs=0.02)


def test_scenes_and_their_masks(cli: Cli, brain_study: Path, brain_folder: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(brain_study, tmp_path / "study"))
    options = ("--from", "seen", "--layers", "2,5", "--segment", "scenes", "--masks", sample_data() / "scenes/category")
    run = cli("align", "--brain", brain_folder, *options, "--ablate", "eigen=1,0", "--epochs", 1, "-p", study, "--json")
    assert run.status == 0, run.err
    assert [row["eigen"] for row in run.object["rows"]] == ["raw", "1", "0"]
    assert all(0 < row["mIoU test_vit"] <= 1 for row in run.object["rows"])
    assert {"R2 V1", "R2 EBA", "R2 all"} <= run.object["rows"][1].keys()


# refusals, before anything is aligned


def require_nothing_made(world: Path) -> None:
    assert Project(world / "study").names("align") == []
    assert not (world / "study/pictures").exists()


def segment(cli: Cli, world: Path, name: str = "seen", *options: object) -> Run:
    return ablate(cli, world, "1,0", "--masks", world / "masks", "--segment", name, "--json", "-q", *options)


def test_masks_that_cannot_be(cli: Cli, world: Path) -> None:
    path = world / "masks/picture-3.png"
    good = path.read_bytes()
    path.unlink()
    assert "picture-3.jpg" in refused(segment(cli, world), 66, "masks-missing")["message"]
    Image.new("RGB", (12, 8), "red").save(path)
    assert "mode RGB" in refused(segment(cli, world), 65, "bad-mask")["message"]
    Image.new("L", (8, 12)).save(path)
    assert "8 x 12, its image 12 x 8" in refused(segment(cli, world), 65, "bad-mask")["message"]
    path.write_bytes(good[: len(good) // 2])
    refused(segment(cli, world), 65, "bad-mask")
    require_nothing_made(world)
    path.write_bytes(good)
    assert segment(cli, world).status == 0
    for mask in path.parent.iterdir():
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    refused(segment(cli, world), 66, "masks-missing")
    assert segment(cli, world, "seen", "--mask-suffix", "_mask").status == 0


def test_feature_sets_that_cannot_be_segmented(cli: Cli, world: Path) -> None:
    project = Project(world / "study")
    images = project.header("features", "seen").axes["B"]["images"]
    refused(segment(cli, world, "none"), 66, "artifact-missing")
    refused(segment(cli, world, "cut/seen"), 2, "wrong-kind")
    write_made(project, "few", replace(SEEN, tokens="sample:4"), images)
    refused(segment(cli, world, "few"), 65, "tokens-missing")
    write_made(project, "stranger", replace(SEEN, seed=77), images)
    refused(segment(cli, world, "stranger"), 2, "not-aligned")
    write_made(project, "turned", replace(SEEN), images, order=list(range(PICTURES))[::-1])
    refused(segment(cli, world, "seen", "--segment", "turned"), 65, "other-images")
    require_nothing_made(world)


def test_sets_of_other_orders_are_not_segmented_by_the_masks_of_the_first(cli: Cli, world: Path) -> None:
    """Without --segment the sets of --from are: aligning takes any order of images, segmenting one."""
    project = Project(world / "study")
    images: list[dict[str, Any]] = list(project.header("features", "first").axes["B"]["images"])
    write_made(project, "turned", Made({0: 8}, seed=5, model="other"), images, order=list(range(40))[::-1])
    for image in images:
        colour = int(latents(image["path"])[0] > 0)
        Image.new("L", (12, 8), colour).save(world / "masks" / f"{Path(image['path']).stem}.png")
    both = ("--from", "first", "--from", "turned", "--masks", world / "masks", "--json", "-q")
    refused(ablate(cli, world, "1", *both), 65, "other-images")
    require_nothing_made(world)
    assert ablate(cli, world, "1", "--from", "first", "--masks", world / "masks", "-q").status == 0
