"""Which mask is whose: the same path, the same tree, or a file name that only one mask has; never a guess."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from alignedcut_cli.datasets.mask_matching import match_masks
from alignedcut_cli.errors import DataError


def matched(images: list[str], masks: list[str]) -> list[str | None]:
    return match_masks(Path("masks"), masks, images, str)


@pytest.mark.parametrize(
    ("images", "masks", "wanted"),
    [
        (["x.png", "y.jpg"], ["train/x", "train/y"], ["train/x", "train/y"]),
        (["train/x.png", "val/x.png"], ["gt/train/x", "gt/val/x"], ["gt/train/x", "gt/val/x"]),
        (["train/x.png", "val/x.png"], ["val/x", "train/x"], ["train/x", "val/x"]),
        (["a/train/x.png", "b/train/y.png"], ["train/x", "y"], ["train/x", "y"]),
        (["a/b/x.png"], ["x", "b/x", "c/x"], ["b/x"]),
        (["photos/x.png", "photos/y.png"], ["labels/x", "labels/z"], ["labels/x", None]),
        (["x.png"], ["x", "train/x"], ["x"]),
        (["a/x.png", "b/x.png"], ["a/x"], ["a/x", None]),
        (["a/x.png", "b/x.png"], ["a/x", "c/x"], ["a/x", None]),
        (["a/x.png", "b/x.png"], ["c/x"], [None, None]),
        (["x.png"], ["xx", "train/xx", "x/y"], [None]),
        (["v1.0/x.y.png"], ["v1.0/x.y"], ["v1.0/x.y"]),
    ],
)
def test_who_belongs_to_whom(images: list[str], masks: list[str], wanted: list[str | None]) -> None:
    assert matched(images, masks) == wanted


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["x.png"], ["train/x", "val/x"]),
        (["photos/x.png"], ["labels/x", "old/x"]),
        (["train/x.png"], ["a/train/x", "b/train/x"]),
    ],
)
def test_two_masks_that_could_both_be_it_are_named(images: list[str], masks: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        matched(images, masks)
    assert caught.value.code == "mask-ambiguous"
    assert all(name in caught.value.message for name in (*images, *masks))


def test_two_images_that_would_share_one_are_named() -> None:
    for images in (["a/x.png", "b/x.png"], ["x.png", "x.jpg"]):
        with pytest.raises(DataError, match=f"{images[0]} and {images[1]} would share the mask x of masks") as caught:
            matched(images, ["x"])
        assert caught.value.code == "mask-shared"


def test_names_are_compared_in_one_form() -> None:
    composed = unicodedata.normalize("NFC", "Brücke 1")
    decomposed = unicodedata.normalize("NFD", "Brücke 1")
    assert composed != decomposed
    assert matched([f"{composed}.png"], [decomposed]) == [decomposed]
    assert matched([f"{decomposed}/x.png", "b/x.png"], ["b/x", f"{composed}/x"]) == [f"{composed}/x", "b/x"]
