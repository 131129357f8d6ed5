"""Feature sets: a folder of shards and an index.json that is written last, so that a set appears atomically.

Shards split a set along its images, each holding every tensor of its range, or (`along` = `maps`) along its maps, each
holding its own tensors for all images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError
from alignedcut_cli.store.canonical import digest
from alignedcut_cli.store.header import Header, Recipe, header_object
from alignedcut_cli.store.index import read_index, read_json
from alignedcut_cli.store.rows import NodeRows
from alignedcut_cli.store.shards import ShardWriter, other_run, project_of, shard_layouts
from alignedcut_cli.store.swap import PLAN, finish_swap, is_settled, partial_progress, read_plan
from alignedcut_cli.store.tensors import Layout, map_tensor
from alignedcut_cli.store.verify import require_whole

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "PLAN",
    "FeatureSet",
    "FeatureWriter",
    "NodeRows",
    "finish_swap",
    "is_settled",
    "partial_progress",
    "read_index",
    "read_plan",
    "shard_ranges",
]

SHARD_BYTES = 32 << 20
_GIVES = {"raw": "--tap maps --keep raw", "gram": "--tap maps", "sums": "--tap maps", "matrix": "--tap maps"}


def shard_ranges(images: int, bytes_per_image: int) -> list[tuple[int, int]]:
    """The fixed plan of shards: ranges [start, stop) of images, of about 32 MiB and at least 8 images each."""
    step = max(8, SHARD_BYTES // max(1, bytes_per_image))
    return [(start, min(start + step, images)) for start in range(0, images, step)]


class FeatureWriter(ShardWriter):
    """A feature set in the making. Use: `open`, `missing`, `write` for each missing shard, `commit`.

    Several processes may open one and write its shards; one of them commits, under the set's lock. `numerics` are what the
    bytes may depend on besides the recipe (torch, kind of device): all shards of a set have the same.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        ranges: Sequence[tuple[int, int]],
        along: str = "images",
        numerics: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, recipe, len(ranges), numerics=numerics)
        self.ranges = list(ranges)
        self.along = along

    @property
    def numerics(self) -> Mapping[str, str]:
        """Those of the shards that are there, or will be."""
        return self._numerics or {}

    def open(self) -> None:
        """Create or continue the folder of work in progress; one left by another recipe is removed.

        Where every shard is there already, `numerics` become theirs. Raises DataError if some are, of other numerics.
        """
        super().open()
        mine, begun = self._numerics, (self.recorded_plan() or {}).get("numerics") or {}
        if mine is None or mine == begun:
            return
        self._numerics = begun
        if self.missing():
            differ = [key for key in mine if mine[key] != begun.get(key)]
            there, here = (", ".join(f"{key} {of.get(key)}" for key in differ) for of in (begun, mine))
            raise DataError(
                "other-numerics",
                f"features/{self.folder.name} was begun with {there}; this run has {here}",
                f"Go on with the former, or remove {self.partial} to begin again",
            )

    def missing(self) -> list[int]:
        """The shards still to be made, none if another process has finished the set."""
        missing = super().missing()
        return [] if missing and self.is_committed() else missing

    def is_committed(self) -> bool:
        """Whether the set is there, whoever finished it."""
        if (self.partial / PLAN).is_file():
            return False
        try:
            return read_index(self.folder).recipe == self.recipe.identity
        except AlignedcutError:
            return False

    def write(
        self, number: int, tensors: Mapping[str, np.ndarray], meanings: Mapping[str, tuple[str, str]], **fields: Any
    ) -> None:
        """Write one shard atomically; nothing if another process has finished the set.

        Raises InputMissingError if the folder is gone otherwise: nobody waits for the shard.
        """
        start, stop = self.ranges[number]
        try:
            read_json(self.partial / PLAN)
            self.write_shard(number, tensors, meanings, start=start, stop=stop, **fields)
        except InputMissingError:
            if not self.is_committed():
                raise

    def commit(self, **fields: Any) -> Header:
        """Write the index, and make the set visible under its name in one rename."""
        shards, tensors = [], {}
        for number, header in enumerate(self.shard_headers()):
            start, stop = self.ranges[number]
            shards.append({"file": self.shard_name(number), "content": header.content, "start": start, "stop": stop})
            tensors |= header.raw["tensors"]
        if self.along == "images":
            images = self.ranges[-1][1]
            tensors = {name: {**entry, "shape": [images, *entry["shape"][1:]]} for name, entry in tensors.items()}
        else:
            fields["along"] = self.along
        return self.commit_index(header_object(self.recipe, digest(shards), tensors=tensors, shards=shards, **fields))


class FeatureSet:
    """A finished feature set, read by memory-mapping its shards, which are verified before the first read.

    With `verify` they are hashed even if the files are unchanged; `say` gets a note if that takes a while.
    """

    def __init__(self, folder: Path, *, verify: bool = False, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self.header = read_index(folder)
        self._verify = verify
        self._say = say

    @cached_property
    def layouts(self) -> list[Layout]:
        """The layouts of the shards, in order; a missing or altered shard is a DataError."""
        found = shard_layouts(self.folder, self.header)
        declared = self.header.raw["tensors"].keys()
        held = [layout.offsets.keys() for layout in found]
        for path, names in zip((layout.path for layout in found), held, strict=True):
            if not names <= declared or (self.header.raw.get("along", "images") == "images" and names != declared):
                raise other_run(path)
        if set().union(*held) != declared:
            raise other_run(found[-1].path)
        return found

    @property
    def images(self) -> Sequence[Mapping[str, Any]]:
        return self.header.axes["B"]["images"]

    @property
    def slots(self) -> Sequence[Mapping[str, Any]]:
        return self.header.axes["S"]["slots"]

    def require(self, tensor: str) -> None:
        """Raise DataError unless the set has a tensor and every shard exists, by the headers."""
        if tensor not in self.header.raw["tensors"]:
            params, what = self.header.params, tensor.split(".")[0]
            made, remedy = f"--tokens {params.get('tokens')}", "Extract again with --tokens all"
            if what in ("gram", "sums", "matrix", "raw") or "tokens" not in params:
                made, remedy = f"--tap {params.get('tap')}", f"Extract again with {_GIVES.get(what, '--tap attn')}"
            raise DataError("tokens-missing", f"{self.folder.name} holds no {what} (it was made with {made})", remedy)
        _ = self.layouts

    def blocks(self, tensor: str) -> list[np.ndarray]:
        """One tensor as memory-mapped arrays, from each shard that holds it. Raises DataError for a damaged shard."""
        self.require(tensor)
        _ = self._whole
        return [map_tensor(layout, tensor) for layout in self.layouts if tensor in layout.offsets]

    @property
    def files(self) -> list[tuple[Layout, str]]:
        """Each shard with the content id that it must have."""
        contents = [shard["content"] for shard in self.header.raw["shards"]]
        return list(zip(self.layouts, contents, strict=True))

    @cached_property
    def _whole(self) -> None:
        require_whole(project_of(self.folder), self.files, always=self._verify, say=self._say)

    def tensors(self) -> Iterator[tuple[Path, Layout, str]]:
        """Every tensor of every shard: (file, layout, name)."""
        for layout in self.layouts:
            for name in layout.offsets:
                yield layout.path, layout, name
