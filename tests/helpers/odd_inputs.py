"""Hostile and odd inputs for every reader, from one set of strategies, and the rule that holds for all of them.

An input is a small valid tree of files of which one is damaged: other content, a link, a pipe, a folder, missing, or
with an odd name. A reader must return or raise one AlignedcutError, and change nothing outside the project.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from alignedcut_cli.brain import match_images, open_responses
from alignedcut_cli.brain.captions import read_captions
from alignedcut_cli.brain.tables import READERS as TABLES
from alignedcut_cli.commands.extract.images import checked_images
from alignedcut_cli.commands.trace.pixels import choose_pixels
from alignedcut_cli.datasets.find_images import find_images
from alignedcut_cli.datasets.images import SUFFIXES, decode
from alignedcut_cli.datasets.open_masks import MASK_READERS, open_masks
from alignedcut_cli.errors import AlignedcutError
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.pairs import Pairs, split_images
from alignedcut_cli.frame.queries import read_queries
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.canonical import digest
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.hashes import HashCache
from alignedcut_cli.store.header import KEY
from alignedcut_cli.store.project import KINDS, Project
from alignedcut_cli.store.status import project_states
from tests.helpers import odd_trees as trees
from tests.helpers.brains import make_subject
from tests.helpers.odd_bytes import (
    Content,
    altered,
    damaged,
    odd_json,
    odd_npy,
    odd_npz,
    odd_pth,
    odd_safetensors,
    odd_text,
)
from tests.helpers.odd_hdf5 import odd_hdf5
from tests.helpers.odd_pictures import odd_picture
from tests.helpers.odd_trees import IMAGES, NAMES

SPECIALS = ("folder", "pipe", "loop", "nothing", "secret", "zero", "gone")
CALLED = (
    "a\nb", "\x1b[31mred", "\udcff\udcfe", "x" * 240, "e\u0301", "-rf", " ", "..x", "%s", "\u202egnp", ".hidden", "'",
)  # fmt: skip

CAPTIONS = {
    ".csv": 'image,caption\na.png,"a ball, red"\nb.png,a face\n',
    ".jsonl": '{"image": "a.png", "captions": ["a ball", "red"]}\n{"image": "b.png", "caption": "a face"}\n',
}
Tree = Mapping[str, bytes]
Hurt = Callable[[bytes], Content]


@dataclass(frozen=True)
class Reader:
    """A reader's valid input, a tree made by `make`, and how its files are damaged.

    `read` and `command` get the folder and the world's; `hurts` are strategies by the end of a file's name, the first
    that matches; other files are left intact. With `is_project` the folder is a project, which may be written to;
    with `may_be_large` a small file may legitimately need more memory than there is.
    """

    make: Callable[[Path], object]
    hurts: Mapping[str, Hurt]
    read: Callable[[Path, Path], object] | None = None
    command: Callable[[Path, Path], list[object]] | None = None
    is_project: bool = False
    stdin: str = ""
    may_be_large: bool = False

    def hurt(self, file: str) -> Hurt | None:
        return next((one for end, one in self.hurts.items() if file.lower().endswith(end)), None)


@dataclass(frozen=True)
class Odd:
    """One input: which file is damaged, its content or special kind, its name, and its reader."""

    file: str
    content: bytes | None = field(default=None, repr=False)
    special: str = ""
    called: str = ""
    by_command: bool = False

    def __repr__(self) -> str:
        told = "" if self.content is None else f" = {len(self.content)} bytes {self.content[:200]!r}"
        how = self.special or (f"called {self.called!r}" if self.called else told)
        return f"<{self.file} {how}{' by command' if self.by_command else ''}>"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(repr(self))


def odd_inputs(reader: Reader, tree: Tree) -> st.SearchStrategy[Odd]:
    """The inputs of one reader, over all files of its tree that can be damaged."""
    files = [file for file in tree if reader.hurt(file)]
    ways = [bool(one) for one in (reader.read, reader.command)]
    by_command = st.just(ways[1]) if not all(ways) else st.sampled_from((False, False, True))

    def of(file: str) -> st.SearchStrategy[Odd]:
        hurt = reader.hurt(file) or damaged
        content = st.builds(Odd, st.just(file), hurt(tree[file]), by_command=by_command)
        special = st.builds(Odd, st.just(file), special=st.sampled_from(SPECIALS), by_command=by_command)
        called = st.builds(Odd, st.just(file), called=st.sampled_from(CALLED), by_command=by_command)
        return st.sampled_from((content,) * 8 + (special, called)).flatmap(lambda one: one)

    return st.sampled_from(files).flatmap(of)


def tree_of(reader: Reader, folder: Path) -> Tree:
    """The files of a reader's valid input, made in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    reader.make(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# damaging files that embed or checksum others


