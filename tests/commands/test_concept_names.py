"""`alignedcut concepts --words`: planted names come back, a CLIP's own text tower reads words, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file

from alignedcut_cli.backbones.network import build_network
from alignedcut_cli.commands.concepts.result import read
from alignedcut_cli.core.groups.concept_names import image_shares
from alignedcut_cli.datasets.images import decode
from alignedcut_cli.report.page.kinds.concepts import KIND
from alignedcut_cli.report.page.kinds.kind import PLACES, Given
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.project import Project
from tests.commands.test_concepts import concepts, made, painted, place, refused  # noqa: F401
from tests.conftest import Cli
from tests.helpers.maps import make_maps
from tests.helpers.open_clips import open_clip_model, random_weights

WORDS = ("ball", "face", "house", "tool", "word")
WIDTH = 8
NAMING = ("--layers", 4, "--words", "words.safetensors", "--embeddings", "features/clip", "--bootstrap", 20)


def shares_of(header: Header, found: dict[str, np.ndarray], slot: int) -> np.ndarray:
    """The share of each image's patches in each concept of a slot, (K, B)."""
    mine = (found["nodes"][:, 1] == slot) & (found["nodes"][:, 2] >= 0)
    images = found["nodes"][mine, 0]
    return image_shares(found["concept"][mine], images, len(WORDS), len(header.axes["B"]["images"]))


def write_space(cli: Cli, study: Path, seed: int | None = None) -> Header:
    """Embeddings `clip` of the images that follow the concepts of slot 0, of which WORDS are the axes; with a seed, of
    shuffled images. Words lie in words.safetensors."""
    header, found = made(cli, "--layers", 4, "--bootstrap", 0, "--name", "nameless")
    shares = shares_of(header, found, 0)
    rows = np.full((shares.shape[1], WIDTH), 20.0)
    rows[:, : len(WORDS)] += ((shares - shares.mean(1, keepdims=True)) / shares.std(1, keepdims=True)).T
    order = np.arange(len(rows)) if seed is None else np.random.default_rng(seed).permutation(len(rows))
    images = [image["path"] for image in header.axes["B"]["images"]]
    make_maps(Project(study), "clip", {"early": rows[:, :3], "image": rows[order]}, images)
    texts = {"queries": json.dumps(list(WORDS))}
    save_file({"vectors": np.eye(WIDTH, dtype="f4")[: len(WORDS)]}, "words.safetensors", texts)
    return header


def test_known_names_come_back_in_every_output(cli: Cli, place: Path) -> None:  # noqa: F811
    write_space(cli, place / "study")
    run = cli("concepts", *NAMING, "-p", "study", "--json")
    assert run.status == 0, run.err
    rows = run.object["names"]
    own = [row for row in rows if row["model"] == rows[0]["model"]]
    assert [row["word"] for row in own] == list(WORDS)
    named = [row for row in own if row["name"] == row["word"]]
    assert len(named) >= 4
    assert all(row["p.holm"] <= 0.05 and row["same"] > 0.5 and row["cosine"] > 0.5 for row in named)
    header, _ = read(Path(run.object["path"]))
    assert header.axes["W"] == {"size": 5, "labels": list(WORDS), "space": "image of features/clip"}
    assert [one.name for one in header.inputs if one.role == "embeddings"] == ["clip"]
    names = sum(row["name"] != "unnamed" for row in rows)
    assert f"{names} of {len(rows)} concepts are named, by the nearest of 5 words in image of features/clip" in run.err
    folder = place / "study/pictures/concepts/joint"
    with (folder / "names.csv").open(newline="") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == [row["name"] for row in rows]
    assert (folder / "concepts-test_vit-attn-L04.png").stat().st_size > 5000
    export = ("show", "concepts/joint", "--table", "names", "--export", "names.csv", "-p", "study")
    assert cli(*export).status == 0
    with Path("names.csv").open(newline="") as stream:
        assert [row["word"] for row in csv.DictReader(stream)] == [row["word"] for row in rows]
    assert not cli("concepts", *NAMING, "--no-pictures", "-p", "study", "--json").object["made"]
    (section,) = KIND.sections(Given(*load_tensors(Path(run.object["path"]))))
    assert f"{names} of {len(rows)} concepts are nearer to one of 5 words in image of features/clip" in section.body
    assert section.place in PLACES and section.body.count("<li>") == names


