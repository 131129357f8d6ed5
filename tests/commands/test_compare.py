"""`alignedcut compare`: its numbers against what they are made of, its pictures, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from alignedcut_cli.core.encode.similarity import cka
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.check import faults
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.project import Project
from tests.commands.cut.test_space import joined, refused, study, write_align
from tests.conftest import Cli
from tests.helpers.reference import projector_distance

__all__ = ["joined", "study"]  # fixtures

CUT = ("cut", "--from", "tiny", "--layers", "4,5", "-q")


def test_two_cuts_slot_by_slot(cli: Cli, study: Path) -> None:
    for name, gamma in (("wide", 1), ("sharp", 0.4)):
        assert cli(*CUT, "-C", 6, "--gamma", gamma, "--name", name, "-p", study).status == 0
    run = cli("compare", "cut/wide", "cut/sharp", "-C", 4, "--bootstrap", 40, "--json", "-p", study)
    assert run.status == 0, run.err
    both = [load_tensors(study / "cut" / f"{name}.safetensors")[1] for name in ("wide", "sharp")]
    rows = run.object["rows"]
    assert [row["slot"] for row in rows] == ["all", "test_vit attn 4", "test_vit attn 5"]
    for place, row in enumerate(rows):
        mine = both[0]["nodes"][:, 1] == place - 1 if place else slice(None)
        bases = [torch.linalg.qr(torch.from_numpy(one["eigenvectors"][mine][:, :4]).double()).Q for one in both]
        assert row["projector error"] == pytest.approx(projector_distance(*bases), abs=1e-5)
        assert row["low"] < row["projector error"] < row["high"] < 1
    assert {path.name for path in Path(run.object["pictures"]).iterdir()} >= {"compare.png", "table.csv"}
    assert "up to date" in cli("compare", "cut/wide", "cut/sharp", "-C", 4, "--bootstrap", 40, "-p", study).err


def test_cuts_by_slot_have_nothing_to_say_of_all_slots(cli: Cli, study: Path) -> None:
    for name in ("one", "two"):
        assert cli(*CUT, "-C", 3, "--per-slot", "--name", name, "-p", study).status == 0
    run = cli("compare", "cut/one", "cut/two", "--bootstrap", 9, "--no-pictures", "--json", "-p", study)
    assert [row["slot"] for row in run.object["rows"]] == ["test_vit attn 4", "test_vit attn 5"]
    assert all(row["projector error"] < 1e-4 for row in run.object["rows"])
    assert faults(Project(study), "compare", run.object["name"], deep=True) == [], "NaN means none here"


def test_slots_before_and_after_two_alignments(cli: Cli, study: Path) -> None:
    write_align(Project(study), "again", seed=1)
    options = ("--from", "tiny", "--layers", "4,5", "--bootstrap", 20)
    run = cli("compare", "align/shared", "align/again", *options, "--json", "-p", study)
    assert run.status == 0, run.err
    header, tensors = load_tensors(Path(run.object["path"]))
    assert header.axes["K"]["labels"] == ["before", "shared", "again"]
    features = FeatureSet(study / "features" / "tiny")
    pooled = [np.concatenate(features.blocks(f"pooled.{layer:02d}")).astype(float) for layer in (4, 5)]
    aligned = load_tensors(study / "align" / "shared.safetensors")[1]
    slots = load_tensors(study / "align" / "shared.safetensors")[0].axes["S"]["slots"]
    numbers = [
        next(n for n, slot in enumerate(slots) if (slot["model"], slot["layer"]) == ("test_vit", k)) for k in (4, 5)
    ]
    after = [rows @ aligned[f"transform.{number:03d}"] for rows, number in zip(pooled, numbers, strict=True)]
    for state, rows in enumerate((pooled, after)):
        grams = [torch.from_numpy(one @ one.T) for one in rows]
        assert tensors["cka"][state, 0, 1, 0] == pytest.approx(cka(*grams), abs=1e-6)
        assert tensors["cka"][state, 0, 0, 0] == pytest.approx(1)
        assert tensors["procrustes.slots"][state, 0, 0, 0] == pytest.approx(1)
    assert (tensors["procrustes.chance"][:, 0, 1] < tensors["procrustes.slots"][:, 0, 1, 0]).all()
    within = tensors["cka.gain"][0, 1]
    assert within[0] == pytest.approx(tensors["cka"][1, 0, 1, 0] - tensors["cka"][0, 0, 1, 0], abs=1e-6)
    assert np.isnan(tensors["cka.gain"][1]).all()  # one model: no pair across
    assert (Path(run.object["pictures"]) / "compare.png").stat().st_size > 10_000
    written = study / "pairs.csv"
    assert cli("show", "compare/shared+again", "--table", "pairs", "--export", written, "-p", study).status == 0
    assert len(written.read_text(encoding="utf-8").splitlines()) == 1 + 2 * 3 * 3


@pytest.mark.parametrize(
    ("argv", "status", "code"),
    [
        (("cut/a",), 2, "not-two"),
        (("cut/a", "cut/b"), 66, "artifact-missing"),
        (("align/shared", "features/tiny"), 2, "not-comparable"),
        (("features/tiny", "features/other"), 2, "not-comparable"),
        (("align/shared", "align/shared"), 2, "input-twice"),
        (("align/shared", "-C", 3), 2, "option-unused"),
    ],
)
def test_what_cannot_be_compared(cli: Cli, study: Path, argv: tuple[object, ...], status: int, code: str) -> None:
    refused(cli("compare", *argv, "-p", study, "--json"), status, code)