@st.composite
def _forged(draw: Any, raw: dict[str, Any]) -> dict[str, Any]:
    """An artifact's header with an odd node and a matching checksum."""
    raw = {key: value for key, value in raw.items() if key != "check"}
    found = draw(altered(raw))
    try:
        return {**found, "check": digest(found)} if isinstance(found, dict) else found
    except (ValueError, RecursionError):
        return found


@st.composite
def _odd_artifact(draw: Any, valid: bytes) -> bytes:
    if draw(st.sampled_from((False, True))):
        return draw(odd_safetensors(valid))
    length = int.from_bytes(valid[:8], "little")
    header = json.loads(valid[8 : 8 + length])
    header["__metadata__"][KEY] = json.dumps(draw(_forged(json.loads(header["__metadata__"][KEY]))))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + valid[8 + length :]


def _odd_index(valid: bytes) -> Content:
    forged = _forged(json.loads(valid)).map(lambda raw: json.dumps(raw).encode())
    return st.one_of(odd_json(valid), forged, forged)


PICTURES: dict[str, Hurt] = dict.fromkeys(sorted(SUFFIXES), odd_picture)
TEXTS: dict[str, Hurt] = {".txt": odd_text, ".csv": odd_text, ".tsv": odd_text}
ARRAYS: dict[str, Hurt] = {".npy": odd_npy, ".npz": odd_npz, ".safetensors": odd_safetensors}


# reading them


def _read_images(argument: str, lines: list[str], world: Path) -> None:
    frame = Frame(Project(world / "study"), Output("extract", quiet=True), ())
    found = checked_images(frame, find_images([argument], lines), "fail", write=False)
    for path in found.paths():
        decode(path)
        decode(path, 4)


def _read_masks(dataset: str, place: Path, names: Path | None = None) -> None:
    masks = open_masks(dataset, place, None, names)
    masks.match(IMAGES)
    for key in masks.keys:
        masks.load(key)


def _read_table(path: Path) -> None:
    match_images(open_responses(path), IMAGES)


def _read_artifacts(folder: Path, _: Path) -> None:
    project = Project(folder)
    project_states(project)
    list(check_project(project, deep=True))
    for kind in KINDS:
        for name in project.names(kind):
            if kind == "features":
                features = FeatureSet(project.path(kind, name))
                _ = [array.sum() for array in features.blocks("tokens.00")], features.images, features.slots
            else:
                load_tensors(project.path(kind, name))


def _read_weights(file: str) -> Callable[[Path, Path], object]:
    def read(folder: Path, _: Path) -> None:
        import torch

        from alignedcut_cli.backbones.checkpoint import load_open_clip, read_state, require_fit
        from alignedcut_cli.backbones.load import find_weights

        module, path = torch.nn.Linear(2, 3), find_weights(None, folder / file).path  # type: ignore[arg-type]
        with suppress(AlignedcutError):  # the module is not open_clip's, so no checkpoint matches
            load_open_clip(module, path)
        require_fit(module.state_dict(), read_state(path), path)

    return read


