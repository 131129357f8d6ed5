"""The simulated brain, whose truth is known: which layers, models and captions predict which area. Prints the table."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors, read_header
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.maps import read_maps
from sample_data.make.brain import write_brain

pytestmark = pytest.mark.benchmark

EARLY, LATE = ("V1", "V2", "V3", "V4"), ("EBA", "FBA", "OFA", "FFA", "OWFA", "VWFA")
LAYERS = 6


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smaller simulated brain."""
    folder = tmp_path_factory.mktemp("world")
    write_brain(folder / "brain", training=400, test=200)
    return folder


def images_of(folder: Path) -> list[str]:
    return [str(folder / f"brain/{kind}_split/{kind}_images") for kind in ("training", "test")]


@pytest.fixture(scope="module")
def scored(world: Path) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Tensors of eReg of all blocks of tiny-clip and tiny-mae, regions, models."""
    folder, seen = world, images_of(world)
    models = ["-m", "tiny-clip", "-m", "tiny-mae", "--name", "clip", "--name", "mae"]
    place = ["-p", str(folder / "study"), "-q"]
    assert main(["extract", *seen, *models, "--tap", "maps", "--modules", "blocks.?", *place]) == 0
    given = ["--brain", str(folder / "brain"), "--from", "clip", "--from", "mae", "--split", "given"]
    options = ["--metric", "ereg", "--roi", ",".join((*EARLY, *LATE)), "--bootstrap", "200", "--name", "world"]
    assert main(["score", *given, *options, *place]) == 0
    header, tensors = load_tensors(Path(folder / "study/score/world.safetensors"))
    return tensors, [one["region"] for one in header.axes["C"]["targets"]], list(header.axes["M"]["labels"])


def test_early_areas_follow_early_layers_and_category_areas_late_ones_of_the_model_that_knows_categories(
    scored: tuple[dict[str, np.ndarray], list[str], list[str]],
) -> None:
    tensors, regions, models = scored
    clip, mae = models.index("tiny-clip"), models.index("tiny-mae")
    for area in (*EARLY, *LATE):
        c = regions.index(area)
        best, score = tensors["best"][clip, c, 0], tensors["best.score"][:, c]
        share = score[clip] / tensors["ceiling"][c, 0, 1]
        told = f"block {best} r {score[clip]:.3f}, {100 * share:.0f} % of the ceiling"
        print(f"{area}: tiny-clip {told}; tiny-mae {score[mae]:.3f}")
        if area in EARLY:
            assert best <= 2 and abs(score[clip] - score[mae]) < 0.05 and share > 0.6
        else:
            assert best == LAYERS - 1 and score[clip] > score[mae] + 0.2 and share > 0.55
        assert tensors["best.p"][clip, c] < 0.02


def test_shares_of_the_ceiling_beside_those_of_align(
    world: Path, scored: tuple[dict[str, np.ndarray], list[str], list[str]]
) -> None:
    """What the best layer explains of each area by `score`, and what all blocks of both models explain by `align`."""
    tensors, regions, models = scored
    place = ["-p", str(world / "study"), "-q"]
    sources = []
    for model in ("clip", "mae"):
        reading = ["-m", f"tiny-{model}", "--tap", "block", "--tokens", "sample:16", "--name", f"{model}-block"]
        assert main(["extract", *images_of(world), *reading, *place]) == 0
        sources += ["--from", f"features/{model}-block"]
    options = ["--test-split", "given", "--agree", "0", "--name", "beside"]
    assert main(["align", "--brain", str(world / "brain"), *sources, *options, *place]) == 0
    aligned = {row["roi"]: row["share"] for row in read_header(world / "study/align/beside.safetensors").raw["rois"]}
    clip = models.index("tiny-clip")
    for area in (*EARLY, *LATE):
        c = regions.index(area)
        share = float(tensors["explained"][tensors["best"][clip, c, 0], c])
        print(f"{area}: score, block {tensors['best'][clip, c, 0]} of tiny-clip {share:.2f}; align {aligned[area]:.2f}")
        assert share > 0.3 and abs(share - aligned[area]) < 0.15


def test_responses_to_other_images_are_not_predicted(world: Path, scored: object) -> None:
    """The same responses, dealt out anew among the images: scores about zero, in intervals that hold it."""
    random = np.random.default_rng(0)
    permuted = world / "permuted"
    shutil.copytree(world / "brain", permuted)
    for split in ("training", "test"):
        files = sorted((permuted / f"{split}_split/{split}_fmri").glob("*.npy"))
        order = random.permutation(len(np.load(files[0])))
        for file in files:
            np.save(file, np.load(file)[order])
    given = ["--brain", str(permuted), "--from", "clip", "--split", "given", "--roi", ",".join((*EARLY, *LATE))]
    options = ["--metric", "crsa,ereg,ersa,cka", "--bootstrap", "200", "--name", "permuted"]
    assert main(["score", *given, *options, "-p", str(world / "study"), "-q"]) == 0
    header, tensors = load_tensors(Path(world / "study/score/permuted.safetensors"))
    for metric in ("crsa", "ereg", "ersa", "cka"):
        own = [c for c, one in enumerate(header.axes["C"]["targets"]) if one["metric"] == metric]
        scores, (low, high) = tensors["best.score"][0, own], tensors["best.interval"][0, own].T
        held = int(((low <= 0) & (high >= 0)).sum())
        print(f"{metric}: {scores.min():.3f} to {scores.max():.3f}; {held} of {len(own)} intervals hold 0")
        assert abs(float(scores.mean())) < 0.05 and np.abs(scores).max() < 0.15 and held >= len(own) - 2


WORDS = ("face", "body", "animal", "vehicle", "building", "food", "word", "tool", "plant", "ball")
KNOWN = {"EBA": "body", "OFA": "face", "FFA": "face", "OWFA": "word", "VWFA": "word"}


def write_words(folder: Path, path: Path) -> None:
    """A vector a word, fitted to the frozen embeddings of the training scenes: ridge regression of whether their captions
    name it, which is what a text tower learns where the image tower is locked."""
    there = read_maps(FeatureSet(folder / "study/features/embedding"))
    rows = there.matrix(0) / np.linalg.norm(there.matrix(0), axis=1, keepdims=True)
    with (folder / "brain/captions.csv").open(encoding="utf-8") as file:
        captions = {Path(row["image"]).name: row["caption"].split() for row in csv.DictReader(file)}
    names = [Path(image["path"]).name for image in there.images]
    known = [place for place, name in enumerate(names) if name.startswith("train")]
    named = np.array([[word in captions[names[place]] for word in WORDS] for place in known], float)
    centred = rows[known] - rows[known].mean(0)
    gram = centred.T @ centred
    ridge = gram + 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    vectors = np.linalg.solve(ridge, centred.T @ (named - named.mean(0))).T
    save_file({"vectors": np.ascontiguousarray(vectors, "f4")}, path, {"queries": json.dumps(WORDS)})


def test_each_category_area_is_told_by_its_word(world: Path) -> None:
    place = ["-p", str(world / "study"), "-q"]
    reading = ["-m", "tiny-clip", "--tap", "block", "--layers", "5", "--tokens", "pooled", "--name", "embedding"]
    assert main(["extract", *images_of(world), *reading, *place]) == 0
    write_words(world, world / "words.safetensors")
    given = ["--from", "embedding", "--queries", str(world / "words.safetensors"), "--brain", str(world / "brain")]
    assert (
        main(["probe", "brain", *given, "--split", "given", "--roi", ",".join(KNOWN), "--name", "words", *place]) == 0
    )
    header, tensors = load_tensors(world / "study/probe/words.safetensors")
    for c, target in enumerate(header.axes["C"]["targets"]):
        area = target["region"]
        best = WORDS[int(tensors["importance"][:, c].argmax())]
        embedding, queries = tensors["score"][:, c, 1]
        print(f"{area}: {best}; r {queries:.3f} from ten words, {embedding:.3f} from the embedding")
        assert best == KNOWN[area] and queries > 0.95 * embedding and tensors["rank"][c] == 1
