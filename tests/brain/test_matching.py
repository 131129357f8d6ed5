"""Rows and images find each other by name, else by content, whatever their order; the rest is named."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignedcut_cli.brain import Matching, Responses, match_images
from alignedcut_cli.errors import DataError


def responses(names: Sequence[str], files: Sequence[Path | None] | None = None) -> Responses:
    """Responses of nothing but names."""
    rows = len(names)
    return Responses(
        "table",
        tuple(names),
        tuple(files or [None] * rows),
        np.zeros((rows, 1), np.float32),
        np.zeros(rows, bool),
        np.arange(1),
        np.arange(0),
        {},
        None,
        (),
        "",
    )


def image(path: str, content: str | None = None) -> dict[str, Any]:
    return {"path": path, "sha256": hashlib.sha256((content or path).encode()).hexdigest()}


def match(names: Sequence[str], paths: Sequence[str]) -> Matching:
    return match_images(responses(names), [image(path) for path in paths])


def pairs(found: Matching) -> list[tuple[int, int]]:
    assert found.rows.dtype == found.places.dtype == np.int64
    return list(zip(found.rows.tolist(), found.places.tolist(), strict=True))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_permuted_subsets_match_name_by_name(data: Any) -> None:
    """Whatever rows and images there are, and in whatever order and folders: equal names are paired, the rest is named."""
    numbers = st.lists(st.integers(0, 12), unique=True)
    rows, places = data.draw(numbers), data.draw(numbers)
    folder = st.sampled_from(["", "x/", "x/y/"])
    extension = st.sampled_from(["", ".png"])
    names = [f"{data.draw(folder)}image-{number}{data.draw(extension)}" for number in rows]
    paths = [f"{data.draw(folder)}image-{number}.png" for number in places]
    found = match(names, paths)
    assert pairs(found) == [(row, places.index(number)) for row, number in enumerate(rows) if number in places]
    assert found.unmatched_rows == tuple(names[row] for row, number in enumerate(rows) if number not in places)
    assert found.unmatched_images == tuple(paths[place] for place, number in enumerate(places) if number not in rows)


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(8)), renamed=st.sets(st.integers(0, 7)), lost=st.sets(st.integers(0, 7)))
def test_renamed_copies_match_by_content(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], renamed: set[int], lost: set[int]
) -> None:
    """A renamed copy matches if the row's file is there; a copy in another format of the same length does not."""
    folder = tmp_path_factory.mktemp("copies")
    names = [f"image-{number}.png" for number in range(8)]
    files = [None if number in lost else folder / name for number, name in enumerate(names)]
    for number, file in enumerate(files):
        if file:
            file.write_text(f"content {number}")
    images = [image(f"copy-{n}.png" if n in renamed else f"deep/image-{n}.png", f"content {n}") for n in order]
    for entry in images[::2]:
        entry["bytes"] = len("content 0")
    found = match_images(responses(names, files), images)
    assert pairs(found) == [(number, order.index(number)) for number in range(8) if number not in renamed & lost]
    assert found.unmatched_rows == tuple(names[number] for number in sorted(renamed & lost))


def test_a_name_comes_before_content(tmp_path: Path) -> None:
    """Two pictures that swapped their names: the name decides, and nothing is left for the content."""
    for name, content in (("a.png", "A"), ("b.png", "B")):
        (tmp_path / name).write_text(content)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    found = match_images(responses(["a.png", "b.png"], files), [image("a.png", "B"), image("b.png", "A")])
    assert pairs(found) == [(0, 0), (1, 1)]