def _build_model(folder: Path, _: Path) -> None:
    from alignedcut_cli.backbones.load import build_backbone
    from alignedcut_cli.backbones.registry import parse_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's warnings about layers without weights
        build_backbone(parse_model(f"local-dir:{folder}"), None)


def _split(folder: Path, _: Path) -> None:
    pairs = Pairs(np.arange(len(NAMES)), (np.arange(len(NAMES)),), tuple(NAMES))
    split_images(str(folder / "split.txt"), pairs, np.zeros(len(NAMES), bool), 0)


def _study(command: str, world: Path, *more: object) -> list[object]:
    return [command, *more, "-p", world / "study", "--dry-run", "-q"]


def _segment(dataset: str, place: Path, world: Path, *more: object) -> list[object]:
    asked = ("--masks", place, "--dataset", dataset, "--from", "c", "--on-extra-mask", "skip", "-C", 3, *more)
    return _study("segment", world, *asked)


def _mask_reader(dataset: str) -> Reader:
    from tests.datasets.test_mask_readers import MAKERS

    hurts = {".png": odd_picture, ".json": odd_json, ".txt": odd_text, ".mat": odd_hdf5}
    make = trees.make_masks if dataset == "folder" else MAKERS[dataset]
    return Reader(
        lambda folder: make(folder / "masks"),
        hurts,
        lambda folder, _: _read_masks(dataset, folder / "masks"),
        lambda folder, world: _segment(dataset, folder / "masks", world),
    )


def _table_reader(suffix: str) -> Reader:
    name = f"responses{suffix}"
    return Reader(
        trees.table_maker(suffix),
        {**TEXTS, **ARRAYS},
        lambda folder, _: _read_table(folder / name),
        lambda folder, _: ["brain", folder / name, "-q"],
    )


