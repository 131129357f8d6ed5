"""Small artifacts and feature sets for the tests of the store, made without a model."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.features import FeatureWriter
from alignedcut_cli.store.header import Header, Input, Recipe
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.project import Project

MEANINGS = {"pooled.00": ("B D", "means"), "tokens.00": ("B P D", "tokens")}
IMAGES, TOKENS, WIDTH = 20, 5, 4
RANGES = [(0, 8), (8, 16), (16, 20)]
NUMERICS = {"device": "cpu"}
WRITER = "alignedcut_cli.store.tensors._copy_tensors"
"""What writes the bytes of every artifact: to be replaced by what fails."""


def tensors_written(patch: pytest.MonkeyPatch, command: str) -> dict[str, Any]:
    """The tensors that a command hands to the writer of its artifact, once it has run."""
    seen = dict[str, Any]()

    def watched(path: Path, recipe: Recipe, tensors: dict[str, Any], *more: Any, **given: Any) -> Header:
        seen.update(tensors)
        return write_artifact(path, recipe, tensors, *more, **given)

    patch.setattr(f"alignedcut_cli.commands.{command}.command.write_artifact", watched)
    return seen


def features_recipe(name: str = "f", **params: Any) -> Recipe:
    return Recipe("features", name, 1, {"tokens": "all", **params}, (), {"manifest": "m" * 64})


def shard_tensors(start: int, stop: int, add: float = 0.0) -> dict[str, np.ndarray]:
    rows = np.arange(IMAGES * TOKENS * WIDTH, dtype=np.float32).reshape(IMAGES, TOKENS, WIDTH)[start:stop] + add
    return {"pooled.00": rows.mean(1), "tokens.00": rows.astype(np.float16)}


def write_shard(writer: FeatureWriter, number: int, add: float = 0.0) -> None:
    axes = {"P": {"size": TOKENS}}
    writer.write(number, shard_tensors(*writer.ranges[number], add), MEANINGS, numerics=NUMERICS, axes=axes)


def commit(writer: FeatureWriter) -> Header:
    slot = {"model": "x", "layer": 0, "tap": "attn", "width": WIDTH, "grid": [2, 2], "class_token": True}
    images = [{"path": f"{n}.png", "sha256": f"{n:064d}", "bytes": 1, "width": 2, "height": 2} for n in range(IMAGES)]
    axes = {"P": {"size": TOKENS}, "B": {"size": IMAGES, "images": images}, "S": {"size": 1, "slots": [slot]}}
    return writer.commit(numerics=NUMERICS, axes=axes)


def make_features(project: Project, name: str = "f", *, add: float = 0.0, **params: Any) -> Header:
    """A finished feature set of three shards."""
    writer = FeatureWriter(project.path("features", name), features_recipe(name, **params), RANGES)
    writer.open()
    for number in writer.missing():
        write_shard(writer, number, add)
    header = commit(writer)
    Journal(project.create()).note(
        "done", "features", name, ["extract", "photos", "--name", name], recipe=header.recipe
    )
    return header


def make_cut(
    project: Project,
    name: str = "c",
    source: str = "f",
    *,
    kind: str = "cut",
    rows: int = 6,
    size: int | None = None,
    poison: float | None = None,
    meaning: str = "vectors",
) -> Header:
    """An artifact made from another one; `size` is M in its header, if that is to differ from its rows."""
    given, parent = project.input("source", "features" if kind == "cut" else "cut", source)
    vectors = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    if poison is not None:
        vectors[1, 1] = poison
    header = write_artifact(
        project.path(kind, name),
        Recipe(kind, name, 1, {"rows": rows}, (given,)),
        {"eigenvectors": vectors},
        {"eigenvectors": ("M C", meaning)},
        axes={"M": {"size": rows if size is None else size}, "C": {"size": 2}},
        numerics=NUMERICS,
        parents=(parent,),
    )
    Journal(project.create()).note("done", kind, name, [kind, "--from", given.kind + "/" + source, "--name", name])
    return header


def as_input(header: Header) -> Input:
    return Input("source", header.kind, header.name, header.content, header.recipe)


def flip(path: Path, offset: int = -1) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Modification time and bytes of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def freeze(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder behave as on a read-only file system, for Python's system calls."""
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def guarded(real: Callable[..., Any], harms: Callable[..., bool]) -> Callable[..., Any]:
        def call(path: Any, *given: Any, **named: Any) -> Any:
            inside = isinstance(path, str | os.PathLike) and Path(path).absolute().is_relative_to(folder.absolute())
            if inside and harms(path, *given, **named):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, *given, **named)

        return call

    monkeypatch.setattr(os, "open", guarded(os.open, lambda path, flags, *_, **__: bool(flags & writes)))
    monkeypatch.setattr(io, "open", guarded(io.open, lambda path, mode="r", *_, **__: bool(set(mode) & set("wax+"))))
    monkeypatch.setattr(os, "mkdir", guarded(os.mkdir, lambda path, *_: not Path(path).exists()))
    for name in ("rename", "replace", "unlink", "remove", "rmdir", "chmod"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), lambda path, *_, **__: True))