def test_two_copies_of_one_picture_match_two_rows(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_text("same")
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    found = match_images(
        responses(["a.png", "b.png", "c.png"], files), [image("x.png", "same"), image("y.png", "same")]
    )
    assert pairs(found) == [(0, 0), (1, 1)] and found.unmatched_rows == ("c.png",)


def test_where_names_repeat_folders_decide() -> None:
    found = match(["b/1.png", "a/1.png", "c/1.png"], ["a/1.png", "b/1.png", "d/1.png"])
    assert pairs(found) == [(0, 1), (1, 0)]
    assert (found.unmatched_rows, found.unmatched_images) == (("c/1.png",), ("d/1.png",))
    assert pairs(match(["/data/a/1.png"], ["a/1.png", "b/1.png"])) == [(0, 0)]
    assert pairs(match(["a/1.png"], ["x/a/1.png", "a/1.png"])) == [(0, 1)]
    assert pairs(match(["a/1", "b/1"], ["b/1.png", "a/1.jpg"])) == [(0, 1), (1, 0)]


def test_names_with_dots_may_lack_the_extension() -> None:
    assert pairs(match(["n01.25"], ["n01.jpg", "n01.25.JPEG"])) == [(0, 1)]
    assert pairs(match(["n01.25"], ["n01.png"])) == []


def test_names_may_differ_in_their_extension_where_nothing_else_is_called_so() -> None:
    found = match(["photo.jpg", "IMG.PNG", "b.png"], ["IMG.png", "b.png", "x/photo.png"])
    assert pairs(found) == [(0, 2), (1, 0), (2, 1)]
    assert found.renamed == (("photo.jpg", "x/photo.png"), ("IMG.PNG", "IMG.png"))
    assert pairs(match(["x/1.jpg", "y/1.jpg"], ["y/1.png", "x/1.png"])) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("names", "paths", "matched"),
    [
        (["a.jpg"], ["a.png", "a.webp"], []),
        (["a.jpg", "a.bmp"], ["a.png"], []),
        (["a.jpg", "a.png"], ["a.png"], [(1, 0)]),
        (["x/a.jpg", "z/a.jpg"], ["x/a.png", "y/a.png"], [(0, 0)]),
        (["a.day"], ["a.png"], []),
        (["/", ".", ".png"], ["a.png"], []),
    ],
)
def test_an_extension_that_differs_is_no_match_where_others_are_called_so(
    names: list[str], paths: list[str], matched: list[tuple[int, int]]
) -> None:
    assert pairs(match(names, paths)) == matched


def test_names_in_another_unicode_form_match() -> None:
    """macOS writes decomposed names (u and two dots), Linux and most tables composed ones (ü)."""
    composed, decomposed = (unicodedata.normalize(form, "Brücke") for form in ("NFC", "NFD"))
    found = match([f"{composed}.png", f"a/{decomposed} 2"], [f"a/{composed} 2.png", f"{decomposed}.png"])
    assert pairs(found) == [(0, 1), (1, 0)]
    assert match(["a.png"], [f"{decomposed}.png"]).unmatched_images == (f"{decomposed}.png",)


def test_images_in_an_hdf5_file_match_by_their_number() -> None:
    paths = [f"nsd_stimuli.hdf5/imgBrick/{number:05d}" for number in (13, 7, 40, 2, 9, 11, 70000)]
    names = ["00013", "7", "train-0001_nsd-00040.png", "NSD2", "image-9", "11.png", "nsd_stimuli.hdf5/imgBrick/70000"]
    found = match(names, paths)
    assert pairs(found) == [(0, 0), (1, 1), (2, 2), (3, 3), (5, 5), (6, 6)]
    assert (found.unmatched_rows, found.unmatched_images) == (("image-9",), (paths[4],))
    assert pairs(match(["13", "14"], ["photos/00013.png", "00014.png"])) == []
    assert pairs(match(["b/00013"], ["a.h5/imgBrick/00013"])) == [(0, 0)]


@pytest.mark.parametrize(
    ("names", "paths", "words"),
    [
        (
            ["13"],
            ["a.h5/imgBrick/00013", "b.h5/imgBrick/00013"],
            "13 fits the images a.h5/imgBrick/00013, b.h5/imgBrick/00013",
        ),
        (["13", "nsd-013"], ["a.h5/imgBrick/00013"], "the image a.h5/imgBrick/00013 fits 13 and nsd-013"),
        (["00013", "13"], ["a.h5/imgBrick/00013"], "the image a.h5/imgBrick/00013 fits 00013 and 13"),
        (["1.png"], ["a/1.png", "b/1.png"], "1.png fits the images a/1.png, b/1.png"),
        (["1"], ["1.png", "1.jpg"], "1 fits the images 1.png, 1.jpg"),
        (["a/1.png", "b/1.png"], ["1.png"], "the image 1.png fits a/1.png and b/1.png"),
        (["1.png", "1"], ["1.png"], "the image 1.png fits 1.png and 1"),
        (["a/1.png"], ["x/a/1.png", "y/a/1.png"], "a/1.png fits the images x/a/1.png, y/a/1.png"),
    ],
)
def test_what_fits_twice_is_refused_by_name(names: list[str], paths: list[str], words: str) -> None:
    with pytest.raises(DataError) as caught:
        match(names, paths)
    assert (caught.value.code, caught.value.message) == ("image-ambiguous", words)


def test_nothing_in_common_is_no_error() -> None:
    found = match(["a.png"], ["b.png"])
    assert pairs(found) == [] and (found.unmatched_rows, found.unmatched_images) == (("a.png",), ("b.png",))
