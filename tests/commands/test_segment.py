"""`alignedcut segment`: its scores against a slow reference, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, adjusted_rand_score, jaccard_score

from alignedcut_cli.datasets.masks import read_mask
from alignedcut_cli.datasets.open_masks import MASK_READERS
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.datasets.test_mask_readers import MAKERS
from tests.helpers.aligning import image_entries, refused, write_made
from tests.helpers.segmenting import FIRST, PICTURES, SECOND, image_list, make_scenes, mask_of, patches_of, slow_oracle
from tests.helpers.stores import snapshot


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up world. Read only."""
    return make_scenes(tmp_path_factory.mktemp("segmenting"))


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "world"))


def segment(cli: Cli, world: Path, *options: object) -> Run:
    source = () if "--from" in options else ("--from", "cut/first")
    return cli("segment", "--masks", world / "masks", *source, *options, "-p", world / "study", "--json", "-q")


def rows_of(run: Run, target: str = "classes") -> list[dict[str, Any]]:
    assert (run.status, run.err) == (0, "")
    return [row for row in run.object["rows"] if row["target"] == target]


def labels(merge: bool = False) -> list[np.ndarray]:
    """The masks as int64 with -1 for void; figure 1 if merged."""
    found = [np.where(mask_of(number) == 255, -1, mask_of(number).astype(int)) for number in range(PICTURES)]
    return [np.where(mask > 0, 1, mask) for mask in found] if merge else found


# scores


@pytest.mark.parametrize("to_pixels", ["bilinear", "nearest"])
@pytest.mark.parametrize("to_grid", ["majority", "area"])
def test_the_scores_are_those_of_a_slow_reference(cli: Cli, world: Path, to_grid: str, to_pixels: str) -> None:
    """Every slot, at every threshold but 1 (where rounding decides), per slot and jointly, classes and figure."""
    options = ("--to-grid", to_grid, "--to-pixels", to_pixels, "--merge", "both", "--eigenvectors", 5, "--no-pictures")
    for cut, shapes in (("first", [FIRST, FIRST]), ("second", [SECOND]), ("joint", [FIRST, FIRST])):
        run = segment(cli, world, "--from", cut, *options)
        tensors = load_file(world / f"study/cut/{cut}.safetensors")
        for target, merge in (("classes", False), ("figure-ground", True)):
            rows = rows_of(run, target)
            assert [row["layer"] for row in rows] == list(shapes[0].widths)
            for slot, row in enumerate(rows):
                patches = patches_of(tensors, slot, shapes[slot])[..., :5]
                wanted = slow_oracle(patches, labels(merge), 0, area=to_grid == "area", mode=to_pixels)
                np.testing.assert_allclose(row["curve"][:9], wanted[:9], atol=1e-6)
                assert row["miou"] == max(row["curve"]) == pytest.approx(np.mean(list(row["iou"].values())))
                assert row["threshold"] == pytest.approx(np.argmax(row["curve"]) / 9)
                assert row["interval"][0] <= row["interval"][1]


def test_classes_that_the_features_hold_are_found_and_random_eigenvectors_find_less(cli: Cli, world: Path) -> None:
    found = rows_of(segment(cli, world, "--no-pictures"))
    assert min(row["miou"] for row in found) > 0.6
    path = world / "study/cut/first.safetensors"
    tensors = load_file(path)
    shuffled = np.random.default_rng(0).permutation(patches_of(tensors, 0, FIRST).reshape(-1, 10))
    noise = slow_oracle(shuffled.reshape(PICTURES, 4, 6, 10), labels(), 0)
    assert max(noise) < 0.4


def test_figure_against_ground_is_the_same_as_masks_merged_by_hand(cli: Cli, world: Path) -> None:
    merged = rows_of(segment(cli, world, "--merge", "figure-ground", "--no-pictures"), "figure-ground")
    for number, mask in enumerate(labels(merge=True)):
        Image.fromarray(np.where(mask < 0, 255, mask).astype(np.uint8)).save(world / f"masks/picture-{number}.png")
    by_hand = rows_of(segment(cli, world, "--name", "by-hand", "--no-pictures"))
    assert [row["curve"] for row in merged] == [row["curve"] for row in by_hand]


