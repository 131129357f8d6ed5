"""What `extract` takes for photographs, by the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Cli, Run, photograph

Extract = Callable[..., Run]


@pytest.fixture
def extract(cli: Cli, tiny_weights: Path, tmp_path: Path) -> Extract:
    """Run extract on the tiny model into the project tmp_path/study, unless another is given."""

    def run(*words: object, project: Path | None = None) -> Run:
        place = ("-p", project or tmp_path / "study", "--image-size", 32, "--json")
        return cli("extract", *words, "-m", TINY, "--weights", tiny_weights, *place)

    return run


@pytest.fixture
def names(cli: Cli, tmp_path: Path) -> Callable[[], list[str]]:
    """The images of the feature set that `extract` made."""

    def read() -> list[str]:
        header = cli("show", f"features/{TINY}", "-p", tmp_path / "study", "--json").object
        return [image["path"] for image in header["axes"]["B"]["images"]]

    return read


def test_a_project_in_the_photographs_own_folder(
    extract: Extract, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(extracted, tmp_path / "folder"))
    for place in (".", "pictures/color/tiny"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        photograph(1, 8, 8).save(folder / place / "a.png")
    monkeypatch.chdir(folder)
    run = extract(".", "--dry-run", project=Path())
    assert run.status == 0 and run.object["inputs"][0] == "1 images"
    assert "'.': images passed over, hidden or of a project: 1 in 'pictures/color'" in run.err


def test_a_link_to_nothing_is_a_bad_image(extract: Extract, names: Callable[[], list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "dropped"
    folder.mkdir()
    photograph(1, 8, 8).save(folder / "a.png")
    (folder / "b.png").symlink_to(".git/annex/objects/xx/K.png")
    run = extract(folder)
    assert run.status == 65 and f"1 of 2 images cannot be used: '{folder / 'b.png'}' is a link to nothing" in run.err
    run = extract(folder, "--on-bad-image", "skip")
    assert run.status == 0 and f"left out 1 of 2 images: '{folder / 'b.png'}' is a link to nothing" in run.err
    assert names() == ["a.png"]
