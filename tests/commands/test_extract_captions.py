"""extract --captions: one row an image, the mean over its captions, beside the images' own feature sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alignedcut_cli.frame.keep as keep
from alignedcut_cli.backbones.text import find_text_files, load_language, parse_language
from alignedcut_cli.commands.extract import captions as command
from alignedcut_cli.errors import Stopped
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.maps import MapSet, read_maps
from tests.conftest import Cli
from tests.helpers.languages import tiny_language

pytest.importorskip("transformers", reason="needs the extra `text`")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language(tmp_path_factory.mktemp("language") / "bert", "bert")


@pytest.fixture(scope="module")
def table(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three captions of each photograph, in an order of their own."""
    names = sorted((path.name for path in photos.rglob("*.png")), reverse=True)
    words = ("a small red ball", "the large face", "a ball at the left before a face")
    lines = [
        f"{name},{' '.join(words[(k + j) % 3].split()[: 2 + (k + j) % 5])}"
        for k, name in enumerate(names)
        for j in range(3)
    ]
    path = tmp_path_factory.mktemp("captions") / "captions.csv"
    path.write_text("\n".join(["image,caption", *lines]) + "\n")
    return path


def maps_of(project: Path, name: str) -> MapSet:
    return read_maps(FeatureSet(project / "features" / name))


def test_rows_are_means_of_captions_in_the_order_of_the_images(
    cli: Cli, photos: Path, table: Path, bert: Path, tmp_path: Path
) -> None:
    import torch

    argv = ("extract", photos, "--captions", table, "-m", f"local-dir:{bert}", "-p", tmp_path, "-q")
    assert cli(*argv, "--captions-per-image", 2).status == 0
    there = maps_of(tmp_path, "bert-captions")
    language = load_language(
        find_text_files(parse_language(f"local-dir:{bert}"), None, 0, print), 0, torch.device("cpu")
    )
    told: dict[str, list[str]] = {}
    for line in table.read_text().splitlines()[1:]:
        name, text = line.split(",", 1)
        told.setdefault(name, []).append(text)
    for row, image in enumerate(there.images):
        wanted = language.means(told[Path(image["path"]).name][:2])
        for layer, found in enumerate(wanted):
            np.testing.assert_allclose(there.matrix(layer)[row], found.mean(0), rtol=1e-4, atol=1e-5)
    rows = there.matrix(2).astype(np.float64)
    np.testing.assert_allclose(there.gram(2), rows @ rows.T, rtol=1e-5, atol=1e-5)
    assert [(one.name, one.units, one.projected) for one in there.maps][:1] == [("hidden_states.0", 16, 0)]
    assert cli("extract", photos, "-m", "tiny-mae", "--tokens", "pooled", "-p", tmp_path, "-q").status == 0
    manifests = {
        maps_of(tmp_path, name).features.header.raw["external"]["manifest"] for name in ("bert-captions", "tiny-mae")
    }
    assert len(manifests) == 1
    assert cli("check", "--deep", "--exit-code", "-p", tmp_path).status == 0
    again = cli(*argv[:-1], "--captions-per-image", 2)
    assert (again.status, "is up to date" in again.err) == (0, True)
    other = cli(*argv, "--captions-per-image", 3)
    assert (other.status, "captions_per_image: 2 there, 3 asked" in other.err) == (73, True)


def test_without_images_the_order_is_the_file_s(cli: Cli, table: Path, bert: Path, tmp_path: Path) -> None:
    argv = ("extract", "--captions", table, "-m", f"local-dir:{bert}", "--name", "words", "-p", tmp_path)
    dry = cli(*argv, "--dry-run", "--json")
    assert dry.status == 0 and not (tmp_path / "features").exists()
    assert dry.object["inputs"][0] == "60 captions of 20 images"
    assert cli(*argv).status == 0
    images = [image["path"] for image in maps_of(tmp_path, "words").images]
    assert images == list(dict.fromkeys(line.split(",")[0] for line in table.read_text().splitlines()[1:]))
    size = sum(path.stat().st_size for path in (tmp_path / "features" / "words").glob("*.safetensors"))
    assert 0.4 * size < dry.object["outputs"][0]["bytes"] < size


def test_a_stopped_run_goes_on_to_the_same_bytes(
    cli: Cli, table: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "EVERY", 0.0)
    argv = ("extract", "--captions", table, "-m", f"local-dir:{bert}", "--name", "w", "--batch-size", 4)
    assert cli(*argv, "-p", tmp_path / "whole", "-q").status == 0
    real, calls = command._means_of, []

    def stopping(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise Stopped(15)
        return real(*given)

    monkeypatch.setattr(command, "_means_of", stopping)
    ended = cli(*argv, "-p", tmp_path / "cut")
    assert (ended.status, "8 of 20 images' captions are kept" in ended.err) == (143, True), ended.err
    assert cli(*argv, "-p", tmp_path / "cut").status == 0
    assert len(calls) == 3 + 3
    for path in sorted((tmp_path / "whole" / "features" / "w").iterdir()):
        assert path.read_bytes() == (tmp_path / "cut" / "features" / "w" / path.name).read_bytes()
    assert not list((tmp_path / "cut" / ".alignedcut" / "kept").glob("*"))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("-m", "tiny-clip"), "'tiny-clip' reads no captions"),
        (("-m", "local-dir:{bert}", "--tap", "block"), "--tap cannot go with --captions"),
        (("-m", "local-dir:{bert}", "--image-size", "9"), "--image-size cannot go with --captions"),
        (("-m", "local-dir:{bert}", "--weights", "{bert}/model.safetensors"), "is for other models"),
    ],
)
def test_what_means_nothing_for_captions_is_refused(
    cli: Cli, table: Path, bert: Path, tmp_path: Path, more: tuple[str, ...], told: str
) -> None:
    ran = cli("extract", "--captions", table, *(word.format(bert=bert) for word in more), "-p", tmp_path)
    assert (ran.status, told in ran.err) == (2, True), ran.err


def test_without_the_extra_it_is_said_how_to_install_it(
    cli: Cli, table: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    ran = cli("extract", "--captions", table, "-m", f"local-dir:{bert}", "-p", tmp_path)
    assert (ran.status, "pip install 'alignedcut[text]'" in ran.err) == (69, True), ran.err
