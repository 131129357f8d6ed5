"""Commands with --device cuda, on a CUDA device that is pretended: what they hand from card to numpy, and back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import TINY, Cli, Run
from tests.helpers.pretended_cuda import pretended_cuda
from tests.helpers.reference import assert_same_subspace

SMALL = ("-C", 4, "--from", "scenes", "--layers", "5")
LOW = ("--solver", "lowrank", "--nodes", 20)


@pytest.fixture
def study(brain_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(brain_study, tmp_path / "study"))


def on_cuda(cli: Cli, *argv: object) -> Run:
    with pretended_cuda():
        found = cli(*argv, "--device", "cuda")
    assert found.status == 0, found.err
    return found


def vectors(study: Path, name: str) -> np.ndarray:
    return load_file(study / "cut" / f"{name}.safetensors")["eigenvectors"]


@pytest.mark.parametrize(
    "options",
    [
        ("--solver", "exact"),
        LOW,
        (*LOW, "--sampling", "fps", "--balance", "voronoi"),
        (*LOW, "--refine", 1),
        ("--solver", "nystrom", "--nodes", 20, "--neighbors", 5),
    ],
    ids=lambda options: "-".join(str(word).strip("-") for word in options),
)
def test_cut(study: Path, cli: Cli, options: tuple[object, ...]) -> None:
    on_cuda(cli, "cut", *SMALL, *options, "--name", "there", "-p", study)
    assert cli("cut", *SMALL, *options, "--name", "here", "-p", study, "--device", "cpu").status == 0
    import torch

    here, there = (torch.linalg.qr(torch.from_numpy(vectors(study, name)))[0] for name in ("here", "there"))
    assert_same_subspace(there, here, 1e-3)


def test_cut_onto(study: Path, cli: Cli) -> None:
    on_cuda(cli, "cut", *SMALL, *LOW, "--name", "base", "-p", study)
    options = ("--onto", "cut/base", "--from", "scenes", "-p", study)
    on_cuda(cli, "cut", *options, "--name", "there")
    assert cli("cut", *options, "--name", "here", "--device", "cpu").status == 0
    np.testing.assert_allclose(vectors(study, "there"), vectors(study, "here"), atol=1e-5)


def test_a_shared_cut_is_that_of_one_process(
    study: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pass over ranges, balanced; and the nodes onto it."""
    from alignedcut_cli.core.graph import lowrank, one_pass

    monkeypatch.setattr(lowrank, "pilot_nodes", lambda total, nodes: min(total, 40))
    monkeypatch.setattr(one_pass, "STEP", 32)
    monkeypatch.setattr(one_pass, "MOST_NODES", 32)
    other = Path(shutil.copytree(study, tmp_path / "other"))
    base = ("cut", *SMALL, *LOW, "--balance", "voronoi", "--precision", "float32", "--name", "base")
    for argv in (base, ("cut", "--onto", "cut/base", "--from", "scenes", "--name", "again")):
        on_cuda(cli, *argv, "-p", study)
        on_cuda(cli, *argv, "--shard", "1/1", "-p", other)
        on_cuda(cli, *argv, "-p", other)
    one, two = (
        {name: load_file(root / "cut" / f"{name}.safetensors") for name in ("base", "again")} for root in (study, other)
    )
    for name, tensors in one.items():
        for key, tensor in tensors.items():
            np.testing.assert_allclose(tensor, two[name][key], atol=1e-5, err_msg=f"{name} {key}")


def test_extract(photos: Path, tiny_weights: Path, tmp_path: Path, cli: Cli) -> None:
    few = sorted(photos.glob("*.png"))[:3]
    model = ("-m", TINY, "--weights", tiny_weights, "--image-size", 64, "--tokens", "sample:4", "-p", tmp_path)
    on_cuda(cli, "extract", *few, *model, "--name", "there")
    assert cli("extract", *few, *model, "--name", "here", "--device", "cpu").status == 0
    one, other = (load_file(next((tmp_path / "features" / name).glob("*.safetensors"))) for name in ("here", "there"))
    assert all(np.allclose(one[key], other[key], atol=1e-2) for key in one)


def test_align_and_the_space_it_makes(
    extracted: Path, brain_table: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignedcut_cli.commands.align.result.SHUFFLES", 3)
    study = Path(shutil.copytree(extracted, tmp_path / "study"))
    options = ("--dim", 4, "--epochs", 1, "--layers", "4-5", "--name", "world", "-p", study)
    on_cuda(cli, "align", "--brain", brain_table, "--from", "tiny", *options)
    space = ("--space", "brain", "--align", "world", "--layers", "5", "--name", "there", "-p", study)
    on_cuda(cli, "cut", "--from", "tiny", "-C", 4, *LOW, *space)
    assert np.isfinite(vectors(study, "there")).all()