def test_chosen_classes_leave_the_others_to_the_background(cli: Cli, world: Path) -> None:
    chosen = rows_of(segment(cli, world, "--classes", "7", "--no-pictures"))
    assert [set(row["iou"]) for row in chosen] == [{"background", "7"}] * 2
    as_ground = rows_of(segment(cli, world, "--background", "0-3", "--name", "ground", "--no-pictures"))
    assert [row["curve"] for row in chosen] == [row["curve"] for row in as_ground]


def test_void_is_what_ignore_says(cli: Cli, world: Path) -> None:
    run = segment(cli, world, "--ignore", "none", "--no-pictures")
    assert run.object["classes"] == {"classes": ["background", "3", "7", "255"]}
    without = rows_of(
        segment(cli, world, "--ignore", "0,255", "--background", "none", "--name", "void", "--no-pictures")
    )
    assert set(without[0]["iou"]) == {"3", "7"}
    masks = [np.where(np.isin(mask, (3, 7)), mask, -1) for mask in labels()]
    wanted = slow_oracle(patches_of(load_file(world / "study/cut/first.safetensors"), 0, FIRST), masks, None)
    np.testing.assert_allclose(without[0]["curve"][:9], wanted[:9], atol=1e-6)


def test_images_without_a_mask_are_counted_and_left_out(cli: Cli, world: Path) -> None:
    for number in (2, 5, 6):
        (world / f"masks/picture-{number}.png").unlink()
    run = cli(
        "segment", "--masks", world / "masks", "--from", "first", "--no-pictures", "-p", world / "study", "--json"
    )
    assert "3 of 8 images have no mask and are left out of the scores: picture-2.jpg, picture-5.jpg" in run.err
    assert run.object["images"] == {"scored": 5, "without_mask": 3}
    kept = [0, 1, 3, 4, 7]
    patches = patches_of(load_file(world / "study/cut/first.safetensors"), 1, FIRST)[kept]
    wanted = slow_oracle(patches, [labels()[number] for number in kept], 0)
    np.testing.assert_allclose(run.object["rows"][1]["curve"][:9], wanted[:9], atol=1e-6)


def test_several_cuts_come_in_one_figure_with_the_scores_of_each_alone(cli: Cli, world: Path) -> None:
    run = segment(cli, world, "--from", "first", "--from", "second", "--from", "joint")
    rows = rows_of(run)
    assert run.object["name"] == "first+second+joint"
    assert list(dict.fromkeys(row["line"] for row in rows)) == ["first (first)", "second (second)", "first (joint)"]
    for cut in ("first", "second", "joint"):
        alone = rows_of(segment(cli, world, "--from", cut, "--no-pictures"))
        assert [row["curve"] for row in alone] == [row["curve"] for row in rows if row["cut"] == cut]
    pictures = Path(run.object["pictures"])
    assert {"curves.png", "overlays-classes.png", "table.csv"} <= {path.name for path in pictures.iterdir()}
    with (pictures / "table.csv").open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    assert [float(cell["miou"]) for cell in cells] == [row["miou"] for row in rows]
    assert [float(cell["iou 7"]) for cell in cells] == [row["iou"]["7"] for row in rows]


# k-way


@pytest.mark.parametrize("discretise", ["rotation", "kmeans"])
def test_clusters_are_found_without_labels(cli: Cli, world: Path, discretise: str) -> None:
    options = ("--method", "kway", "--discretise", discretise, "--to-pixels", "nearest", "--no-pictures")
    run = segment(cli, world, "--from", "joint", *options)
    rows = rows_of(run)
    made = load_file(run.object["path"])
    clusters, nodes = made["classes.clusters"], made["nodes"]
    for slot, row in enumerate(rows):
        cells = clusters[(nodes[:, 1] == slot) & (nodes[:, 2] >= 0)].reshape(PICTURES, 4, 6)
        pixels = np.repeat(np.repeat(cells, 2, 1), 2, 2)
        truth = np.stack(labels())
        counted = truth >= 0
        assert row["rand"] == pytest.approx(adjusted_rand_score(truth[counted], pixels[counted]), abs=1e-6)
        given = np.append([0, 3, 7], -1)[made["classes.matched"][slot]][pixels]
        assert row["accuracy"] == pytest.approx(accuracy_score(truth[counted], given[counted]), abs=1e-6)
        wanted = jaccard_score(truth[counted], given[counted], average="macro", labels=[0, 3, 7])
        assert row["miou"] == pytest.approx(wanted, abs=1e-6)
        assert "threshold" not in row
    per_slot = rows_of(segment(cli, world, *options))
    assert min(row["miou"] for row in per_slot) > 0.55
    assert min(row["rand"] for row in per_slot) > 0.35
    assert list(check_project(Project(world / "study"), deep=True)) == []


