"""Captions of images: every way in which people write them, matched to images as responses are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alignedcut_cli.brain.captions import Captions, of_images, read_captions
from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError, UsageError

WANTED = {"a.png": ("a red ball, small", "ball"), "b.png": ("a face",)}
TEXTS = {
    "one.csv": 'image,caption\na.png,"a red ball, small"\nb.png,a face\na.png,ball\n',
    "semicolons.csv": "Caption;Image Name\na red ball, small;a.png\nball;a.png\na face;b.png\n",
    "one.tsv": "image_name\tsentence\na.png\ta red ball, small\nb.png\ta face\n\na.png\tball\n",
    "one.jsonl": "".join(
        json.dumps({"image": name, "caption": text}) + "\n" for name, texts in WANTED.items() for text in texts
    ),
    "lists.jsonl": "\n".join(json.dumps({"file_name": name, "captions": texts}) for name, texts in WANTED.items()),
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_kind_of_file_gives_the_same_captions(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXTS[name], encoding="utf-8")
    found = read_captions(tmp_path / name)
    assert dict(zip(found.images, found.texts, strict=True)) == WANTED
    assert found.count == 3


def test_the_first_captions_of_each_image_are_taken(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(TEXTS["one.csv"])
    assert read_captions(tmp_path / "one.csv", 1).texts == (("a red ball, small",), ("a face",))
    found = read_captions(tmp_path / "one.csv", 2)
    assert found.notes == ("1 images have fewer than 2 captions: b.png",)
    assert found.identity != read_captions(tmp_path / "one.csv", 1).identity


@pytest.mark.parametrize(
    ("name", "text", "kind", "told"),
    [
        ("a.csv", "image,words\na.png,ball\n", DataError, "no column of captions"),
        ("a.csv", "picture,caption\na.png,ball\n", DataError, "no column of image names"),
        ("a.csv", "image,caption\na.png,\n", DataError, "line 2 has an empty caption"),
        ("a.csv", "image,caption\n,ball\n", DataError, "line 2 names no image"),
        ("a.csv", "image,caption\n", DataError, "holds no captions"),
        ("a.csv", "image,caption\na.png,ball,red\n", DataError, "line 2 has 3 cells"),
        ("a.jsonl", '{"image": "a.png"}\n', DataError, "line 1 is no object"),
        ("a.jsonl", '{"image": "a.png", "caption": 7}\n', DataError, "line 1 is no object"),
        ("a.jsonl", '{"image": "a.png", "captions": ["x", ""]}\n', DataError, "line 1 has an empty caption"),
        ("a.jsonl", '["a.png", "ball"]\n[[[[', DataError, "line 1 is no object"),
        ("a.jsonl", "[" * 100_000, DataError, "line 1 is no object"),
        ("a.json", "{}", UsageError, "no kind that is read"),
        ("a.csv", None, InputMissingError, "does not exist"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, name: str, text: str | None, kind: type[AlignedcutError], told: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(kind, match=told):
        read_captions(tmp_path / name)


def entries(*paths: str) -> list[dict[str, Any]]:
    return [{"path": path, "sha256": "0" * 64} for path in paths]


def test_captions_follow_the_images_that_are_asked_for() -> None:
    captions = Captions(("b.png", "a.png", "c.png"), (("b",), ("a",), ("c",)))
    found = of_images(captions, entries("below/a.png", "b.png"))
    assert (found.images, found.texts) == (("below/a.png", "b.png"), (("a",), ("b",)))
    assert found.notes == ("captions of 1 other images are left out: c.png",)
    with pytest.raises(DataError, match=r"1 of 2 images have no caption: d\.png"):
        of_images(captions, entries("a.png", "d.png"))
