"""`alignedcut probe`: classes and responses from an embedding, and from its likeness to queries."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import RidgeClassifierCV

from alignedcut_cli.backbones.network import build_network
from alignedcut_cli.datasets.images import decode
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.check import faults
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.maps import read_maps
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.helpers.open_clips import open_clip_model, random_weights
from tests.helpers.probing import QUERIES, WIDTH, embeddings, make_probed, write_queries

FEW = ("--bootstrap", "50", "--random", "9")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_probed(tmp_path_factory.mktemp("probing"))


def probe(cli: Cli, study: Path, what: str, *options: object) -> Run:
    given = {"classify": ("--labels", study.parent / "labels.csv"), "brain": ("--brain", study.parent / "brain.npz")}
    queries = () if "--queries" in options else ("--queries", study.parent / "queries.safetensors")
    return cli("probe", what, "--from", "clip", *given[what], *queries, "-p", study, "--json", *options)


def done(run: Run) -> Run:
    assert run.status == 0, run.err
    return run


def test_a_classifier_is_that_of_scikit_learn(cli: Cli, study: Path) -> None:
    found = done(probe(cli, study, "classify", "--bootstrap", "50"))
    header, tensors = load_tensors(Path(found.object["path"]))
    unit = embeddings() / np.linalg.norm(embeddings(), axis=1, keepdims=True)
    truth = (embeddings()[:, 1] <= 0).astype(int)
    for number, rows in enumerate((unit, unit[:, : len(QUERIES)])):
        known, new = rows[::2], rows[1::2]
        mean, scale = known.mean(0), known.std(0)
        fit = RidgeClassifierCV(alphas=10.0 ** np.arange(-3, 4)).fit((known - mean) / scale, truth[::2])
        accuracy = (fit.predict((new - mean) / scale) == truth[1::2]).mean()
        assert tensors["accuracy"][number] == pytest.approx(accuracy, abs=0.051)
        low, high = tensors["accuracy.interval"][number]
        assert low <= tensors["accuracy"][number] <= high
    assert header.axes["K"]["labels"] == ["cat", "fish"]
    sizes = np.abs(tensors["coefficients"])
    assert sizes.argmax(0).tolist() == [1, 1]
    assert np.allclose(tensors["coefficients"][:, 0], -tensors["coefficients"][:, 1], atol=1e-6)
    assert tensors["coefficients"][1, 0] > 0
    assert np.allclose(tensors["similarity"], unit[:, : len(QUERIES)], atol=1e-6)


def test_folders_are_labels_too(cli: Cli, study: Path) -> None:
    found = done(probe(cli, study, "classify", "--labels", "folders", "--name", "by-folder"))
    header, tensors = load_tensors(Path(found.object["path"]))
    assert header.axes["K"]["labels"] == ["a", "b"]
    assert (tensors["accuracy"] < 0.8).all()


def test_each_region_is_told_by_its_query(cli: Cli, study: Path) -> None:
    found = done(probe(cli, study, "brain", *FEW))
    _, tensors = load_tensors(Path(found.object["path"]))
    rows = {row["region"]: row for row in found.object["rows"]}
    queries = {row["query"]: row for row in found.object["queries"]}
    assert max(QUERIES, key=lambda query: queries[query]["furred"]) == "furry"
    assert max(QUERIES, key=lambda query: queries[query]["rounded"]) == "round"
    for region in ("furred", "rounded"):
        assert rows[region]["ereg.queries"] > 0.75 and rows[region]["share"] > 0.95
        assert rows[region]["rank"] == 1 and rows[region]["random.mean"] < rows[region]["ereg.queries"] - 0.2
        assert rows[region]["low.queries"] < rows[region]["ereg.queries"] < rows[region]["high.queries"]
    assert rows["rest"]["ereg.queries"] < rows["rest"]["ereg.embedding"] - 0.2 and rows["rest"]["rank"] > 1
    assert tensors["random"].shape == (9, 4)
    folder = study / "pictures/probe/clip-brain"
    assert (folder / "probe.png").stat().st_size > 5000
    with (folder / "queries.csv").open() as file:
        assert [row["query"] for row in csv.DictReader(file)] == list(QUERIES)
    assert cli("show", "probe/clip-brain", "--export", folder / "a.csv", "--table", "queries", "-p", study).status == 0
    with (folder / "a.csv").open() as file:
        assert [row["query"] for row in csv.DictReader(file)] == list(QUERIES)
    assert faults(Project(study), "probe", "clip-brain", deep=True) == []


def test_random_sets_come_of_a_pool(cli: Cli, study: Path, tmp_path: Path) -> None:
    pool = write_queries(tmp_path / "pool.safetensors", tuple(f"word {number}" for number in range(WIDTH)))
    found = done(probe(cli, study, "brain", "--pool", pool, "--name", "pooled", "--no-pictures", *FEW))
    rows = {row["region"]: row for row in found.object["rows"]}
    assert rows["furred"]["rank"] <= 4 and rows["furred"]["of"] == 10


def test_a_second_run_is_up_to_date(cli: Cli, study: Path) -> None:
    first = done(probe(cli, study, "brain", "--name", "twice", "--no-pictures", *FEW))
    second = done(probe(cli, study, "brain", "--name", "twice", "--no-pictures", *FEW))
    assert first.object["made"] and not second.object["made"]
    assert done(probe(cli, study, "brain", "--name", "dry", "--dry-run")).object["schema"] == "alignedcut.dry-run/1"
    assert not (study / "probe/dry.safetensors").exists()


def test_a_clip_is_probed_by_the_vectors_that_it_gives_itself(cli: Cli, photos: Path, tmp_path: Path) -> None:
    """The image embedding is what the visual tower gives, after its projection; queries are read by its own text tower."""
    import open_clip

    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    model = open_clip_model(tmp_path, text=text)
    weights = random_weights(model, tmp_path / "weights.safetensors")
    given = ("-m", model.label, "--weights", weights, "--tap", "maps", "--modules", "visual", "--name", "clip")
    done(cli("extract", photos, *given, "-p", tmp_path / "study"))
    queries = ("a photo of a cat", "something round")
    (tmp_path / "queries.txt").write_text("\n".join(queries))
    there = read_maps(FeatureSet(tmp_path / "study/features/clip"))
    paths = [Path(image["path"]) for image in there.images]
    (tmp_path / "labels.csv").write_text(
        "\n".join(["image,label", *(f"{one},{n % 4 // 2}" for n, one in enumerate(paths))])
    )
    options = ("--queries", tmp_path / "queries.txt", "--labels", tmp_path / "labels.csv", "--bootstrap", "0")
    reading = ("--from", "clip", "--model", model.label, "--weights", weights)
    found = done(cli("probe", "classify", *reading, *options, "-p", tmp_path / "study", "--no-pictures", "--json"))

    clip = open_clip.create_model(model.target, load_weights=False).eval()
    clip.load_state_dict(load_file(weights))
    network = build_network(model, None)
    pixels = np.stack([network.preprocess.resize(decode(photos / path, 32)) for path in paths])
    with torch.no_grad():
        images = clip.encode_image(network.preprocess.normalise(pixels, torch.device("cpu")), normalize=True)
        words = clip.encode_text(open_clip.get_tokenizer(model.target)(list(queries)), normalize=True)
    similarity = load_tensors(Path(found.object["path"]))[1]["similarity"]
    np.testing.assert_allclose(similarity, (images @ words.T).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("what", "options", "status", "told"),
    [
        ("classify", ("--roi", "V1"), 2, "probe classify does not use --roi"),
        ("brain", ("--labels", "folders"), 2, "probe brain does not use --labels"),
        ("brain", ("--layer", "early"), 65, "early of features/clip has 3"),
        ("brain", ("--layer", "nowhere"), 2, "no layer 'nowhere'.*early, image"),
        ("brain", ("--queries", "nothing.txt"), 66, "no such file"),
        ("brain", ("--queries", "TEXT"), 2, "--model does not say who reads it"),
        ("brain", ("--queries", "TWICE"), 65, "has a twice"),
        ("brain", ("--pool", "QUERIES"), 2, "has 5 queries, --queries 5"),
        ("brain", ("--model", "hf:bert"), (2, 69), "no CLIP"),
        ("classify", ("--split", "kfold:3"), 2, "is not for probes"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    cli: Cli, study: Path, tmp_path: Path, what: str, options: tuple[str, ...], status: int | tuple[int, ...], told: str
) -> None:
    (tmp_path / "text.txt").write_text("a cat\n# a remark\na dog\n")
    write_queries(tmp_path / "twice.safetensors", ("a", "a"))
    places = {
        "TEXT": tmp_path / "text.txt",
        "TWICE": tmp_path / "twice.safetensors",
        "QUERIES": study.parent / "queries.safetensors",
    }
    given = {"classify": ("--labels", study.parent / "labels.csv"), "brain": ("--brain", study.parent / "brain.npz")}
    if "--labels" in options:
        given["brain"] = ("--brain", study.parent / "brain.npz")
    queries = () if "--queries" in options else ("--queries", study.parent / "queries.safetensors")
    words = [places.get(word, word) for word in options]
    found = cli("probe", what, "--from", "clip", *given[what], *queries, "-p", study, *words)
    assert found.status in (status if isinstance(status, tuple) else (status,)), found.err
    assert re.search(told, found.err), found.err
    assert found.out == "" and found.err.count("\n") == 1


def test_the_shipped_queries_are_each_there_once() -> None:
    from alignedcut_cli.datasets.samples import sample_data

    lines = (sample_data() / "queries/looks.txt").read_text(encoding="utf-8").splitlines()
    queries = [line for line in lines if line and not line.startswith("#")]
    assert len(queries) == len(set(queries)) > 50
