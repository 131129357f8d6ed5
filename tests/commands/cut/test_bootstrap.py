"""`alignedcut cut --bootstrap`: what it stores, says and draws, what `show` prints of it, and what cannot have it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.store.artifact import load_tensors
from tests.commands.cut.test_space import refused
from tests.conftest import Cli


@pytest.fixture(scope="module")
def project(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with features/tiny, in which the cuts of these tests lie."""
    return Path(shutil.copytree(extracted, tmp_path_factory.mktemp("sure") / "study"))


CUT = ("cut", "--from", "tiny", "-C", 5, "--nodes", 60, "--bootstrap", 12)


def test_the_replicates_are_stored_told_and_drawn(cli: Cli, project: Path, tmp_path: Path) -> None:
    run = cli(*CUT, "--layers", "3,5", "--per-slot", "--name", "sure", "--json", "-p", project)
    assert run.status == 0, run.err
    header, tensors = load_tensors(Path(run.object["path"]))
    assert header.params["solver"] == "lowrank" and header.params["bootstrap"] == 12
    assert tensors["kept"].shape == tensors["matches"].shape == tensors["shares"].shape == (2, 12, 5)
    assert tensors["moves"].shape == (len(tensors["nodes"]),) and (tensors["moves"] > 0).all()
    assert not np.array_equal(tensors["kept"][0], tensors["kept"][1])
    for found, kept, values in zip(run.object["stability"], tensors["kept"], tensors["eigenvalues"], strict=True):
        assert found["kept"] == pytest.approx(kept.mean(0).tolist(), abs=1e-5)
        assert found["stable"] == int((np.cumsum(kept.mean(0) < 0.9) == 0).sum())
        low, high = np.array(found["intervals"])[1:].T
        assert (low < values[1:] / values[0]).all() and (values[1:] / values[0] < high).all()
    told = cli("show", "cut/sure", "-p", project).out
    assert "graph 1: " in told and "one by one" in told and " stable" in told
    written = tmp_path / "stability.csv"
    assert cli("show", "cut/sure", "--table", "stability", "--export", written, "-p", project).status == 0
    lines = written.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 11 and lines[0].startswith("graph,eigenvector,eigenvalue,low,high")
    drawn = sorted(path.name for path in Path(run.object["pictures"]).glob("*.png"))
    assert drawn == ["moves-test_vit-attn.png", "stability-000.png", "stability-001.png"]
    with Image.open(Path(run.object["pictures"]) / drawn[0]) as sheet:
        assert len(sheet.getcolors(1 << 24) or []) > 100


def test_the_cut_is_the_one_without_replicates(cli: Cli, project: Path) -> None:
    """And the same command again makes nothing."""
    assert cli(*CUT, "--layers", 5, "--name", "with", "--no-pictures", "-p", project).status == 0
    assert cli(*CUT[:-2], "--layers", 5, "--name", "without", "-p", project).status == 0
    one, other = (load_tensors(project / "cut" / f"{name}.safetensors")[1] for name in ("with", "without"))
    np.testing.assert_array_equal(one["eigenvectors"], other["eigenvectors"])
    assert set(one) - set(other) == {"kept", "matches", "shares", "moves"}
    assert "up to date" in cli(*CUT, "--layers", 5, "--name", "with", "--no-pictures", "-p", project).err


@pytest.mark.parametrize(
    "options",
    [("--solver", "exact"), ("--solver", "nystrom", "--nodes", 60), ("--onto", "cut/base"), ("--graph", "vv")],
)
def test_what_has_no_factor_refuses_it(cli: Cli, project: Path, options: tuple[object, ...]) -> None:
    if "--onto" in options:
        assert cli("cut", "-C", 3, "--layers", 5, "--nodes", 50, "--name", "base", "-p", project).status == 0
    error = refused(
        cli("cut", "--from", "tiny", "--bootstrap", 9, *options, "-p", project, "--json"), 2, "option-unused"
    )
    assert "--bootstrap" in error["message"]


def test_one_image_cannot_be_drawn_again(cli: Cli, photos: Path, tiny_weights: Path, tmp_path: Path) -> None:
    single = tmp_path / "single"
    single.mkdir()
    (single / "photo.png").write_bytes((photos / "photo-00.png").read_bytes())
    study = tmp_path / "study"
    argv = ("extract", single, "-m", "test_vit", "--weights", tiny_weights, "--name", "tiny", "--layers", 5)
    assert cli(*argv, "-p", study, "-q").status == 0
    refused(cli("cut", "-C", 3, "--bootstrap", 9, "-p", study, "--json"), 2, "one-image")
