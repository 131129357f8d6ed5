"""The photographs that arguments name: in a fixed order, none hidden, none twice, and what is left out is said."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from alignedcut_cli.datasets.find_images import find_images
from alignedcut_cli.datasets.images import read_manifest
from alignedcut_cli.errors import InputMissingError, PermissionDeniedError, UsageError
from alignedcut_cli.store.project import KINDS
from tests.conftest import photograph


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def empty(folder: Path, names: Sequence[str]) -> Path:
    """A folder with empty files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found_below(folder: Path) -> tuple[list[str], list[str]]:
    """The images that are found below a folder, and what is said of the others."""
    said: list[str] = []
    found = find_images([str(folder)], [], said.append)
    return [path.relative_to(folder).as_posix() for path in found], [
        line.removeprefix(f"{str(folder)!r}: ") for line in said
    ]


def test_folders_are_read_in_a_sorted_order(tmp_path: Path) -> None:
    names = ["b.png", "a/z.JPG", "a/b/c.webp", "A.PNG", "a-b.png", "a.png", "10.png", "9.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images([str(tmp_path)], [])]
    assert found == ["10.png", "9.png", "A.PNG", "a/b/c.webp", "a/z.JPG", "a-b.png", "a.png", "b.png"]


def test_patterns_that_no_shell_expanded(tmp_path: Path) -> None:
    folder = empty(tmp_path / "set[1]", ["b.png", "a.png", "a.jpg", "below/c.png", "*.png", ".hidden.png"])
    assert find_images([str(folder / "?.png")], []) == [folder / "*.png", folder / "a.png", folder / "b.png"]
    assert find_images([str(folder / "*.png")], []) == [folder / "*.png"]  # a file so called comes first
    assert find_images([str(folder / "**" / "c.*")], []) == [folder / "below" / "c.png"]
    assert find_images([str(folder / "bel*")], []) == [folder / "below" / "c.png"]
    for nothing in ("*.gif", "a.pn[g]", "b*\0"):
        with pytest.raises(InputMissingError, match="does not exist"):
            find_images([str(folder / nothing)], [])


def test_links_to_folders_make_no_loop(tmp_path: Path) -> None:
    saved(tmp_path / "in" / "a.png", photograph(0, 8, 8))
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "self.png").symlink_to(tmp_path / "in" / "self.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "in" / "a.png")
    found = find_images([str(tmp_path / "in")], [])
    assert [path.name for path in found] == ["a.png", "link.png", "self.png"]


def test_files_stay_in_the_order_in_which_they_are_given(tmp_path: Path) -> None:
    paths = [saved(tmp_path / name, photograph(0, 8, 8), format="PNG") for name in ("b.png", "a.png", "odd-name")]
    assert find_images([str(path) for path in paths], []) == paths
    lines = [f"{path}\n" for path in reversed(paths)]
    assert find_images(["-"], lines) == paths[::-1]
    assert find_images(["-"], [f"{paths[0]}\r\n", "\n", "  \n", str(paths[1])]) == paths[:2]
    assert find_images([str(paths[2]), "-"], lines[1:]) == [paths[2], paths[1], paths[0]]


def test_what_cannot_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", photograph(0, 8, 8))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for arguments in (["nothing.png"], ["empty"], ["a.png/b.png"], ["a\0b"]):
        with pytest.raises(InputMissingError):
            find_images(arguments, [])
    with pytest.raises(UsageError, match="no image was given"):
        find_images(["-"], ["\n"])
    for arguments in (["a.png", "a.png"], ["a.png", "./empty/../a.png"], [".", "a.png"], [".", str(path)]):
        with pytest.raises(UsageError, match="is given twice"):
            find_images(arguments, [])


# what is left out


def test_hidden_names_are_passed_over_and_counted(tmp_path: Path) -> None:
    """Jupyter's checkpoints, a NAS's and a zip's companions, git-annex' objects, macOS' companion files."""
    hidden = [".ipynb_checkpoints/a-checkpoint.png", "@eaDir/a.png/SYNO.jpg", "__MACOSX/._a.png", "deep/._b.PNG"]
    empty(tmp_path, ["a.png", "deep/b.png", ".DS_Store", ".cache/notes.txt", *hidden])
    assert found_below(tmp_path) == (
        ["a.png", "deep/b.png"],
        [
            f"images passed over, hidden or of a project: 4 in '{tmp_path}/.ipynb_checkpoints', '{tmp_path}/@eaDir', "
            f"'{tmp_path}/__MACOSX' and 1 more"
        ],
    )


def test_a_hidden_folder_that_is_given_is_read(tmp_path: Path) -> None:
    assert found_below(empty(tmp_path / ".hidden", ["a.png"])) == (["a.png"], [])


@pytest.mark.parametrize(
    ("below", "mark"),
    [("", ".alignedcut/hashes.json"), ("study", ".alignedcut/hashes.json"), ("copy", "features/x/index.json")],
)
def test_what_a_project_makes_is_no_photograph(tmp_path: Path, below: str, mark: str) -> None:
    """Whichever project it is, or a copy without hidden files; what users keep beside it, or in pictures/, is theirs."""
    empty(tmp_path / below, [mark])
    drawn = [f"pictures/{kind}/x/0.png" for kind in KINDS]
    empty(
        tmp_path / below, ["a.png", "pictures/b.png", "features/x/c.png", "reports/d.png", "mine/color/e.png", *drawn]
    )
    found, said = found_below(tmp_path)
    assert [Path(name).name for name in found] == ["a.png", "e.png", "b.png"]
    assert said[0].startswith(f"images passed over, hidden or of a project: {2 + len(KINDS)} in ")
    assert Path(found_below(tmp_path / below / "pictures")[0][0]) == Path("b.png")
    for folder in ("pictures/color", "pictures/color/x", "features"):
        with pytest.raises(UsageError, match="belongs to an alignedcut project"):
            find_images([str(tmp_path / below / folder)], [])


def test_folders_of_such_names_elsewhere_are_read(tmp_path: Path) -> None:
    names = ["color/a.png", "pictures/color/b.png", "reports/c.png"]
    assert found_below(empty(tmp_path, names)) == (names, [])


def test_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    empty(tmp_path, ["a.png", "b.heic", "c.HEIC", "below/d.jxl", "notes.txt", "e.avif"])
    assert found_below(tmp_path) == (["a.png", "e.avif"], ["images of kinds that are not read: 2 .heic, 1 .jxl"])
    with pytest.raises(InputMissingError, match=r"holds no image; images of kinds that are not read: 1 \.jxl"):
        find_images([str(tmp_path / "below")], [])


# links


def test_links_to_nothing_are_bad_images_by_name(tmp_path: Path) -> None:
    """As datalad and git-annex leave them before `get`; a link without suffix may have been a folder."""
    saved(tmp_path / "a.png", photograph(0, 8, 8))
    (tmp_path / "b.png").symlink_to(".git/annex/objects/xx/K.png")
    (tmp_path / "val").symlink_to("nowhere")
    (tmp_path / "list.txt").symlink_to("nowhere")
    assert found_below(tmp_path) == (["a.png", "b.png"], [f"links to nothing, not followed: '{tmp_path}/val'"])
    assert find_images([str(tmp_path / "b.png")], []) == [tmp_path / "b.png"]
    _, bad = read_manifest(find_images([str(tmp_path)], []), lambda _: None, 1, lambda _: None)
    assert [(one.path.name, one.reason) for one in bad] == [("b.png", "is a link to nothing")]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    """By the name that is no link, where there is one; loops end."""
    empty(tmp_path / "split", ["train/a.png"])
    empty(tmp_path / "store", ["b.png"])
    for name, target in (("val", "../store"), ("again", "../store"), ("loop", "."), ("copy", "train")):
        (tmp_path / "split" / name).symlink_to(target, target_is_directory=True)
    assert found_below(tmp_path / "split") == (["again/b.png", "train/a.png"], [])
    assert found_below(tmp_path)[0] == ["split/train/a.png", "store/b.png"]


def test_a_fetched_dataset_holds_each_photograph_once(tmp_path: Path) -> None:
    empty(tmp_path, [".git/annex/objects/xx/K0.png/K0.png"])
    (tmp_path / "a.png").symlink_to(".git/annex/objects/xx/K0.png/K0.png")
    assert found_below(tmp_path)[0] == ["a.png"]


def test_a_link_into_a_projects_pictures_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "study" / ".alignedcut").mkdir(parents=True)
    empty(tmp_path, ["study/pictures/color/x/0.png", "photos/a.png"])
    (tmp_path / "photos" / "drawn").symlink_to("../study/pictures/color/x")
    found, said = found_below(tmp_path / "photos")
    assert found == ["a.png"] and said[0].endswith(f"1 in '{tmp_path}/photos/drawn'")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    empty(tmp_path, ["a.png", "closed/b.png"])
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(PermissionDeniedError, match="closed"):
            find_images([str(tmp_path)], [])
    finally:
        (tmp_path / "closed").chmod(0o700)


