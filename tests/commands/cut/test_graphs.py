"""`alignedcut cut --graph vv|kk|qk|attn`: what it stores, what downstream commands make of it, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alignedcut_cli.core.graph.mean_of_graphs import LayerGraph, ncut_of_graphs
from alignedcut_cli.core.graph.sparse_graph import attention_graph, cosine_graph, split_heads
from alignedcut_cli.nodes.rows import patch_rows
from alignedcut_cli.nodes.slots import find_slots
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.features import FeatureSet
from tests.commands.cut.conftest import GRID, IMAGES, PLACES
from tests.conftest import Cli, Run
from tests.helpers.reference import assert_same_subspace, projector_distance

COUNT = 6
CUT = ("-C", COUNT, "--neighbors", 6, "--neighbors-across", 8, "-q")


def rows(study: Path, name: str, layer: int) -> torch.Tensor:
    return patch_rows(find_slots(FeatureSet(study / "features" / name), str(layer))[0])


def made(run: Run) -> tuple[Any, dict[str, np.ndarray]]:
    assert run.status == 0, run.err
    return load_tensors(Path(run.out.splitlines()[0]))


def vectors(tensors: dict[str, np.ndarray], graph: int = 0) -> torch.Tensor:
    start, stop = tensors["graphs"][graph]
    return torch.from_numpy(tensors["eigenvectors"][start:stop])


@pytest.mark.parametrize("graph", ["vv", "kk", "qk"])
def test_a_cut_is_that_of_the_mean_of_the_graphs_of_its_layers(cli: Cli, study: Path, graph: str) -> None:
    header, tensors = made(cli("cut", "--graph", graph, "--from", f"tiny-{graph[1]}", *CUT, "-p", study))
    taps = [f"tiny-{tap}" for tap in graph]
    graphs = [
        cosine_graph(*(rows(study, name, layer) for name in taps), PLACES, within=6, across=8) for layer in (0, 2, 4)
    ]
    wanted = ncut_of_graphs([LayerGraph(one, GRID) for one in graphs], COUNT)
    assert_same_subspace(vectors(tensors), wanted.eigenvectors, 1e-3)
    assert header.params["layers"] == [[0, 2, 4]] and header.params["graph"] == graph
    assert [given.name for given in header.inputs] == list(dict.fromkeys(taps))
    slot = header.axes["S"]["slots"][0]
    assert (slot["tap"], slot["layers"], slot["grid"], slot["class_token"]) == (graph, [0, 2, 4], list(GRID), False)
    assert tensors["nodes"].shape == (IMAGES * PLACES, 4) and tensors["nodes"].min() == 0
    assert tensors["isolated"].tolist() == [int(one.isolated.sum()) for one in graphs]
    assert header.raw["certificates"][0]["residual"] < 1e-4 and header.raw["certificates"][0]["orthogonality"] < 1e-4


def test_per_slot_and_by_image_are_the_cuts_of_each_alone(cli: Cli, study: Path) -> None:
    _, tensors = made(cli("cut", "--graph", "vv", "--from", "tiny-v", "--per-slot", *CUT, "-p", study))
    assert len(tensors["graphs"]) == 3
    for number, layer in enumerate((0, 2, 4)):
        alone = rows(study, "tiny-v", layer)
        graph = cosine_graph(alone, alone, PLACES, within=6, across=8)
        wanted = ncut_of_graphs([LayerGraph(graph, GRID)], COUNT)
        assert_same_subspace(vectors(tensors, number), wanted.eigenvectors, 1e-3)
    words = ("--scope", "image", "--neighbors", 6, "-C", COUNT, "-q")
    header, tensors = made(cli("cut", "--graph", "vv", "--from", "tiny-v", *words, "-p", study))
    assert header.name == "tiny-vv-image" and header.params["neighbors_across"] == 0
    assert tensors["graphs"].tolist() == [[25 * n, 25 * n + 25] for n in range(IMAGES)]
    own = [rows(study, "tiny-v", layer)[50:75] for layer in (0, 2, 4)]
    wanted = ncut_of_graphs(
        [LayerGraph(cosine_graph(one, one, PLACES, within=6, across=0), GRID) for one in own], COUNT
    )
    assert_same_subspace(vectors(tensors, 2), wanted.eigenvectors, 1e-3)


def test_heads_are_graphs_of_their_own(cli: Cli, study: Path) -> None:
    header, tensors = made(cli("cut", "--graph", "kk", "--from", "tiny-k", "--heads", *CUT, "-p", study))
    heads = header.history[0]["params"]["heads"][0]
    parts = [part for layer in (0, 2, 4) for part in split_heads(rows(study, "tiny-k", layer), heads)]
    graphs = [LayerGraph(cosine_graph(part, part, PLACES, within=6, across=8), GRID) for part in parts]
    assert heads > 1 and header.name == "tiny-kk-heads"
    assert_same_subspace(vectors(tensors), ncut_of_graphs(graphs, COUNT).eigenvectors, 1e-3)


def test_attention_is_cut_image_by_image(cli: Cli, study: Path) -> None:
    run = cli("cut", "--graph", "attn", "--from", "tiny-q", "--layers", 2, "-C", COUNT, "-q", "-p", study)
    header, tensors = made(run)
    assert header.params["scope"] == "image" and header.params["threshold"] == 0
    heads, scale = (header.axes["S"]["slots"][0].get(key) for key in ("heads", "scale"))
    assert heads is scale is None
    about = FeatureSet(study / "features" / "tiny-q").slots[1]
    scales = [about["scale"]] * about["heads"]
    queries, keys = (rows(study, name, 2)[25:50] for name in ("tiny-q", "tiny-k"))
    wanted = ncut_of_graphs([LayerGraph(attention_graph(queries, keys, PLACES, scales, within=50), GRID)], COUNT)
    assert_same_subspace(vectors(tensors, 1), wanted.eigenvectors, 1e-3)


def test_a_model_with_a_coarser_grid_joins_on_the_finer_one(cli: Cli, study: Path) -> None:
    words = ("--from", "tiny-v", "--from", "small-v", "--layers", 2, "--layer-weights", "1,3")
    header, tensors = made(cli("cut", "--graph", "vv", *words, *CUT, "-p", study))
    fine, coarse = rows(study, "tiny-v", 2), rows(study, "small-v", 2)
    graphs = [
        LayerGraph(cosine_graph(fine, fine, PLACES, within=6, across=8), GRID, 1),
        LayerGraph(cosine_graph(coarse, coarse, 9, within=6, across=8), (3, 3), 3),
    ]
    assert_same_subspace(vectors(tensors), ncut_of_graphs(graphs, COUNT).eigenvectors, 1e-3)
    assert header.name == "tiny+small-vv" and tensors["layer_weights"].tolist() == [0.25, 0.75]
    by_grid = made(cli("cut", "--graph", "vv", *words[:-1], "grid", "--name", "g", *CUT, "-p", study))[1][
        "layer_weights"
    ]
    np.testing.assert_allclose(by_grid, [3 / 8, 5 / 8], rtol=1e-5)


def test_sisters_are_found_by_recipe_and_not_by_name(cli: Cli, study: Path) -> None:
    (study / "features" / "tiny-q").rename(study / "features" / "oddly-named")
    run = cli("cut", "--graph", "qk", "--from", "tiny-v", *CUT, "-p", study)
    header, _ = made(run)
    assert [given.name for given in header.inputs] == ["oddly-named", "tiny-k"]
    again = cli("cut", "--graph", "qk", "--from", "tiny-k", "--name", header.name, *CUT[:-1], "-p", study)
    assert "is up to date" in again.err
    shutil.rmtree(study / "features" / "small-q")
    run = cli("cut", "--graph", "qk", "--from", "small-v", *CUT, "-p", study)
    assert run.status == 66 and "needs features of tap q" in run.err and "--tap q --tap k" in run.err


def test_what_others_make_of_such_a_cut(cli: Cli, study: Path, tmp_path: Path) -> None:
    place = ("-p", study)
    run = cli("cut", "--graph", "vv", "--from", "tiny-v", *CUT[:-1], "--json", *place)
    assert sorted(path.name for path in Path(run.object["pictures"]).glob("*.png"))[0] == "0000-photo-00.png"
    with Image.open(next(Path(run.object["pictures"]).glob("*.png"))) as picture:
        assert picture.width > 400
    show = cli("show", "cut/tiny-vv", *place).out
    assert "layers 0,2,4" in show and "one for all layers" in show
    assert cli("color", "--from", "cut/tiny-vv", "--nodes", 40, "--perplexity", 5, *place).status == 0
    masks = tmp_path / "masks"
    masks.mkdir()
    for number, image in enumerate(cli("show", "cut/tiny-vv", "--json", *place).object["axes"]["B"]["images"]):
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        mask[:, image["width"] // 2 :] = 1 + number % 2
        Image.fromarray(mask).save(masks / image["path"])
    for words in (("-C", 5), ("--method", "kway", "--clusters", 3, "--name", "k")):
        run = cli("segment", "--from", "cut/tiny-vv", "--masks", masks, *words, *place)
        assert run.status == 0, run.err
        assert " 0,2,4  0." in run.out


def test_commands_that_read_features_refuse_such_a_cut(cli: Cli, study: Path) -> None:
    assert cli("cut", "--graph", "qk", "--from", "tiny-q", *CUT, "--no-pictures", "-p", study).status == 0
    assert (
        cli("color", "--from", "cut/tiny-qk", "--nodes", 40, "--perplexity", 5, "--no-pictures", "-p", study).status
        == 0
    )
    run = cli("concepts", "--from", "color/tiny-qk", "-p", study)
    assert run.status == 65 and "[cut-of-graphs, exit 65]" in run.err
    assert cli("trace", "--from", "cut/tiny-qk", "-p", study).status == 2


def test_two_graphs_of_one_model_are_cut_apart(cli: Cli, study: Path) -> None:
    first, second = (
        vectors(made(cli("cut", "--graph", graph, "--from", "tiny-v", *CUT, "-p", study))[1]) for graph in ("vv", "qk")
    )
    assert projector_distance(first, second) > 0.1


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("--graph", "vw"), 2, "bad-choice"),
        (("--graph", "vv", "--threshold", 1.1), 2, "bad-threshold"),
        (("--graph", "vv", "--threshold", "nan"), 2, "bad-threshold"),
        (("--graph", "vv", "--gamma", 0.3), 2, "option-unused"),
        (("--graph", "vv", "--solver", "lowrank"), 2, "bad-choice"),
        (("--solver", "direct"), 2, "bad-choice"),
        (("--threshold", 0.3), 2, "option-unused"),
        (("--no-pictures",), 2, "option-unused"),
        (("--graph", "attn", "--scope", "dataset"), 2, "option-contradicts"),
        (("--graph", "vv", "--scope", "image", "--neighbors-across", 3), 2, "option-unused"),
        (("--graph", "vv", "--scope", "all"), 2, "bad-choice"),
        (("--graph", "vv", "--layer-weights", "1,2"), 2, "bad-weights"),
        (("--graph", "vv", "--layer-weights", "0,0,0"), 2, "bad-weights"),
        (("--graph", "vv", "--layer-weights", "1,nan,1"), 2, "bad-weights"),
        (("--graph", "vv", "-C", 101), 2, "too-many-eigenvectors"),
        (("--graph", "vv", "--memory", "100K"), 71, "memory-budget"),
        (("--graph", "vv", "--threshold", 0.99999), 65, "cannot-cut"),
        (("--graph", "vv", "--layers", 3), 2, "bad-layers"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    cli: Cli, study: Path, words: tuple[Any, ...], status: int, code: str
) -> None:
    run = cli("cut", "--from", "tiny-v", *words, "-p", study, "-q")
    assert run.status == status, run.err
    assert f"[{code}, exit {status}]" in run.err and run.err.count("\n") == 1
    assert not (study / "cut").exists() or not list((study / "cut").iterdir())


def test_without_a_source_the_only_model_with_such_taps_is_taken(cli: Cli, study: Path) -> None:
    run = cli("cut", "--graph", "vv", *CUT, "-p", study)
    assert run.status == 2 and "3 models have such features: more, small, tiny" in run.err
    for name in ("small", "more"):
        for tap in "qkv":
            shutil.rmtree(study / "features" / f"{name}-{tap}")
    assert made(cli("cut", "--graph", "vv", *CUT, "-p", study))[0].name == "tiny-vv"
    shutil.rmtree(study / "features" / "tiny-v")
    run = cli("cut", "--graph", "vv", *CUT, "-p", study)
    assert run.status == 66 and "--tap v" in run.err


def test_a_dry_run_writes_nothing_and_tells_the_memory(cli: Cli, study: Path) -> None:
    run = cli("cut", "--graph", "qk", "--from", "tiny-q", "--dry-run", "--json", *CUT, "-p", study)
    assert run.object["memory"] > 50_000 and not (study / "cut").exists()
    assert run.object["inputs"] == ["features/tiny-q", "features/tiny-k"]
    kept = {one["path"]: one["bytes"] for one in run.object["outputs"]}
    assert [Path(path).name for path, size in kept.items() if ".parts" in path and size > 10_000] == [".tiny-qk.parts"]
    alone = ("--scope", "image", "-C", 3, "--dry-run", "--json", "-p", study)
    by_image = cli("cut", "--graph", "qk", "--from", "tiny-q", *alone)
    assert by_image.status == 0, by_image.err
    assert not any(".parts" in one["path"] for one in by_image.object["outputs"]), by_image.err


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_gradient_descent_stores_its_losses_and_reaches_no_more_than_the_direct_solver(
    cli: Cli, study: Path, scope: str
) -> None:
    words = ("--scope", scope, "--neighbors", 6, "-C", COUNT, "-q", "--no-pictures", "-p", study)
    direct = made(cli("cut", "--graph", "vv", "--from", "tiny-v", "--name", "direct", *words))[1]
    descent = ("--solver", "gradient", "--epochs", 5, "--name", "gradient")
    header, tensors = made(cli("cut", "--graph", "vv", "--from", "tiny-v", *descent, *words))
    steps, graphs = (25, 1) if scope == "dataset" else (5, IMAGES)
    assert tensors["losses"].shape == (graphs, steps, 3) and header.axes["e"]["labels"][0] == "total"
    assert (tensors["losses"][:, -1, 0] < tensors["losses"][:, 0, 0]).all()
    assert (tensors["eigenvalues"].sum(1) <= direct["eigenvalues"].sum(1) + 1e-4).all()
    assert header.params["epochs"] == 5 and ("batch" in header.params) == (scope == "dataset")


@pytest.mark.parametrize(
    "words", [("--epochs", 3), ("--batch", 3), ("--solver", "gradient", "--scope", "image", "--batch", 3)]
)
def test_options_of_descent_without_it_are_refused(cli: Cli, study: Path, words: tuple[object, ...]) -> None:
    run = cli("cut", "--graph", "vv", "--from", "tiny-v", *words, "-p", study)
    assert run.status == 2 and "[option-unused, exit 2]" in run.err