def test_names_vanish_when_images_are_shuffled(cli: Cli, place: Path) -> None:  # noqa: F811
    write_space(cli, place / "study", seed=3)
    run = concepts(cli, *NAMING, "--no-pictures", "--json")
    assert [row["name"] for row in run.object["names"]] == ["unnamed"] * len(run.object["names"])


def test_a_clip_reads_the_words_itself(cli: Cli, place: Path, photos: Path) -> None:  # noqa: F811
    """Cosines are those of the CLIP's own vectors of words, and of its embeddings of images weighted by the concepts."""
    import open_clip

    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    model = open_clip_model(place, text=text)
    weights = random_weights(model, place / "clip.safetensors")
    given = ("-m", model.label, "--weights", weights)
    extracted = cli("extract", photos, *given, "--tap", "maps", "--modules", "visual", "--name", "clip", "-p", "study")
    assert extracted.status == 0, extracted.err
    words = ("a photo of a cat", "something round", "a house")
    Path("words.txt").write_text("# what there may be\n" + "\n".join(words))
    options = ("--layers", 4, "--bootstrap", 0, "--words", "words.txt", "--embeddings", "clip")
    header, found = made(cli, *options, *given)
    assert header.axes["W"]["labels"] == list(words)
    assert header.params["words"]["model"] == model.label and header.params["words"]["embeddings"] == "clip"

    clip = open_clip.create_model(model.target, load_weights=False).eval()
    clip.load_state_dict(load_file(weights))
    network = build_network(model, None)
    paths = [photos / image["path"] for image in header.axes["B"]["images"]]
    pixels = np.stack([network.preprocess.resize(decode(path, 32)) for path in paths])
    with torch.no_grad():
        images = clip.encode_image(network.preprocess.normalise(pixels, torch.device("cpu")), normalize=True).numpy()
        texts = clip.encode_text(open_clip.get_tokenizer(model.target)(list(words)), normalize=True).numpy()
    directions = texts - texts.mean(0)
    for slot in range(2):
        for concept, share in enumerate(shares_of(header, found, slot)):
            there = np.cov(share, images.T)[0, 1:]
            wanted = directions @ there / np.linalg.norm(directions, axis=1) / np.linalg.norm(there)
            np.testing.assert_allclose(found["name.cosine"][slot, concept], wanted, atol=1e-3)
            assert found["name.word"][slot, concept] == wanted.argmax()
    assert np.isnan(found["name.same"]).all()


VECTORS = ("--words", "words.safetensors")
WRONG: list[tuple[Sequence[object], int, str]] = [
    (VECTORS, 2, "embeddings-missing"),
    (("--embeddings", "clip"), 2, "option-unused"),
    (("--model", "open_clip:ViT-B-32/openai"), 2, "option-unused"),
    ((*VECTORS, "--embeddings", "clip", "--model", "open_clip:ViT-B-32"), 2, "option-unused"),
    ((*VECTORS, "--embeddings", "clip", "--weights", "random"), 2, "option-unused"),
    ((*VECTORS, "--embeddings", "none"), 66, "artifact-missing"),
    ((*VECTORS, "--embeddings", "cut/joint"), 2, "wrong-kind"),
    ((*VECTORS, "--embeddings", "clip", "--embeddings-layer", "early"), 65, "other-space"),
    ((*VECTORS, "--embeddings", "clip", "--embeddings-layer", "late"), 2, "bad-layer"),
    ((*VECTORS, "--embeddings", "few"), 65, "other-images"),
    (("--words", "one.safetensors", "--embeddings", "clip"), 65, "words-few"),
    (("--words", "words.txt", "--embeddings", "clip"), 2, "model-missing"),
    (("--words", "nothing.txt", "--embeddings", "clip"), 66, "queries-missing"),
]


def test_what_is_refused(cli: Cli, place: Path) -> None:  # noqa: F811
    header = write_space(cli, place / "study")
    images = [image["path"] for image in header.axes["B"]["images"]]
    make_maps(Project(place / "study"), "few", {"image": np.ones((len(images) - 1, WIDTH))}, images[1:])
    save_file({"vectors": np.ones((1, WIDTH), "f4")}, "one.safetensors", {"queries": '["ball"]'})
    Path("words.txt").write_text("a ball\na face\n")
    for options, status, code in WRONG:
        refused(concepts(cli, *options, "--json"), status, code)
