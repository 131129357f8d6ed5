"""Artifacts that are folders: shards written one by one, in any order, by any process, and an index.json written last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import AlignedcutError, DataError
from alignedcut_cli.store.canonical import canonical_json, tensor_digest
from alignedcut_cli.store.files import remove, writing_text
from alignedcut_cli.store.hashes import SHARDS, HashCache, stamp
from alignedcut_cli.store.header import Header, Recipe, header_from, header_object
from alignedcut_cli.store.index import INDEX, read_header
from alignedcut_cli.store.locks import hold
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.swap import PLAN, partial_folder, read_plan, swap_in
from alignedcut_cli.store.tensors import Layout, describe, layout_header, read_layout, write_tensors

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ShardWriter", "other_run", "project_of", "shard_layouts"]


def project_of(folder: Path) -> Project:
    """The project of an artifact's folder."""
    return Project(folder.parent.parent)


def shard_layouts(folder: Path, header: Header) -> list[Layout]:
    """The layouts of the shards of an index, in order; a missing or altered shard is a DataError."""
    found = []
    for shard in header.raw["shards"]:
        path = folder / shard["file"]
        if not path.is_file():
            raise DataError("shard-missing", f"{path} is gone", "Make it again with --overwrite")
        layout = read_layout(path)
        if layout_header(layout).content != shard["content"]:
            raise other_run(path)
        found.append(layout)
    return found


def other_run(path: Path) -> DataError:
    return DataError("artifact-corrupt", f"{path} is of another run than its index.json", "Make it again")


class ShardWriter:
    """A folder of `count` shards in the making. Use: `open`, `missing`, `write_shard` for each of these, `commit_index`.

    `file` is the path of an artifact of that name that is a single file. Shards with other `numerics`, if given, count as
    missing.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        count: int,
        *,
        file: Path | None = None,
        numerics: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.recipe = folder, recipe
        self.partial = partial_folder(folder)
        self._count, self._file, self._numerics = count, file, numerics
        self._written: dict[str, tuple[str, list[int]]] = {}

    def shard_name(self, number: int) -> str:
        return f"{number:05d}-of-{self._count:05d}.safetensors"

    def recorded_plan(self) -> Mapping[str, Any] | None:
        """The plan of an earlier unfinished run, or None."""
        return read_plan(self.folder)

    def open(self) -> None:
        """Create or continue the folder of work in progress; one left by another recipe is removed."""
        lock = project_of(self.folder).lock_path(self.recipe.kind, f"{self.recipe.name}.parts")
        with hold(lock, f"{self.recipe.kind}/{self.recipe.name}", wait=True):
            self._open()

    def _open(self) -> None:
        found = self.recorded_plan()
        names = [self.shard_name(number) for number in range(self._count)]
        if found is not None and found["recipe"] == self.recipe.identity and found["shards"] == names:
            return
        remove(self.partial)
        self.partial.mkdir(parents=True)
        plan = {
            "recipe": self.recipe.identity,
            "params": dict(self.recipe.params),
            "external": dict(self.recipe.external),
            "shards": names,
            **({"numerics": dict(self._numerics)} if self._numerics else {}),
        }
        writing_text(self.partial / PLAN, canonical_json(plan))

    def missing(self) -> list[int]:
        """The shards still to be made. An unreadable one, or one of another recipe, counts as missing."""
        return [number for number in range(self._count) if not self.is_whole(number)]

    def is_whole(self, number: int) -> bool:
        """Whether a shard is there, of this recipe and these numerics."""
        try:
            header = read_header(self.partial / self.shard_name(number))
        except AlignedcutError:
            return False
        alike = self._numerics is None or header.raw["numerics"] == self._numerics
        return alike and header.recipe == self.recipe.identity and header.raw["shard"] == number

    def write_shard(
        self, number: int, tensors: Mapping[str, np.ndarray], meanings: Mapping[str, tuple[str, str]], **fields: Any
    ) -> None:
        """Write one shard atomically."""
        content = tensor_digest(tensors)
        header = header_object(self.recipe, content, tensors=describe(tensors, meanings), shard=number, **fields)
        name = self.shard_name(number)
        write_tensors(self.partial / name, tensors, header)
        self._written[name] = content, stamp(self.partial / name)

    def shard_headers(self) -> list[Header]:
        """The headers of all shards, in order."""
        return [read_header(self.partial / self.shard_name(number)) for number in range(self._count)]

    def commit_index(self, made: Mapping[str, Any]) -> Header:
        """Write the index, a header object, and make the artifact visible under its name in one rename."""
        writing_text(self.partial / INDEX, canonical_json(made))
        swap_in(self.folder, self._file)
        self._remember()
        return header_from(made, str(self.folder))

    def _remember(self) -> None:
        """Mark the shards written by this run as verified; those of an earlier run are not."""
        cache = HashCache(project_of(self.folder), SHARDS)
        for name, (content, when) in self._written.items():
            cache.put(self.folder / name, {"content": content}, when)
        cache.save()
