"""Checkpoints of interrupted runs: used by the same recipe, and gone once the artifact is made by any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.frame.keep import Keeper
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.status import project_states


def test_a_checkpoint_goes_when_its_artifact_is_made_by_a_recipe_that_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignedcut_cli.frame.keep.EVERY", 0.0)
    project = Project(tmp_path).create()
    frame = Frame(project, Output("cut", quiet=True), ("cut",))
    for name in ("c", "other"):
        Keeper(frame, Recipe("cut", name, 1, {"solver": "exact"}), {}, lambda _: "some")(lambda: {"x": np.zeros(3)})
    assert [(one.name, one.state) for one in project_states(project)] == [("c", "partial"), ("other", "partial")]
    recipe = Recipe("cut", "c", 1, {"solver": "lowrank"})

    def make() -> Header:
        tensors = {"eigenvectors": np.zeros((2, 1), np.float32)}
        axes = {"M": {"size": 2}, "C": {"size": 1}}
        meanings = {"eigenvectors": ("M C", "vectors")}
        return write_artifact(project.path("cut", "c"), recipe, tensors, meanings, axes=axes, numerics={})

    assert frame.make_once(recipe, False, make)[1]
    assert [(one.name, one.state) for one in project_states(project)] == [("c", "fresh"), ("other", "partial")]
    assert project.kept_names("cut") == ["other"]
