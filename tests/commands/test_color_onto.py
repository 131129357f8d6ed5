"""`color --onto`: a cut in another's spectral coordinates takes its colours; anything else is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Input, Recipe
from tests.conftest import Cli, Run

FEW = ("--nodes", "40", "--perplexity", "5", "-q")


@pytest.fixture(scope="module")
def coloured(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with cut/joint and cut/slots, their colorings, and cut/other of another gamma. Read only."""
    from alignedcut_cli.main import main

    project = tmp_path_factory.mktemp("coloured") / "study"
    shutil.copytree(extracted, project)
    cutting = ("cut", "--layers", "0,3", "-C", "6", "-q", "-p", str(project), "--name")
    for words in (
        (*cutting, "joint"),
        (*cutting, "other", "--gamma", "0.5"),
        (*cutting, "slots", "--per-slot"),
        ("color", "--from", "cut/joint", *FEW, "--no-pictures", "-p", str(project)),
        ("color", "--from", "cut/slots", *FEW, "--no-pictures", "-p", str(project)),
    ):
        assert main([str(word) for word in words]) == 0
    return project


@pytest.fixture
def project(coloured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(coloured, tmp_path / "study"))


def tensors_of(project: Path, kind: str, name: str) -> dict[str, np.ndarray]:
    return load_tensors(project / kind / f"{name}.safetensors")[1]


def write_onto(
    project: Path, name: str, base: str, chosen: Sequence[int] | np.ndarray, noise: float = 0.0, **changes: Any
) -> np.ndarray:
    """cut/`name` as embedded onto cut/`base`: some of its nodes, their eigenvectors moved a little; gives these (M, C)."""
    header, tensors = load_tensors(project / "cut" / f"{base}.safetensors")
    rows = tensors["eigenvectors"][chosen]
    rows = rows + noise * np.random.default_rng(0).normal(size=rows.shape).astype(np.float32)
    rows = rows[:, : changes.get("columns", rows.shape[1])]
    made = {**tensors, "eigenvectors": rows, "nodes": tensors["nodes"][chosen]}
    made["graphs"] = np.array([[0, len(rows)]]) if len(tensors["graphs"]) == 1 else tensors["graphs"]
    made["eigenvalues"], made["residuals"] = (tensors[key][:, : rows.shape[1]] for key in ("eigenvalues", "residuals"))
    axes = {**header.axes, "M": {"size": len(rows)}, "C": {"size": rows.shape[1]}, **changes.get("axes", {})}
    given = Input("onto", "cut", base, header.content, header.recipe)
    recipe = Recipe("cut", name, 1, {**header.params, "name": name}, (given,))
    meanings = {key: (about["axes"], about["meaning"]) for key, about in header.raw["tensors"].items()}
    path = project / "cut" / f"{name}.safetensors"
    write_artifact(path, recipe, made, meanings, axes=axes, numerics={}, parents=(header,))
    return rows


def color(cli: Cli, project: Path, *words: str) -> Run:
    return cli("color", "-p", project, "--no-pictures", *words)


@pytest.mark.parametrize("name", ["joint", "slots"])
def test_a_cut_onto_itself_has_the_same_colours(cli: Cli, project: Path, name: str) -> None:
    run = color(cli, project, "--from", f"cut/{name}", "--onto", f"color/{name}", "--name", "again", "--json")
    assert run.status == 0, run.err
    before, after = tensors_of(project, "color", name), tensors_of(project, "color", "again")
    for key in ("rgb", "coordinates", "nodes", "divergence", "perplexity"):
        assert np.array_equal(before[key], after[key]), key
    assert len(np.unique(after["rgb"], axis=0)) > 20
    assert len(after["sampled"]) == 0
    assert cli("check", "-p", project).status == 0
    again = color(cli, project, "--from", f"cut/{name}", "--onto", f"color/{name}", "--name", "again", "--json")
    assert again.object["made"] is False


def test_new_nodes_take_the_place_of_the_nearest_placed_node_and_the_base_s_limits(cli: Cli, project: Path) -> None:
    base, drawn = tensors_of(project, "cut", "joint"), tensors_of(project, "color", "joint")
    chosen = np.random.default_rng(1).permutation(len(base["nodes"]))[:150]
    rows = write_onto(project, "new", "joint", chosen, noise=3e-3)
    assert color(cli, project, "--from", "cut/new", "--onto", "color/joint").status == 0
    found = tensors_of(project, "color", "new")
    marks = base["eigenvectors"][drawn["sampled"]].astype(np.float64)
    nearest = ((rows[:, None] - marks[None]) ** 2).sum(2).argmin(1)
    wanted = drawn["coordinates"][drawn["sampled"]][nearest]
    assert np.array_equal(found["coordinates"], wanted)
    low, high = np.quantile(drawn["coordinates"], [0.01, 0.99], axis=0)
    assert np.array_equal(found["rgb"], (((wanted - low) / (high - low)).clip(0, 1) * 255).round().astype(np.uint8))
    unlike = np.quantile(found["coordinates"], [0.01, 0.99], axis=0)
    assert not np.allclose(unlike, [low, high])
    assert np.array_equal(found["nodes"], base["nodes"][chosen])


