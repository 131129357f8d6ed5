"""`alignedcut cut --onto` a cut of graphs: the rows of new images, what others make of them, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alignedcut_cli.core.graph.new_images import KnownGraph, Limits, edges_of, embedded_rows
from alignedcut_cli.nodes.rows import patch_rows
from alignedcut_cli.nodes.slots import find_slots
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.features import FeatureSet
from tests.commands.cut.conftest import GRID, IMAGES, PLACES
from tests.conftest import Cli, Run

COUNT = 5
CUT = ("-C", COUNT, "--neighbors", 6, "--neighbors-across", 8, "--no-pictures", "-q")


def rows(study: Path, name: str, layer: int) -> torch.Tensor:
    return patch_rows(find_slots(FeatureSet(study / "features" / name), str(layer))[0])


def made(run: Run) -> tuple[Any, dict[str, np.ndarray]]:
    assert run.status == 0, run.err
    return load_tensors(Path(run.out.splitlines()[0]))


@pytest.mark.parametrize("options", [(), ("--per-slot",), ("--heads", "--layer-weights", "1,2,3")])
def test_the_rows_are_those_of_the_kernel(cli: Cli, study: Path, options: tuple[object, ...]) -> None:
    """Graph by graph, one layer of the base's degrees after the other."""
    base, known = made(cli("cut", "--graph", "qk", "--from", "tiny-q", *options, "--name", "base", *CUT, "-p", study))
    header, found = made(cli("cut", "--onto", "cut/base", "--from", "more-q", "--no-pictures", "-q", "-p", study))
    assert header.name == "more-onto-base" and header.params["onto"]
    assert [given.name for given in header.inputs] == ["more-q", "more-k", "base"]
    heads = base.history[0]["params"]["heads"][0] if "--heads" in options else 1
    limits, place, edges = Limits(6, 8, 0.1), 0, []
    for layer, weight in zip((0, 2, 4), known["layer_weights"].tolist(), strict=True):
        theirs, mine = (
            [rows(study, f"{name}-{tap}", layer).chunk(heads, 1) for tap in "qk"] for name in ("tiny", "more")
        )
        start, stop = known["graphs"][len(edges) if "--per-slot" in options else 0]
        vectors = torch.from_numpy(known["eigenvectors"][start:stop])
        for head in range(heads):
            part = slice(place, place + IMAGES * PLACES)
            degrees, least = (torch.from_numpy(known[name][part]) for name in ("degrees", "least"))
            graph = KnownGraph(theirs[0][head], theirs[1][head], degrees, least)
            new = mine[0][head], mine[1][head]
            edges.append(edges_of(graph, *new, vectors, limits, fine=GRID, grid=GRID, weight=weight / heads))
            place += IMAGES * PLACES
    assert place == len(known["degrees"]) == len(known["least"])
    values = torch.from_numpy(known["eigenvalues"])
    if "--per-slot" in options:
        wanted = [embedded_rows([one], values[number], GRID)[0] for number, one in enumerate(edges)]
    else:
        wanted = [embedded_rows(edges, values[0], GRID)[0]]
    np.testing.assert_allclose(found["eigenvectors"], torch.cat(wanted).numpy(), atol=1e-6)
    assert found["nodes"][:, 0].max() == 1 and len(found["graphs"]) == len(wanted)


def test_places_of_the_same_images_come_back(cli: Cli, study: Path) -> None:
    """Above chance by far: four photographs make a poor graph. What real photographs give is in tests/real."""
    base = made(cli("cut", "--graph", "vv", "--from", "tiny-v", "--name", "base", *CUT, "-p", study))[1]["eigenvectors"]
    found = made(cli("cut", "--onto", "base", "--from", "tiny-v", "--no-pictures", "-q", "-p", study))[1][
        "eigenvectors"
    ]
    cosine = (base * found).sum(1) / np.linalg.norm(base, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.mean() > 0.9


def test_the_memory_allowed_changes_nothing(cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("cut", "--graph", "vv", "--from", "tiny-v", "--name", "base", *CUT, "-p", study)
    words = ("cut", "--onto", "cut/base", "--from", "more-v", "--no-pictures", "-q", "-p", study)
    whole = made(cli(*words))[1]["eigenvectors"]
    need = cli(*words, "--dry-run", "--json", "--name", "b").object["memory"]
    few = made(cli(*words, "--name", "b", "--memory", f"{need}"))[1]["eigenvectors"]
    np.testing.assert_allclose(few, whole, atol=1e-6)
    run = cli(*words, "--name", "c", "--memory", f"{need - 1}")
    assert run.status == 71 and "[memory-budget, exit 71]" in run.err


def test_colours_segments_and_pictures_work_on_it(cli: Cli, study: Path, tmp_path: Path) -> None:
    place = ("-p", study)
    assert cli("cut", "--graph", "vv", "--from", "tiny-v", "--name", "base", *CUT, *place).status == 0
    assert cli("color", "--from", "cut/base", "--nodes", 40, "--perplexity", 5, *place).status == 0
    run = cli("cut", "--onto", "cut/base", "--from", "more-v", "--json", *place)
    assert len(list(Path(run.object["pictures"]).glob("*.png"))) == 2
    assert cli("color", "--from", "cut/more-onto-base", "--onto", "color/base", *place).status == 0
    masks = tmp_path / "masks"
    masks.mkdir()
    for image in cli("show", "cut/more-onto-base", "--json", *place).object["axes"]["B"]["images"]:
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        mask[:, image["width"] // 2 :] = 1
        Image.fromarray(mask).save(masks / image["path"])
    run = cli("segment", "--from", "cut/more-onto-base", "--masks", masks, "-C", 4, *place)
    assert run.status == 0 and " 0,2,4  0." in run.out


def test_what_cannot_be_is_refused_in_one_line(cli: Cli, study: Path) -> None:
    def refused(*words: object) -> str:
        run = cli("cut", *words, "-p", study, "-q")
        assert run.status and run.err.count("\n") == 1
        return f"{run.status} {run.err}"

    source = ("--graph", "vv", "--from", "tiny-v")
    for name, options in (
        ("base", ()),
        ("two", ("--layers", 2)),
        ("alone", ("--scope", "image")),
        ("descent", ("--solver", "gradient", "--epochs", 1)),
    ):
        words = [*CUT[:4], *(() if name == "alone" else CUT[4:6]), *CUT[6:]]
        assert cli("cut", *source, *options, "--name", name, *words, "-p", study).status == 0
    new = ("--from", "more-v")
    assert "[not-extensible, exit 2]" in refused("--onto", "cut/alone", *new)
    assert "gradient descent" in refused("--onto", "cut/descent", *new)
    assert "--onto does not use --graph" in refused("--onto", "cut/base", "--graph", "vv", *new)
    assert "grid [3, 3], not [5, 5]" in refused("--onto", "cut/two", "--from", "small-v")
    assert "joined 1 models, 2 were given" in refused("--onto", "cut/base", *new, "--from", "tiny-v")
    assert cli("cut", "--onto", "cut/base", *new, "--no-pictures", "-p", study).status == 0
    assert "itself an embedding" in refused("--onto", "cut/more-onto-base", *new)
    shutil.rmtree(study / "features" / "tiny-v")
    assert "66 " in refused("--onto", "cut/base", *new, "--name", "gone")
    shutil.copytree(study / "features" / "tiny-k", study / "features" / "tiny-v")
    assert "[other-features, exit 65]" in refused("--onto", "cut/base", *new, "--name", "gone")
