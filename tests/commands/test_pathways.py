"""`alignedcut pathways` on a world where one cut knows what and the other where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alignedcut_cli.core.groups.information import grid_positions
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import Project
from tests.conftest import Cli
from tests.helpers.aligning import image_entries

IMAGES, SIDE, GRID = 8, 32, 8
WORDS = ("--eigenvectors", 4, "--clusters", 4, "--grid", 2, "--bootstrap", 50, "--permutations", 19)


def write_cut(project: Project, name: str, groups: np.ndarray, **changes: Any) -> None:
    """A cut of one slot whose eigenvectors are the indicators of groups (images, GRID, GRID), a bit noisy."""
    images = [
        {**one, "width": SIDE, "height": SIDE} for one in image_entries([f"picture-{n}.jpg" for n in range(IMAGES)])
    ]
    random = torch.Generator().manual_seed(0)
    hot = torch.nn.functional.one_hot(torch.from_numpy(groups.reshape(-1)), 4).float()
    vectors = torch.cat([torch.ones(len(hot), 1), hot + 0.05 * torch.randn(len(hot), 4, generator=random)], 1)
    cells = [(row, column) for row in range(GRID) for column in range(GRID)]
    nodes = np.array([(image, 0, *cell) for image in range(len(groups)) for cell in cells], np.int32)
    by_image = changes.get("scope") == "image"
    parts = len(groups) if by_image else 1
    step = len(nodes) // parts
    tensors = {
        "eigenvectors": vectors.numpy(),
        "nodes": nodes,
        "graphs": np.array([[n * step, (n + 1) * step] for n in range(parts)], np.int64),
    }
    axes = {
        "M": {"size": len(nodes)},
        "C": {"size": 5},
        "G": {"size": parts},
        "B": {"size": len(images), "images": images},
    }
    slot = {"model": "m", "layer": 2, "tap": name, "grid": [GRID, GRID], "class_token": False, "width": 4}
    axes["S"] = {"size": 1, "slots": [{**slot, **({"layers": [0, 1, 2]} if changes.get("joint") else {})}]}
    recipe = Recipe("cut", name, 1, {"per_slot": False, "scope": changes.get("scope", "dataset")})
    meanings = {"eigenvectors": ("M C", ""), "nodes": ("M T", ""), "graphs": ("G R", "")}
    write_artifact(project.path("cut", name), recipe, tensors, meanings, axes=axes, numerics={}, parents=())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """study/ with cuts of classes (what), positions (where) and nothing (noise); masks/ and instances/. Read only."""
    folder = tmp_path_factory.mktemp("pathways")
    project = Project(folder / "study").create()
    random = np.random.default_rng(0)
    classes = np.zeros((IMAGES, GRID, GRID), np.int64)
    for image in classes:
        for one in range(1, 4):
            top, left = random.integers(0, 5, 2)
            image[top : top + 3, left : left + 3] = one
    for kind in ("masks", "instances"):
        (folder / kind).mkdir()
    for number, image in enumerate(classes):
        large = image.repeat(4, 0).repeat(4, 1).astype(np.uint8)
        Image.fromarray(large).save(folder / "masks" / f"picture-{number}.png")
        halves = np.where(np.arange(SIDE)[None] < SIDE // 2, 1, 2).astype(np.uint8) * (large > 0)
        Image.fromarray(halves).save(folder / "instances" / f"picture-{number}.png")
    places = np.tile(grid_positions((GRID, GRID), 2), (IMAGES, 1, 1))
    write_cut(project, "what", classes, joint=True)
    write_cut(project, "where", places)
    write_cut(project, "noise", random.integers(4, size=classes.shape))
    write_cut(project, "single", classes, scope="image")
    return folder


def rows_of(cli: Cli, world: Path, *words: object) -> dict[str, Any]:
    run = cli("pathways", "--masks", world / "masks", *WORDS, *words, "--json", "-p", world / "study")
    assert run.status == 0, run.err
    return {row["cut"]: row for row in run.object["rows"]}


def test_what_and_where_come_apart(cli: Cli, world: Path) -> None:
    rows = rows_of(
        cli, world, "--from", "what", "--from", "where", "--from", "noise", "--instances", world / "instances"
    )
    for cut, told, other in (("what", "class", "position"), ("where", "position", "class")):
        for scope in ("dataset", "within"):
            assert rows[cut][told][scope]["value"] == pytest.approx(1, abs=1e-6)
            assert rows[cut][told][scope]["p"] == pytest.approx(1 / 20)
            assert rows[cut][other][scope]["value"] < 0.5
    noise = rows["noise"]
    for measure in ("class", "position"):
        assert abs(noise[measure]["dataset"]["value"]) < 0.05
        assert noise[measure]["dataset"]["low"] < noise[measure]["dataset"]["value"] < noise[measure]["dataset"]["high"]
    assert noise["instance"]["dataset"]["value"] is None and noise["instance"]["within"]["value"] is not None
    assert rows["what"]["layers"] == "0-2" and rows["what"]["layer"] is None and rows["where"]["layer"] == 2
    folder = world / "study" / "pictures" / "pathways" / "what+where+noise"
    assert {path.name for path in folder.iterdir()} == {"table.csv", "pathways.png", "drawn.json"}
    text = cli("pathways", "--masks", world / "masks", *WORDS, "--from", "noise", "-p", world / "study").out
    assert "accuracy" not in text and "(" in text.splitlines()[1], "chance stands in brackets"


def test_a_cut_image_by_image_says_nothing_over_the_data_set(cli: Cli, world: Path) -> None:
    row = rows_of(cli, world, "--from", "single", "--name", "single")["single"]
    assert row["class"]["dataset"]["value"] is row["position"]["dataset"]["value"] is None
    assert row["class"]["within"]["value"] == pytest.approx(1, abs=1e-6)
    assert "instance" not in row
    assert cli("check", "--deep", "--exit-code", "-p", world / "study").status == 0, "NaN means none here"


def test_the_same_seed_gives_the_same_bytes(cli: Cli, world: Path) -> None:
    contents = set()
    for name in ("first", "second"):
        run = cli(
            "pathways",
            "--masks",
            world / "masks",
            *WORDS,
            "--from",
            "noise",
            "--name",
            name,
            "--json",
            "-p",
            world / "study",
        )
        contents.add(run.object["content"])
    assert len(contents) == 1
    tensors = load_tensors(world / "study" / "pathways" / "first.safetensors")[1]
    assert tensors["information"].shape == (1, 2, 2, 6) and set(np.unique(tensors["clusters"])) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("--eigenvectors", 5), 2, "too-many-eigenvectors"),
        (("-C", 4, "--clusters", 10_000), 2, "too-many-clusters"),
        (("--dataset", "none"), 2, "bad-choice"),
        (("--from", "noise", "--from", "noise"), 2, "input-twice"),
        (("--from", "nothing"), 66, "artifact-missing"),
        (("-C", 4, "--instances", "/nowhere"), 66, "masks-missing"),
        (("-C", 4, "--ignore", "0-3"), 65, "one-class"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, world: Path, words: tuple[object, ...], status: int, code: str) -> None:
    source = () if "--from" in words else ("--from", "noise")
    run = cli("pathways", "--masks", world / "masks", *source, *words, "-p", world / "study", "--name", "x")
    assert run.status == status and f"[{code}, exit {status}]" in run.err


def test_a_dry_run_writes_nothing(cli: Cli, world: Path) -> None:
    run = cli(
        "pathways",
        "--masks",
        world / "masks",
        "--from",
        "noise",
        *WORDS,
        "--name",
        "dry",
        "--dry-run",
        "-p",
        world / "study",
    )
    assert run.status == 0 and "needs" in run.out
    assert not (world / "study" / "pathways" / "dry.safetensors").exists()
