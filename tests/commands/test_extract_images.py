"""What `extract` takes for photographs, by the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from alignedcut_cli.backbones.load import Backbone
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.project import Project
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


@pytest.fixture
def shown(tmp_path: Path) -> Callable[[], bool]:
    """Whether pictures of the feature set would show its first photograph; what is said of it stays on stderr."""

    def draw() -> bool:
        project = Project(tmp_path / "study")
        frame = Frame(project, Output("color"), ("color",))
        return Photos(frame, project.header("features", TINY), None)(0) is not None

    return draw


@pytest.mark.parametrize("again", [(), ("--name", "other", "--layers", "0")], ids=["up to date", "another set"])
def test_photographs_are_looked_up_wherever_they_were_read(
    extract: Extract,
    shown: Callable[[], bool],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    again: tuple[str, ...],
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        photograph(1, 8, 8).save(folder / "a.png")
    assert extract(first).status == 0
    assert extract(second, *again).object["artifacts"][0]["made"] is bool(again)
    for there in (first, second):
        gone = second if there is first else first
        gone.rename(tmp_path / "away")
        assert shown()
        (tmp_path / "away").rename(gone)
    photograph(2, 8, 8).save(second / "a.png")
    assert shown()
    shutil.rmtree(first)
    capsys.readouterr()
    assert not shown()
    assert f"'{second / 'a.png'}' is gone or has changed (looked for in 2 folders)" in capsys.readouterr().err


def test_images_of_an_hdf5_file(
    extract: Extract, names: Callable[[], list[str]], shown: Callable[[], bool], tmp_path: Path
) -> None:
    """Their features are those of the same pixels in PNG files; they are found again, and checked once."""
    pixels = np.stack([np.asarray(photograph(number, 40, 30)) for number in range(5)])
    with h5py.File(tmp_path / "nsd_stimuli.hdf5", "w") as file:
        file["imgBrick"] = pixels
    run = extract(f"{tmp_path / 'nsd_stimuli.hdf5'}:1,3-4")
    assert run.status == 0, run.err
    assert names() == [f"nsd_stimuli.hdf5/imgBrick/{number:05d}" for number in (1, 3, 4)]
    assert shown()
    files = []
    for number in (1, 3, 4):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels[number]).save(files[-1])
    assert extract(*files, "--name", "files").status == 0
    one, other = (
        load_file(next((tmp_path / "study/features" / name).glob("*.safetensors"))) for name in (TINY, "files")
    )
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])
    facts = json.loads((tmp_path / "study/.alignedcut/hashes.json").read_text())
    assert str(tmp_path / "nsd_stimuli.hdf5/imgBrick/00003") in facts
    assert extract(f"{tmp_path / 'nsd_stimuli.hdf5'}:1,3-4").object["artifacts"][0]["made"] is False
    with h5py.File(tmp_path / "nsd_stimuli.hdf5", "r+") as file:
        file["imgBrick"][1] = 0
    assert extract(f"{tmp_path / 'nsd_stimuli.hdf5'}:1,3-4").status == 73
    assert not shown()
    (tmp_path / "nsd_stimuli.hdf5").write_text("text")
    assert not shown()


def test_several_taps_in_one_pass_are_the_sets_of_each_alone(
    extract: Extract, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [extract(photos, "--tap", tap, project=tmp_path / "alone").object["artifacts"][0] for tap in ("q", "v")]
    passes: list[int] = []
    forward = Backbone.tap_features
    monkeypatch.setattr(Backbone, "tap_features", lambda *args: passes.append(len(args[3])) or forward(*args))
    together = extract(photos, "--tap", "q", "--tap", "v").object["artifacts"]
    assert [(one["name"], one["recipe"], one["content"]) for one in together] == [
        (one["name"], one["recipe"], one["content"]) for one in alone
    ]
    assert 2 in passes and passes.count(1) == 2, "one forward pass of both taps; the widths take one each"
    passes.clear()
    three = extract(photos, "--tap", "q", "--tap", "k", "--tap", "v").object["artifacts"]
    assert [one["made"] for one in three] == [False, True, False] and 2 not in passes
    named = extract(photos, "--tap", "attn", "--tap", "k", "--name", "mine").object["artifacts"]
    assert [one["name"] for one in named] == ["mine", "mine-k"]


def test_a_tap_from_alignedcut_toml(extract: Extract, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "alignedcut.toml").write_text('[extract]\ntap = "block"\n')
    assert [one["name"] for one in extract(photos).object["artifacts"]] == [f"{TINY}-block"]
