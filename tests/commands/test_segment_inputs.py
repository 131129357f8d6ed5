"""`alignedcut segment` on masks as people have them: names of ids, upper case, parallel trees, small classes, one image."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.helpers.aligning import Made, image_entries, refused, write_made

SHAPE = (8, 12)
GRID = (4, 6)
IDS = (1, 4, 5, 7)
NAMES = ["background", "face", "vehicle", "building", "word"]

NAME_FILES = {
    "coco_list": (
        "names.json",
        json.dumps([{"id": one, "name": name, "isthing": 1} for one, name in zip(IDS, NAMES[1:], strict=True)]),
    ),
    "bom": ("names.txt", "\ufeff0 background\n1 face\n2 body\n4 vehicle\n5 building\n7 word\n"),
    "comment": ("names.txt", "# id name\n0 background\n1 face\n2 body\n4 vehicle\n5 building\n7 word\n"),
    "comma": ("names.txt", "id,name\n0,background\n1,face\n2,body\n4,vehicle\n5,building\n7,word\n"),
    "negative": ("names.txt", "-1 licence plate\n0 background\n1 face\n2 body\n4 vehicle\n5 building\n7 word\n"),
}


def mask_of(number: int) -> np.ndarray:
    """A mask (8, 12): a block of each class on a ground of 0, at places that change from image to image."""
    mask = np.zeros(SHAPE, np.uint8)
    for place, one in enumerate(IDS):
        row, column = 4 * (place // 2), 6 * (place % 2)
        mask[row : row + 4, column : column + 4] = one
    return np.roll(mask, 2 * number, 1)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Cli, tuple[str, ...]], Path]:
    """A project whose cut/made is of images with these paths; each made once, read only."""
    made: dict[tuple[str, ...], Path] = {}

    def study(cli: Cli, paths: tuple[str, ...]) -> Path:
        if paths not in made:
            made[paths] = tmp_path_factory.mktemp("inputs") / "study"
            write_made(Project(made[paths]).create(), "made", Made({0: 8}, grid=GRID), image_entries(paths))
            run = cli("cut", "--from", "made", "--per-slot", "-C", 6, "--name", "made", "-p", made[paths], "-q")
            assert run.status == 0, run.err
        return made[paths]

    return study


@pytest.fixture
def segment(cli: Cli, studies: Callable[[Cli, tuple[str, ...]], Path], tmp_path: Path) -> Callable[..., Run]:
    """Run `segment` with the masks of tmp_path/masks on a cut of images with these paths."""

    def run(paths: Sequence[str], *options: object) -> Run:
        study = tmp_path / "study"
        if not study.exists():
            shutil.copytree(studies(cli, tuple(paths)), study)
        words = ("--masks", tmp_path / "masks", "-C", 6, "--no-pictures", "-p", study)
        return cli("segment", *words, *options)

    return run


FOUR = [f"s{number}.png" for number in range(4)]


def save(folder: Path, names: Sequence[str], masks: Sequence[np.ndarray] | None = None) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(masks[number] if masks else mask_of(number)).save(folder / name, format="PNG")
    return folder


def result(run: Run) -> dict[str, Any]:
    assert run.status == 0, run.err
    return run.object


def test_class_names_are_those_of_the_ids(segment: Callable[..., Run], tmp_path: Path) -> None:
    save(tmp_path / "masks", FOUR)
    for kind, (name, text) in NAME_FILES.items():
        (tmp_path / "masks" / name).write_text(text, encoding="utf-8")
        found = result(segment(FOUR, "--json", "--name", kind))
        assert found["classes"] == {"classes": NAMES}, kind
        assert set(found["rows"][0]["iou"]) == set(NAMES)
        (tmp_path / "masks" / name).unlink()
    (tmp_path / "masks/names.txt").write_text("0 background\n1 face\nvehicle\n")
    error = refused(segment(FOUR, "--json"), 65, "bad-names")
    assert "names.txt, line 3: 'vehicle'" in error["message"]


def test_two_ids_of_one_name_stay_apart(segment: Callable[..., Run], tmp_path: Path) -> None:
    save(tmp_path / "masks", FOUR)
    (tmp_path / "masks/names.txt").write_text("1 dog\n4 dog\n5 cat\n")
    assert result(segment(FOUR, "--json"))["classes"]["classes"] == ["background", "dog (1)", "dog (4)", "cat", "7"]


def test_the_masks_of_the_demo_survive_a_copy(segment: Callable[..., Run], tmp_path: Path) -> None:
    """Names under heads of which none is the folder's: the head that fits the ids, or the ids with a note."""
    save(tmp_path / "masks", FOUR)
    heads = {"category": [f"c{one}" for one in range(8)], "background": ["none", "sky"], "captions": {"s0.png": "face"}}
    (tmp_path / "masks/names.json").write_text(json.dumps(heads))
    run = segment(FOUR, "--json")
    assert result(run)["classes"]["classes"] == ["c0", "c1", "c4", "c5", "c7"]
    assert "the names are those under 'category'" in run.err
    (tmp_path / "masks/names.json").write_text(json.dumps({**heads, "background": heads["category"]}))
    run = segment(FOUR, "--json", "--name", "open")
    assert result(run)["classes"]["classes"] == ["background", "1", "4", "5", "7"]
    assert "names under 'category', 'background', and the masks do not tell which" in run.err


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (FOUR, ["s0.png", "s1.PNG", "s2.Png", "s3.png"]),
        (FOUR, [f"train/{name}" for name in FOUR]),
        (["train/a.jpg", "val/a.jpg", "val/b.jpg"], ["fine/train/a.png", "fine/val/a.png", "fine/val/b.png"]),
        (
            [unicodedata.normalize("NFC", f"Brücke {number}.png") for number in range(3)],
            [unicodedata.normalize("NFD", f"Brücke {number}.png") for number in range(3)],
        ),
    ],
)
def test_every_image_finds_its_mask(
    segment: Callable[..., Run], tmp_path: Path, images: list[str], masks: list[str]
) -> None:
    save(tmp_path / "masks", masks)
    run = segment(images, "--json", "-q")
    assert result(run)["images"] == {"scored": len(images), "without_mask": 0}
    assert run.err == ""