def test_pictures_of_new_nodes_are_drawn(cli: Cli, project: Path) -> None:
    nodes = tensors_of(project, "cut", "joint")["nodes"]
    write_onto(project, "new", "joint", np.arange(len(nodes)))
    run = cli("color", "--from", "cut/new", "--onto", "color/joint", "-p", project)
    assert run.status == 0, run.err
    assert list((project / "pictures" / "color" / "new").glob("sheet-*.png"))


def require_refused(run: Run, status: int, code: str) -> None:
    assert run.status == status
    assert f"[{code}, exit {status}]" in run.err
    assert run.out == ""


def test_a_cut_in_other_coordinates_is_refused(cli: Cli, project: Path) -> None:
    require_refused(color(cli, project, "--from", "cut/other", "--onto", "color/joint"), 65, "onto-unrelated")
    assert not (project / "color" / "other.safetensors").exists()


def test_a_base_whose_cut_has_changed_is_refused(cli: Cli, project: Path) -> None:
    rows = tensors_of(project, "cut", "joint")["nodes"]
    write_onto(project, "new", "joint", np.arange(len(rows)))
    shutil.copy(project / "cut" / "other.safetensors", project / "cut" / "joint.safetensors")
    require_refused(color(cli, project, "--from", "cut/new", "--onto", "color/joint"), 65, "onto-changed")
    (project / "cut" / "joint.safetensors").unlink()
    require_refused(color(cli, project, "--from", "cut/new", "--onto", "color/joint"), 66, "artifact-missing")


def test_a_base_that_placed_nothing_itself_is_refused(cli: Cli, project: Path) -> None:
    assert color(cli, project, "--from", "cut/joint", "--onto", "color/joint", "--name", "again").status == 0
    run = color(cli, project, "--from", "cut/joint", "--onto", "color/again", "--name", "third")
    require_refused(run, 65, "onto-derived")


def test_too_few_eigenvectors_or_other_graphs_are_refused(cli: Cli, project: Path) -> None:
    for base, changes, code in (
        ("joint", {"columns": 4}, "onto-too-few"),
        ("slots", {"axes": {"S": {"size": 1, "slots": [{"model": "another", "layer": 9}]}}}, "onto-other-graphs"),
    ):
        count = len(tensors_of(project, "cut", base)["nodes"])
        write_onto(project, f"new-{base}", base, np.arange(count), **changes)
        run = color(cli, project, "--from", f"cut/new-{base}", "--onto", f"color/{base}")
        require_refused(run, 65, code)


@pytest.mark.parametrize("words", [("--nodes", "50"), ("--dims", "2"), ("--seed", "1"), ("--perplexity", "3")])
def test_options_that_onto_does_not_use_are_refused(cli: Cli, project: Path, words: tuple[str, str]) -> None:
    run = color(cli, project, "--from", "cut/joint", "--onto", "color/joint", "--name", "new", *words)
    require_refused(run, 2, "option-unused")


def test_a_base_that_is_not_there_is_refused(cli: Cli, project: Path) -> None:
    require_refused(color(cli, project, "--from", "cut/joint", "--onto", "color/none"), 66, "artifact-missing")


def test_the_dry_run_names_both_inputs(cli: Cli, project: Path) -> None:
    words = ("--from", "cut/joint", "--onto", "color/joint", "--name", "new", "--dry-run", "--json")
    told = color(cli, project, *words).object
    assert told["inputs"] == ["cut/joint", "color/joint"]
    assert not (project / "color" / "new.safetensors").exists()


def test_colours_do_not_depend_on_the_device_asked_for_where_there_is_one(cli: Cli, project: Path) -> None:
    words = ("--from", "cut/joint", *FEW, "--name", "cpu", "--device", "cpu")
    assert color(cli, project, *words).status == 0
    import torch

    if not torch.cuda.is_available():
        assert np.array_equal(tensors_of(project, "color", "cpu")["rgb"], tensors_of(project, "color", "joint")["rgb"])
    require_refused(color(cli, project, "--from", "cut/joint", "--device", "odd"), 2, "bad-device")
