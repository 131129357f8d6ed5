"""How many of the demo's concepts get their true name, the commonest class of their patches.

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


def truths(header: Header, arrays: dict[str, np.ndarray], masks: Path) -> list[tuple[str, float]]:
    """The commonest class of each concept's patches, and its share of them."""
    found = []
    labels = read_masks(masks, header.axes["B"]["images"])
    for number, slot in enumerate(header.axes["S"]["slots"]):
        grids = np.stack([grid_labels(mask, tuple(slot["grid"])) for mask in labels])
        mine = (arrays["nodes"][:, 1] == number) & (arrays["nodes"][:, 2] >= 0)
        image, _, row, column = arrays["nodes"][mine].T
        for concept in np.flatnonzero(arrays["centres"][number] >= 0):
            inside = arrays["concept"][mine] == concept
            counts = np.bincount(grids[image, row, column][inside], minlength=len(NAMES))
            found.append((NAMES[counts.argmax()], counts.max() / counts.sum()))
    return found


def named(demo: Path, words: Path, embeddings: str, concepts: int) -> tuple[int, int, int, int]:
    """Concepts, those named, those named as most of their patches are, and those whose nearest word is that."""
    name = f"{embeddings}-{concepts}"
    options = ("--words", words, "--embeddings", embeddings, "--concepts", concepts, "--layers", "3,5")
    run("concepts", "--from", "color/joint", *options, "--name", name, "--no-pictures", "-p", demo, "-q")
    header, arrays = read(demo / f"concepts/{name}.safetensors")
    truth, rows = truths(header, arrays, demo / "masks/category"), rows_of("names", header, arrays)
    for row, (true, share) in zip(rows, truth, strict=True):
        print(f"  {row['model']:10s} L{row['layer']} concept {row['concept']:2d}: {row['name']:10s} "
              f"({row['word']}, p {row['p.holm']:.3f}, same {row['same']:.2f}); most are {true} ({share:.0%})")  # fmt: skip
    there = [row["name"] != "unnamed" for row in rows]
    right = [row["word"] == true for row, (true, _) in zip(rows, truth, strict=True)]
    return len(rows), sum(there), sum(a and b for a, b in zip(there, right, strict=True)), sum(right)


def test_concepts_of_the_demo_get_their_names(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    run("demo", "-p", demo, "-q")
    words = write_words(tmp_path)
    there = read_maps(FeatureSet(demo / "features/tiny-clip"))
    rows = np.array(there.matrix(len(there.maps) - 1))
    order = np.random.default_rng(0).permutation(len(rows))
    make_maps(Project(demo), "shuffled", {"image": rows[order]}, [image["path"] for image in there.images])
    for concepts in (5, 15):
        count, known, right, nearest = named(demo, words, "tiny-clip", concepts)
        _, false, _, _ = named(demo, words, "shuffled", concepts)
        print(f"{concepts} concepts a slot: of {count} {known} are named, {right} rightly; the nearest word is right for "
              f"{nearest}; with shuffled images {false} are named")  # fmt: skip
        assert right > known / 2 and false <= 0.05 * count + 2