def test_masks_of_one_name_are_named_when_either_could_be_meant(segment: Callable[..., Run], tmp_path: Path) -> None:
    save(tmp_path / "masks", [*(f"train/{name}" for name in FOUR), "val/s1.png"])
    error = refused(segment(FOUR, "--json"), 65, "mask-ambiguous")
    assert "train/s1 and val/s1" in error["message"] and "s1.png" in error["message"]


def test_hidden_files_among_masks_are_counted(segment: Callable[..., Run], tmp_path: Path) -> None:
    save(tmp_path / "masks", [*FOUR, ".ipynb_checkpoints/s0-checkpoint.png"])
    (tmp_path / "masks/._s0.png").write_bytes(b"of macOS")
    run = segment(FOUR, "--json")
    assert result(run)["images"]["scored"] == 4
    assert "masks passed over" in run.err and "._s0.png" in run.err


def test_a_class_smaller_than_a_patch_is_named(segment: Callable[..., Run], tmp_path: Path) -> None:
    masks = [mask_of(number) for number in range(4)]
    masks[2][0, 1] = 9
    save(tmp_path / "masks", FOUR, masks)
    run = segment(FOUR, "--json")
    found = result(run)
    assert found["without_patch"] == {"classes": {"9": ["made"]}}
    assert all(row["iou"]["9"] == 0 for row in found["rows"])
    assert found["rows"][0]["miou"] == pytest.approx(np.mean(list(found["rows"][0]["iou"].values())))
    told = "no patch of the grid holds these classes, so they have no centre and count 0: 9; --to-grid area finds them"
    assert told in run.err
    axis = Project(tmp_path / "study").header("segment", "made").axes["K.classes"]
    assert axis["slots_without_patch"] == {"9": [0]}
    assert told in segment(FOUR, "-q").out
    area = segment(FOUR, "--json", "--to-grid", "area", "--name", "area")
    assert result(area)["without_patch"] == {"classes": {}}
    assert "slots_without_patch" not in Project(tmp_path / "study").header("segment", "area").axes["K.classes"]
    assert "no patch" not in area.err
    assert list(check_project(Project(tmp_path / "study"), deep=True)) == []


def test_one_image_has_no_interval(cli: Cli, segment: Callable[..., Run], tmp_path: Path) -> None:
    save(tmp_path / "masks", FOUR[:1])
    run = segment(FOUR, "--json")
    assert [row["interval"] for row in result(run)["rows"]] == [None]
    assert "one image is scored, so there is no interval over images" in run.err
    rows = segment(FOUR, "-q").out.splitlines()
    assert (rows[1].split()[3], rows[2].split()[3]) == ("95%", "-")
    assert "classes.interval" not in Project(tmp_path / "study").header("segment", "made").raw["tensors"]
    drawn = cli("segment", "--masks", tmp_path / "masks", "-C", 6, "--examples", 0, "--predicted", "none",
                "-p", tmp_path / "study", "-q", "--json")  # fmt: skip
    assert (Path(result(drawn)["pictures"]) / "curves.png").is_file()


def test_masks_of_0_and_255_say_that_255_is_void(segment: Callable[..., Run], tmp_path: Path) -> None:
    save(tmp_path / "masks", FOUR, [np.where(mask_of(number) > 4, 255, 0).astype(np.uint8) for number in range(4)])
    error = refused(segment(FOUR, "--json"), 65, "one-class")
    assert "their only other id, 255, is void by --ignore" in error["message"]
    assert error["remedy"] == "If 255 is a class, such as figure, give --ignore none"
    assert result(segment(FOUR, "--json", "--ignore", "none"))["classes"]["classes"] == ["background", "255"]
