"""Small valid inputs of every reader, from which odd inputs are made, and the other files that commands need."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from alignedcut_cli.datasets.images import SUFFIXES
from alignedcut_cli.datasets.samples import sample_models
from alignedcut_cli.main import main
from alignedcut_cli.store.project import Project
from tests.conftest import photograph
from tests.helpers.aligning import Made, image_entries, responses_to, write_csv, write_made
from tests.helpers.stores import make_cut, make_features

SIZE = (9, 6)
MASKED = ("2007_000033.jpg", "2007_000042.jpg", "2008_000123.jpg")
NAMES = [*(f"{number:05d}.png" for number in range(3)), *MASKED, *(f"a-{number}.png" for number in range(20))]
IMAGES = [{**entry, "width": SIZE[0], "height": SIZE[1]} for entry in image_entries(NAMES)]
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"), "JPEG2000": (".jp2", ".j2k", ".jpx"), "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
}  # fmt: skip


def make_world(folder: Path) -> Path:
    """The other files that commands need: study/ with features and cuts of IMAGES, masks/, photos/, responses.csv."""
    project = Project(folder / "study").create()
    write_made(project, "f", Made({0: 4, 1: 4}, grid=(2, 3)), IMAGES)
    make_masks(folder / "masks")
    make_photos(folder / "photos")
    write_csv(folder / "responses.csv", NAMES, responses_to(NAMES))
    cut = ["cut", "--from", "f", "-C", 4, "-p", project.root, "-q", "--name"]
    warm = ["extract", folder / "photos", "-m", "tiny-dino", "-p", project.root, "--dry-run", "-q"]
    with redirect_stdout(io.StringIO()):  # libraries write here what they print on first import
        for argv in ([*cut, "joint"], [*cut, "c", "--per-slot"], warm):
            assert main([str(word) for word in argv]) == 0
    return folder


def make_photos(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (kind, suffixes) in enumerate(FORMATS.items()):
        for suffix in set(suffixes) & SUFFIXES:
            image = photograph(number, 40, 30)
            image = image.convert({".pgm": "L", ".pbm": "1", ".gif": "P"}.get(suffix, "RGB"))
            image.save(folder / f"{number}{suffix}", format=kind)


def make_masks(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(3):
        values = np.arange(54).reshape(6, 9) // 9 % 3 + number
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{number:05d}.png")
    (folder / "names.json").write_text('{"0": "ground", "1": "dog", "2": "cat"}')


def make_hdf5(folder: Path) -> None:
    with h5py.File(folder / "nsd.hdf5", "w") as file:
        file.create_dataset("imgBrick", data=np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3))


def table_maker(suffix: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        values, path = responses_to(NAMES), folder / f"responses{suffix}"
        masks = {"rois.V1": np.arange(values.shape[1]) > 2, "ceiling": np.full(values.shape[1], 0.5)}
        if suffix in (".csv", ".tsv"):
            write_csv(path, NAMES, values)
            if suffix == ".tsv":
                path.write_text(path.read_text().replace(",", "\t"))
        elif suffix == ".npz":
            np.savez(path, responses=values, images=np.array(NAMES), **masks)  # type: ignore[arg-type]
        elif suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file({"responses": values, **masks}, path, metadata={"images": json.dumps(NAMES)})
        else:
            np.save(path, values)
            (folder / "responses.images.txt").write_text("\n".join(NAMES))

    return make


def weights_maker(suffix: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import torch
        from safetensors.torch import save_file

        state = torch.nn.Linear(2, 3).state_dict()
        save_file(state, folder / "w.safetensors") if suffix == ".safetensors" else torch.save(state, folder / "w.pth")

    return make


def make_model(folder: Path) -> None:
    shutil.copy(sample_models()["tiny-dino"] / "config.json", folder / "config.json")


def text_maker(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def make_queries(folder: Path) -> None:
    """Vectors of two queries with their texts."""
    vectors = {"vectors": np.arange(6, dtype=np.float32).reshape(2, 3) + 1}
    save_file(vectors, folder / "queries.safetensors", {"queries": json.dumps(["a ball", "a face"])})


def make_study(folder: Path) -> None:
    """A small project with a feature set, two artifacts made from it, and the .alignedcut folder."""
    project = Project(folder)
    make_features(project)
    make_cut(project)
    make_cut(project, "d", "c", kind="color")
    partial = folder / "features/.g.partial"
    partial.mkdir()
    plan = {"recipe": "r", "params": {}, "external": {}, "shards": ["00000-of-00001.safetensors"]}
    (partial / "plan.json").write_text(json.dumps(plan))
    facts = {"sha256": "0" * 64, "width": 9, "height": 6}
    (folder / ".alignedcut/hashes.json").write_text(json.dumps({"/x": {"stamp": [1, 2, 3, 4], "facts": facts}}))


TOML = """[defaults]
seed = 3
device = "cpu"
quiet = true

[cut]
per-slot = true
name = "x"
layers = "0"
eigenvectors = 2
"""