def test_more_clusters_than_classes_leave_some_without_a_class(cli: Cli, world: Path) -> None:
    run = segment(cli, world, "--method", "kway", "--clusters", 5, "--merge", "both")
    assert run.status == 0, run.err
    made = load_file(run.object["path"])
    assert sorted(made["classes.matched"][0].tolist()) == [-1, -1, 0, 1, 2]
    assert made["figure-ground.contingency"].shape == (2, 5, 2)
    assert (Path(run.object["pictures"]) / "overlays-figure-ground.png").is_file()


# what is written


def stored(world: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of the project but the machine's own."""
    return {path: found for path, found in snapshot(world / "study").items() if not path.startswith(".alignedcut")}


def test_the_artifact_is_whole_and_made_once(cli: Cli, world: Path) -> None:
    first = segment(cli, world, "--merge", "both")
    assert first.object["made"] and first.object["schema"] == "alignedcut.segment/1"
    assert list(check_project(Project(world / "study"), deep=True)) == []
    header = Project(world / "study").header("segment", "first")
    for name, entry in header.raw["tensors"].items():
        assert entry["meaning"] and len(entry["axes"].split()) == len(entry["shape"]), name
    before = stored(world)
    again = segment(cli, world, "--merge", "both")
    assert not again.object["made"]
    assert stored(world) == before
    assert {**again.object, "made": True} == first.object
    shutil.rmtree(world / "study/pictures")
    segment(cli, world, "--merge", "both")
    assert {path: content for path, (_, content) in stored(world).items()} == {
        path: content for path, (_, content) in before.items()
    }
    assert segment(cli, world, "--overwrite", "--merge", "both", "--thresholds", 5).object["made"]


def test_another_way_to_draw_draws_again_and_makes_nothing(cli: Cli, world: Path) -> None:
    pictures = Path(segment(cli, world).object["pictures"])
    assert len(list(pictures.glob("predicted/**/*.png"))) == PICTURES
    run = segment(cli, world, "--predicted", "all", "--examples", 0)
    assert not run.object["made"]
    assert len(list(pictures.glob("predicted/**/*.png"))) == 2 * PICTURES
    assert not (pictures / "overlays-classes.png").exists()
    segment(cli, world, "--predicted", "none")
    assert not (pictures / "predicted").exists() and (pictures / "overlays-classes.png").exists()


def test_other_masks_are_another_recipe(cli: Cli, world: Path) -> None:
    segment(cli, world, "--no-pictures")
    changed = mask_of(0)
    changed[0, 0] = 7
    Image.fromarray(changed).save(world / "masks/picture-0.png")
    refused(segment(cli, world, "--no-pictures"), 73, "output-exists")


def test_other_names_are_another_recipe(cli: Cli, world: Path) -> None:
    segment(cli, world, "--no-pictures")
    (world / "masks/names.txt").write_text("0 ground\n3 cat\n7 dog\n")
    refused(segment(cli, world, "--no-pictures"), 73, "output-exists")
    named = segment(cli, world, "--no-pictures", "--overwrite").object
    assert named["classes"] == {"classes": ["ground", "cat", "dog"]}


@pytest.mark.parametrize("dataset", MASK_READERS)
def test_every_reader_serves_the_command(cli: Cli, tmp_path: Path, dataset: str) -> None:
    path, names, masks = MAKERS[dataset](tmp_path / "data")
    images = [{**one, "width": 9, "height": 6} for one in image_entries([*names, "unlabelled.jpg"])]
    write_made(Project(tmp_path / "study").create(), "seen", SECOND, images)
    assert cli("cut", "--from", "seen", "-C", 6, "-p", tmp_path / "study").status == 0
    run = cli("segment", "--dataset", dataset, "--masks", path, "--eigenvectors", 6, "-p", tmp_path / "study", "--json")
    assert run.status == 0, run.err
    assert run.object["images"] == {"scored": 3, "without_mask": 1}
    present = set(np.unique(np.stack(masks)).tolist()) - {255}
    assert len(run.object["rows"][0]["iou"]) == len(present)
    patches = patches_of(load_file(tmp_path / "study/cut/seen.safetensors"), 0, SECOND, 4)[:3]
    truth = [np.where(mask == 255, -1, mask.astype(int)) for mask in masks]
    if dataset == "imagenet-seg":
        np.testing.assert_allclose(run.object["rows"][0]["curve"][:9], slow_oracle(patches, truth, 0)[:9], atol=1e-6)


def test_predicted_masks_are_read_back_with_the_reported_score(cli: Cli, world: Path) -> None:
    run = segment(cli, world)
    best = max(rows_of(run), key=lambda row: row["miou"])
    folder = Path(run.object["pictures"]) / f"predicted/classes/first/first-attn-layer-{best['layer']}"
    made = np.stack([read_mask(folder / f"picture-{number}.png") for number in range(PICTURES)])
    truth = np.stack(labels())
    assert set(np.unique(made)) <= {0, 3, 7}
    score = jaccard_score(truth[truth >= 0], made[truth >= 0], average="macro", labels=[0, 3, 7])
    assert best["miou"] == pytest.approx(score, abs=1e-6)


def test_the_stored_predictions_are_those_of_the_patches(cli: Cli, world: Path) -> None:
    """With nearest, a pixel has the class of its patch."""
    run = segment(cli, world, "--to-pixels", "nearest", "--predicted", "all")
    made = load_file(run.object["path"])
    for slot in (0, 1):
        mine = (made["nodes"][:, 1] == slot) & (made["nodes"][:, 2] >= 0)
        cells = made["classes.predicted"][mine].reshape(PICTURES, 4, 6)
        folder = Path(run.object["pictures"]) / f"predicted/classes/first/first-attn-layer-{slot}"
        for number in range(PICTURES):
            pixels = np.array([0, 3, 7])[np.repeat(np.repeat(cells[number], 2, 0), 2, 1)]
            np.testing.assert_array_equal(read_mask(folder / f"picture-{number}.png"), pixels)
    assert (made["classes.predicted"][made["nodes"][:, 2] < 0] == -1).all()


def test_masks_by_their_suffix(cli: Cli, world: Path) -> None:
    plain = segment(cli, world, "--no-pictures").object
    for mask in (world / "masks").glob("*.png"):
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    refused(segment(cli, world, "--no-pictures"), 65, "no-mask")
    again = segment(cli, world, "--no-pictures", "--mask-suffix", "_mask").object
    assert (again["recipe"], again["made"]) == (plain["recipe"], False)
    refused(segment(cli, world, "--dataset", "voc", "--mask-suffix", "_mask"), 2, "option-unused")


def test_a_dry_run_names_what_would_be_written(cli: Cli, world: Path) -> None:
    before = snapshot(world)
    planned = segment(cli, world, "--dry-run").object
    assert planned["schema"] == "alignedcut.dry-run/1"
    assert planned["outputs"][0]["path"] == str(world / "study/segment/first.safetensors")
    assert planned["memory"] > 0
    assert snapshot(world) == before


def test_seeds_and_draws_of_the_interval(cli: Cli, world: Path) -> None:
    first = rows_of(segment(cli, world, "--no-pictures"))
    other = rows_of(segment(cli, world, "--seed", 1, "--name", "other", "--no-pictures"))
    none = rows_of(segment(cli, world, "--bootstrap", 0, "--name", "none", "--no-pictures"))
    assert first[0]["curve"] == other[0]["curve"] == none[0]["curve"]
    assert first[0]["interval"] != other[0]["interval"]
    assert none[0]["interval"] is None


def test_layers_and_models_are_compared_on_the_same_images(cli: Cli, world: Path) -> None:
    found = segment(cli, world, "--from", "cut/first", "--from", "cut/second", "--bootstrap", 200).object
    lines = {row["line"]: [one for one in found["rows"] if one["line"] == row["line"]] for row in found["rows"]}
    assert [row["line"] for row in found["best"]] == list(lines)
    for row in found["best"]:
        scores = {one["layer"]: one["miou"] for one in lines[row["line"]]}
        assert row["miou"] == pytest.approx(max(scores.values()), abs=1e-6) == scores[row["layer"]]
        assert row["low"] <= row["nested"] <= row["high"] and 0 < row["share"] <= 1
        assert row["resampled"] == "95% percentile interval, 200 draws of images"
    for row in found["differences"]:
        assert row["low"] <= row["difference"] <= row["high"] and row["p"] <= row["p.holm"] <= 1
        if row["line"] in lines:
            scores = {f"layer {one['layer']}": one["miou"] for one in lines[row["line"]]}
            assert row["difference"] == pytest.approx(scores[row["first"]] - scores[row["second"]], abs=1e-6)
    folder = Path(found["pictures"])
    with (folder / "differences.csv").open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [row["second"] for row in written] == [row["second"] for row in found["differences"]]
    assert sum(row["line"] == "curves" for row in written) == len(lines) * (len(lines) - 1) // 2
    none = segment(cli, world, "--bootstrap", 0, "--name", "none", "--no-pictures").object
    assert (none["best"], none["differences"]) == ([], [])


def test_the_table_for_people(cli: Cli, world: Path) -> None:
    run = cli("segment", "--masks", world / "masks", "--from", "first", "--no-pictures", "-p", world / "study")
    assert run.status == 0, run.err
    lines = run.out.splitlines()
    assert lines[0] == "classes (3): background, 3, 7"
    assert lines[1].split() == ["line", "layer", "mIoU", "95%", "accuracy", "threshold"]
    assert sum(line.endswith("*") for line in lines) == 1
    assert lines[-1] == str(world / "study/segment/first.safetensors")


# refusals


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (("--dataset", "coco"), 2, "bad-choice"),
        (("--method", "best"), 2, "bad-choice"),
        (("--to-grid", "mode"), 2, "bad-choice"),
        (("--background", "a"), 2, "bad-ids"),
        (("--background", "3-0"), 2, "bad-ids"),
        (("--ignore", "0"), 2, "bad-ids"),
        (("--classes", "4"), 2, "bad-ids"),
        (("--eigenvectors", "11"), 2, "too-many-eigenvectors"),
        (("--method", "kway", "--clusters", "11"), 2, "too-many-eigenvectors"),
        (("--method", "kway", "--thresholds", "3"), 2, "option-unused"),
        (("--method", "kway", "--to-grid", "area"), 2, "option-unused"),
        (("--clusters", "3"), 2, "option-unused"),
        (("--split", "val"), 2, "option-unused"),
        (("--unpack", "there"), 2, "option-unused"),
        (("--unpack", "there", "--dataset", "imagenet-seg"), 2, "option-unused"),
        (("--from", "first", "--from", "first"), 2, "input-twice"),
        (("--from", "fourth"), 66, "artifact-missing"),
        (("--background", "none", "--ignore", "0,255", "--merge", "figure-ground"), 65, "no-background"),
        (("--ignore", "0-3,255", "--background", "none"), 65, "one-class"),
        (("--dataset", "voc"), 66, "masks-missing"),
    ],
)
def test_what_is_asked_wrongly(cli: Cli, made: Path, options: tuple[str, ...], status: int, code: str) -> None:
    before = snapshot(made)
    refused(segment(cli, made, *options), status, code)
    assert snapshot(made) == before