# names


@pytest.mark.parametrize(("there", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_found_in_either_unicode_form(tmp_path: Path, there: str, asked: str) -> None:
    made = saved(tmp_path / unicodedata.normalize(there, "Brücke 0.png"), photograph(0, 8, 8))
    name = str(tmp_path / unicodedata.normalize(asked, "Brücke 0.png"))
    assert find_images([name], []) == find_images(["-"], [f"{name}\n"]) == [made]


def test_spaces_at_the_ends_of_listed_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are part of the name where such a file is there."""
    monkeypatch.chdir(empty(tmp_path, ["a.png", "b.png", " c.png "]))
    assert find_images(["-"], ["a.png \r\n", "\tb.png\t\n", " c.png \n"]) == [*map(Path, ("a.png", "b.png", " c.png "))]
    with pytest.raises(InputMissingError, match=r"^'d e.png' does not exist"):
        find_images(["-"], ["d e.png \n"])


ODD_NAMES = [
    b"new\nline.png",
    "ünï-日本.png".encode(),
    b"-leading.png",
    b"raw-\xff\xfe.png",
    b" spaces .png ",
    b"'\"$;.png",
]


@pytest.mark.parametrize("raw", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    name = os.fsdecode(raw)
    with (tmp_path / name).open("wb") as stream:
        photograph(0, 8, 8).save(stream, "PNG")
    monkeypatch.chdir(tmp_path)
    assert find_images([name], []) == [Path(name)]
    manifest, bad = read_manifest([Path(name)], lambda _: None, 1, lambda _: None)
    assert bad == []
    assert [entry.path for entry in manifest.images] == [name]
    whole, _ = read_manifest([tmp_path / name], lambda _: None, 1, lambda _: None)
    assert manifest.identity == whole.identity
    assert manifest.paths() == [tmp_path / name]
    if b"\n" not in raw:
        assert find_images(["-"], [name + "\n"]) == [Path(name)]
