"""Trees of masks by other names: VOC's augmented set, Cityscapes, and masks beside their photographs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.datasets.masks_folder import open_folder
from alignedcut_cli.datasets.masks_voc import open_voc
from alignedcut_cli.datasets.open_masks import open_masks
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from tests.datasets.test_mask_readers import HEIGHT, NAMES, WIDTH, entries, make_voc, mask, save_palette


def test_voc_masks_of_the_augmented_set(tmp_path: Path) -> None:
    make_voc(tmp_path)
    tree = tmp_path / "VOCdevkit/VOC2012"
    for name, number in ((NAMES[0], 7), ("2007_009999", 8)):
        save_palette(tree / f"SegmentationClassAug/{name}.png", mask(number))
    (tree / "ImageSets/Segmentation/trainaug.txt").write_text(f"{NAMES[0]}\n2007_009999\n")
    columns = "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png\n"
    (tree / "ImageSets/SegmentationAug").mkdir()
    (tree / "ImageSets/SegmentationAug/columns.txt").write_text(
        columns.format(NAMES[0]) + columns.format("2007_009999")
    )
    for split, numbers in (("trainaug", (0, 8)), ("columns", (7, 8))):
        found = open_voc(tmp_path, split)
        assert found.keys == (NAMES[0], "2007_009999")
        for key, number in zip(found.keys, numbers, strict=True):
            np.testing.assert_array_equal(found.load(key), mask(number))
    (tree / "SegmentationClassAug/2007_009999.png").unlink()
    for split in ("trainaug", "columns"):
        with pytest.raises(InputMissingError, match="lacks 2007_009999"):
            open_voc(tmp_path, split)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("../../../secret", "bad-path"),
        ("/etc/passwd", "bad-path"),
        ("/JPEGImages/a.jpg /../../b.png", "bad-path"),
        ("/JPEGImages/a.jpg //etc/b.png", "bad-path"),
        ("x" * 300, "bad-path"),
        ("2007_000033 -1", "bad-list"),
        ("a.jpg b.png c.png", "bad-list"),
        ("/JPEGImages/2007_000033.jpg /SegmentationObject/2007_000033.png", "bad-list"),
    ],
)
def test_voc_lists_that_cannot_be(tmp_path: Path, line: str, code: str) -> None:
    make_voc(tmp_path)
    listed = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/odd.txt"
    listed.write_text(f"{NAMES[0]}\n\n{line}\n")
    with pytest.raises(DataError, match=r"odd\.txt") as caught:
        open_voc(tmp_path, "odd")
    assert caught.value.code == code


# Cityscapes, and suffixes


def test_cityscapes_is_known_by_its_names(tmp_path: Path) -> None:
    stems = ("aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "ulm/ulm_000000_000019")
    for number, stem in enumerate(stems):
        save_palette(tmp_path / f"{stem}_gtFine_labelIds.png", mask(number, 33))
        Image.new("RGBA", (WIDTH, HEIGHT), (9, 8, 7, 255)).save(tmp_path / f"{stem}_gtFine_color.png")
        Image.new("I;16", (WIDTH, HEIGHT), 26001).save(tmp_path / f"{stem}_gtFine_instanceIds.png")
    found = open_masks("folder", tmp_path, None, None)
    images = entries([f"{stem}_leftImg8bit.png" for stem in stems])
    assert found.match(images) == list(found.keys) == list(stems)
    for number, (key, image) in enumerate(zip(found.keys, images, strict=True)):
        np.testing.assert_array_equal(found.read(key, image), mask(number, 33))
    assert (found.names[7], found.names[33], len(found.names)) == ("road", "bicycle", 34)
    with pytest.raises(DataError, match=r"ulm_000000_000019_gtFine_labelIds\.png is 9 x 6"):
        found.read(stems[2], entries(["a.png"], 10)[0])
    save_palette(tmp_path / f"{stems[0]}_gtFine_labelTrainIds.png", mask(5, 18))
    with pytest.raises(UsageError, match="holds _gtFine_labelIds, _gtFine_labelTrainIds") as caught:
        open_masks("folder", tmp_path, None, None)
    assert caught.value.remedy == "Choose one: --mask-suffix _gtFine_labelIds"
    chosen = open_masks("folder", tmp_path, None, None, "_gtFine_labelTrainIds")
    assert (chosen.keys, chosen.names[0], chosen.names[18]) == (stems[:1], "road", "bicycle")
    (tmp_path / "names.txt").write_text("7 street\n")
    assert open_masks("folder", tmp_path, None, None, "_gtFine_labelIds").names == {7: "street"}


@pytest.mark.parametrize("suffix", ["_mask", "_mask.png"])
def test_masks_beside_their_photographs(tmp_path: Path, suffix: str) -> None:
    for number, name in enumerate(("a", "b")):
        save_palette(tmp_path / f"{name}_mask.png", mask(number))
        Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(tmp_path / f"{name}.png")
    found = open_masks("folder", tmp_path, None, None, suffix)
    assert (found.match(entries(["b.png", "a.png"])), found.names) == (["b", "a"], {})
    np.testing.assert_array_equal(found.load("b"), mask(1))
    with pytest.raises(InputMissingError, match=r"holds no mask whose name ends in _other\.png"):
        open_masks("folder", tmp_path, None, None, "_other")


def test_a_pipe_is_no_list(tmp_path: Path) -> None:
    make_voc(tmp_path)
    os.mkfifo(tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/endless.txt")
    with pytest.raises(UsageError, match=r"has no endless\.txt"):
        open_voc(tmp_path, "endless")


def test_a_pipe_is_no_mask(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="is no regular file"):
        open_folder(tmp_path).load("a")