def test_a_mask_without_its_image_is_named_or_left_aside(cli: Cli, world: Path) -> None:
    Image.fromarray(mask_of(0)).save(world / "masks/stranger.png")
    assert "1 masks" in (error := refused(segment(cli, world), 65, "mask-alone"))["message"]
    assert "stranger" in error["message"]
    run = cli("segment", "--masks", world / "masks", "--from", "first", "--on-extra-mask", "skip", "--no-pictures",
              "-p", world / "study", "--json")  # fmt: skip
    assert "1 masks belong to no image of the cut and are left aside: stranger" in run.err
    shutil.rmtree(world / "masks")
    (world / "masks").mkdir()
    Image.fromarray(mask_of(0)).save(world / "masks/stranger.png")
    refused(segment(cli, world, "--on-extra-mask", "skip"), 65, "no-mask")


def test_masks_that_cannot_be(cli: Cli, world: Path) -> None:
    path = world / "masks/picture-3.png"
    Image.new("RGB", (12, 8), "red").save(path)
    assert "picture-3.png has mode RGB" in refused(segment(cli, world), 65, "bad-mask")["message"]
    Image.fromarray(mask_of(3)[:, :5]).save(path)
    assert "picture-3.png is 5 x 8, its image 12 x 8" in refused(segment(cli, world), 65, "bad-mask")["message"]
    path.write_bytes(b"no PNG")
    refused(segment(cli, world), 65, "bad-mask")
    shutil.rmtree(world / "masks")
    refused(segment(cli, world), 66, "masks-missing")
    assert Project(world / "study").names("segment") == []


