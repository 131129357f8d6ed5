"""How many of the demo's concepts get their true name: the commonest class of their patches, background among them
(nearly all concepts are mostly background), or of those of their patches that show a figure.

The shipped tiny-clip has no text tower, so that a word's vector stands in for it: the mean embedding (tokens of tiny-clip's
last layer, averaged) of other scenes that show this category alone, or none ("background"). Shuffled: the same with the
images' embeddings dealt out to other images, where every name is false.

pytest -m benchmark -s tests/benchmarks/test_concept_names.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from alignedcut_cli.commands.concepts.result import read, rows_of
from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.datasets.masks_folder import read_masks
from alignedcut_cli.main import main
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.maps import read_maps
from alignedcut_cli.store.project import Project
from sample_data.make.scenes import CATEGORIES, Scene, scene
from tests.helpers.maps import make_maps

pytestmark = pytest.mark.benchmark

FIRST_SEED, EACH = 700_000, 40
NAMES = ("background", *CATEGORIES)


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def alone(kind: int, number: int) -> Scene:
    seed = FIRST_SEED + kind * EACH + number
    return scene(seed, objects=(1, 1), categories=(kind - 1,)) if kind else scene(seed, objects=(0, 0))


def write_words(folder: Path) -> Path:
    """words.safetensors: the mean embedding of scenes of each category alone."""
    (folder / "alone").mkdir()
    for kind in range(len(NAMES)):
        for number in range(EACH):
            Image.fromarray(alone(kind, number).image).save(folder / f"alone/{kind:02d}-{number:02d}.png")
    run("extract", folder / "alone", "-m", "tiny-clip", "--layers", 5, "--name", "alone", "-p", folder / "words", "-q")
    there = read_maps(FeatureSet(folder / "words/features/alone"))
    rows = there.matrix(len(there.maps) - 1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    kinds = np.array([int(Path(image["path"]).name[:2]) for image in there.images])
    vectors = np.stack([rows[kinds == kind].mean(0) for kind in range(len(NAMES))])
    save_file({"vectors": vectors.astype("f4")}, folder / "words.safetensors", {"queries": json.dumps(NAMES)})
    return folder / "words.safetensors"


def truths(header: Header, arrays: dict[str, np.ndarray], masks: Path) -> list[tuple[str, str, float]]:
    """The commonest class of each concept's patches and of those that show a figure, and the share of background."""
    found = []
    labels = read_masks(masks, header.axes["B"]["images"])
    for number, slot in enumerate(header.axes["S"]["slots"]):
        grids = np.stack([grid_labels(mask, tuple(slot["grid"])) for mask in labels])
        mine = (arrays["nodes"][:, 1] == number) & (arrays["nodes"][:, 2] >= 0)
        image, _, row, column = arrays["nodes"][mine].T
        for concept in np.flatnonzero(arrays["centres"][number] >= 0):
            inside = arrays["concept"][mine] == concept
            counts = np.bincount(grids[image, row, column][inside], minlength=len(NAMES))
            found.append((NAMES[counts.argmax()], NAMES[1 + counts[1:].argmax()], counts[0] / counts.sum()))
    return found


def named(demo: Path, words: Path, embeddings: str, concepts: int) -> tuple[int, int, int]:
    """Concepts, those named, and those whose nearest word is that of their figures' patches; prints how many rightly, by
    both truths."""
    name = f"{embeddings}-{concepts}"
    options = ("--words", words, "--embeddings", embeddings, "--concepts", concepts, "--layers", "3,5")
    run("concepts", "--from", "color/joint", *options, "--name", name, "--no-pictures", "-p", demo, "-q")
    header, arrays = read(demo / f"concepts/{name}.safetensors")
    truth, rows = truths(header, arrays, demo / "masks/category"), rows_of("names", header, arrays)
    for row, (_, figure, share) in zip(rows, truth, strict=True):
        print(f"  {row['model']:10s} L{row['layer']} concept {row['concept']:2d}: {row['name']:10s} "
              f"({row['word']}, p {row['p.holm']:.3f}, {row['same']:.2f}); {share:.0%} ground, else {figure}")  # fmt: skip
    there = np.array([row["name"] != "unnamed" for row in rows])
    right = np.array([[row["word"] == one for one in true[:2]] for row, true in zip(rows, truth, strict=True)])
    print(f"{embeddings}, {concepts} concepts a slot: {there.sum()} of {len(rows)} are named, rightly by all patches and by "
          f"those of a figure {right[there].sum(0)}; the nearest word is right for {right.sum(0)}")  # fmt: skip
    return len(rows), int(there.sum()), int(right[:, 1].sum())


def test_concepts_of_the_demo_get_their_names(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    run("demo", demo, "-q")
    words = write_words(tmp_path)
    there = read_maps(FeatureSet(demo / "features/tiny-clip"))
    rows = np.array(there.matrix(len(there.maps) - 1))
    order = np.random.default_rng(0).permutation(len(rows))
    make_maps(Project(demo), "shuffled", {"image": rows[order]}, [image["path"] for image in there.images])
    for concepts in (5, 15):
        count, _, near = named(demo, words, "tiny-clip", concepts)
        _, false, chance = named(demo, words, "shuffled", concepts)
        assert false <= 0.05 * count and near > chance