READERS: dict[str, Reader] = {
    "photographs": Reader(
        trees.make_photos,
        PICTURES,
        lambda folder, world: _read_images(str(folder), [], world),
        lambda folder, world: _study("extract", world, folder, "-m", "tiny-dino"),
    ),
    "images in hdf5": Reader(
        trees.make_hdf5,
        {".hdf5": odd_hdf5},
        lambda folder, world: _read_images(str(folder / "nsd.hdf5"), [], world),
        lambda folder, world: _study("extract", world, folder / "nsd.hdf5", "-m", "tiny-dino"),
    ),
    "list on stdin": Reader(
        trees.text_maker("list.txt", "../../world/photos/0.jpg\n../../world/photos/1.png\n"),
        TEXTS,
        command=lambda folder, world: _study("extract", world, "-", "-m", "tiny-dino"),
        stdin="list.txt",
    ),
    **{f"masks {dataset}": _mask_reader(dataset) for dataset in MASK_READERS},
    "names.json": Reader(
        trees.text_maker("names.json", json.dumps([{"id": 0, "name": "ground"}, {"id": 1, "name": "dog"}])),
        {".json": odd_json},
        lambda folder, world: _read_masks("folder", world / "masks", folder / "names.json"),
        lambda folder, world: _segment("folder", world / "masks", world, "--names", folder / "names.json"),
    ),
    "names.txt": Reader(
        trees.text_maker("names.txt", "0 ground\n1 dog\n2 cat\n"),
        TEXTS,
        lambda folder, world: _read_masks("folder", world / "masks", folder / "names.txt"),
        lambda folder, world: _segment("folder", world / "masks", world, "--names", folder / "names.txt"),
    ),
    **{f"table {suffix}": _table_reader(suffix) for suffix in TABLES},
    "algonauts": Reader(
        make_subject,
        {**ARRAYS, ".png": odd_picture},
        lambda folder, _: _read_table(folder),
        lambda folder, _: ["brain", folder, "-q"],
    ),
    "alignedcut.toml": Reader(
        lambda folder: (trees.make_study(folder), trees.text_maker("alignedcut.toml", trees.TOML)(folder)),
        {".toml": odd_text},
        command=lambda folder, _: ["cut", "-p", folder, "--dry-run"],
        is_project=True,
    ),
    **{
        f"weights {suffix}": Reader(trees.weights_maker(suffix), {suffix: odd}, _read_weights(f"w{suffix}"))
        for suffix, odd in ((".pth", odd_pth), (".safetensors", odd_safetensors))
    },
    **{
        f"captions {suffix}": Reader(
            trees.text_maker(f"captions{suffix}", text),
            {suffix: odd_text},
            lambda folder, _, name=f"captions{suffix}": read_captions(folder / name),
        )
        for suffix, text in CAPTIONS.items()
    },
    "queries .txt": Reader(
        trees.text_maker("queries.txt", "# what is there\na ball\na face\n"),
        TEXTS,
        lambda folder, _: read_queries(
            "--queries", folder / "queries.txt", lambda texts: np.ones((len(texts), 3), "f4")
        ),
    ),
    "queries .safetensors": Reader(
        trees.make_queries,
        {".safetensors": odd_safetensors},
        lambda folder, _: read_queries("--queries", folder / "queries.safetensors", None),
    ),
    "model folder": Reader(trees.make_model, {".json": odd_json}, _build_model, may_be_large=True),
    "artifacts": Reader(
        trees.make_study,
        {".safetensors": _odd_artifact, "index.json": _odd_index},
        _read_artifacts,
        lambda folder, _: ["check", "-p", folder],
        is_project=True,
    ),
    "machine files": Reader(
        trees.make_study,
        {".jsonl": odd_text, "plan.json": odd_json, "hashes.json": odd_json},
        lambda folder, world: (_read_artifacts(folder, world), HashCache(Project(folder)).get(folder)),
        lambda folder, _: ["status", "-p", folder],
        is_project=True,
    ),
    "--test-split": Reader(
        trees.text_maker("split.txt", "\n".join(NAMES[::4])),
        TEXTS,
        _split,
        lambda folder, world: _study(
            "align", world, "--brain", world / "responses.csv", "--from", "f", "--test-split", folder / "split.txt"
        ),
    ),
    "--pixels": Reader(
        trees.text_maker("pixels.txt", "a-1:0:1\n2007_000033.jpg:1:2\n0:0:0\n"),
        TEXTS,
        lambda folder, _: choose_pixels([str(folder / "pixels.txt")], IMAGES, (2, 3), None, 0),
        lambda folder, world: _study("trace", world, "--from", "joint", "--pixels", folder / "pixels.txt"),
    ),
}
"""Every reader of external files."""
PATH_OPTIONS = {
    "extract": {"weights": "weights .pth", "captions": "captions .csv"},
    "brain": {"path": "algonauts"},
    "align": {"brain": "algonauts", "masks": "masks folder"},
    "color": {"images": "photographs"},
    "segment": {
        "masks": "masks voc",
        "names": "names.txt",
        "instances": "masks folder",
        "unpack": "",
        "images": "photographs",
    },
    "trace": {"masks": "masks folder", "images": "photographs"},
    "concepts": {
        "masks": "masks folder",
        "words": "queries .txt",
        "weights": "weights .pth",
        "images": "photographs",
    },
    "cut": {"images": "photographs"},
    "tree": {"masks": "masks folder"},
    "pathways": {"masks": "masks folder", "instances": "masks folder", "names": "names.txt"},
    "score": {"brain": "algonauts"},
    "probe": {
        "brain": "algonauts",
        "queries": "queries .txt",
        "pool": "queries .safetensors",
        "weights": "weights .pth",
    },
    "demo": {"folder": ""},
    "look": {"brain": "algonauts", "brain_images": "photographs"},
    "show": {"export": ""},
}
"""The reader of each path that a command takes besides the project; none for output folders."""