def test_cuts_of_other_images(cli: Cli, world: Path) -> None:
    images = image_entries([f"other-{number}.jpg" for number in range(PICTURES)])
    write_made(Project(world / "study"), "other", FIRST, images)
    assert cli("cut", "--from", "other", "-C", 10, "-p", world / "study").status == 0
    refused(segment(cli, world, "--from", "first", "--from", "other"), 65, "other-images")


def test_two_images_that_would_share_a_mask(cli: Cli, world: Path) -> None:
    images = [*image_list()[:7], {**image_list()[7], "path": "below/picture-0.jpg"}]
    write_made(Project(world / "study"), "twins", FIRST, images)
    assert cli("cut", "--from", "twins", "-C", 10, "-p", world / "study").status == 0
    refused(segment(cli, world, "--from", "twins"), 65, "mask-shared")
    (world / "masks/below").mkdir()
    (world / "masks/picture-7.png").rename(world / "masks/below/picture-0.png")
    assert segment(cli, world, "--from", "twins", "--no-pictures").object["images"]["scored"] == PICTURES


# without labels, as Zhang, Yunis and Maire evaluate


def test_clusters_are_matched_greedily_too_and_columns_are_those_of_the_paper(cli: Cli, world: Path) -> None:
    (world / "map.csv").write_text("0,rest\n3,thing\n7,thing\n")
    options = ("--method", "kway", "--discretise", "columns", "--clusters", 3, "--class-map", world / "map.csv")
    run = segment(cli, world, *options, "--no-pictures")
    assert run.object["classes"] == {"classes": ["rest", "thing"]}
    cut = load_file(world / "study/cut/first.safetensors")
    found = load_file(world / "study/segment/first.safetensors")
    for slot, row in enumerate(rows_of(run)):
        start, stop = cut["graphs"][slot]
        scaled = cut["eigenvectors"][start:stop, :3] * cut["eigenvalues"][slot, :3]
        clusters = found["classes.clusters"][start:stop]
        centres = np.stack([scaled[clusters == one].mean(0) for one in range(3)])
        nearest = ((scaled[:, None] - centres) ** 2).sum(2).argmin(1)
        assert (nearest == clusters).mean() > 0.99, "k-means of the columns as they are"
        table = found["classes.contingency"][slot]
        many = table.argmax(1)
        both = np.array([table[many == one, one].sum() for one in range(2)])
        given = np.array([table[many == one].sum() for one in range(2)])
        assert row["greedy_accuracy"] == pytest.approx(both.sum() / table.sum())
        assert row["greedy_miou"] == pytest.approx((both / (given + table.sum(0) - both)).mean(), abs=1e-6)
        assert row["greedy_accuracy"] >= row["accuracy"] > 0
    refusal = segment(cli, world, *options, "--ignore", "none", "--name", "other")
    assert refusal.status == 2 and "option-contradicts" in refusal.err
