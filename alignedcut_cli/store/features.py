"""Feature sets: a folder of shards and an index.json that is written last, so that a set appears atomically.

Shards part a set along its images, each holding every tensor of its range, or (`along` = `maps`) along its maps, each
holding its own tensors for all images. Work in progress lies in `features/.NAME.partial`, which one rename turns into
`features/NAME`. A set that is replaced moves to `features/.NAME.old` until then.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import AlignedcutError, DataError
from alignedcut_cli.store.artifact import Layout, describe, map_tensor, read_header, read_layout, write_tensors
from alignedcut_cli.store.canonical import canonical_json, digest, tensor_digest
from alignedcut_cli.store.files import disk_errors, fsync_folder, remove, writing_text
from alignedcut_cli.store.hashes import SHARDS, HashCache, stamp
from alignedcut_cli.store.header import Header, Recipe, header_from, header_object
from alignedcut_cli.store.index import INDEX, is_shard_name, read_index, read_json
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.verify import require_whole

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "FeatureSet",
    "FeatureWriter",
    "NodeRows",
    "finish_swap",
    "is_settled",
    "partial_progress",
    "read_plan",
    "shard_ranges",
]

PLAN = "plan.json"
SHARD_BYTES = 32 << 20
_GIVES = {"raw": "--tap maps --keep raw", "gram": "--tap maps", "sums": "--tap maps", "matrix": "--tap maps"}


def shard_ranges(images: int, bytes_per_image: int) -> list[tuple[int, int]]:
    """The fixed plan of shards: ranges [start, stop) of images, of about 32 MiB and at least 8 images each."""
    step = max(8, SHARD_BYTES // max(1, bytes_per_image))
    return [(start, min(start + step, images)) for start in range(0, images, step)]


def project_of(folder: Path) -> Project:
    """The project that a feature set's folder lies in."""
    return Project(folder.parent.parent)


def partial_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def old_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def partial_progress(folder: Path) -> tuple[int, int] | None:
    """(finished, planned) shards of an unfinished extraction, or None."""
    plan = read_plan(folder)
    if plan is None:
        return None
    return sum((partial_folder(folder) / name).is_file() for name in plan["shards"]), len(plan["shards"])


def read_plan(folder: Path) -> Mapping[str, Any] | None:
    """The plan of an unfinished extraction; None if there is none, or it cannot be read."""
    path = partial_folder(folder) / PLAN
    if not path.is_file():
        return None
    try:
        plan = read_json(path)
    except DataError:
        return None
    return plan if _is_plan(plan) else None


def _is_plan(value: Any) -> bool:
    kinds = {"recipe": str, "params": dict, "external": dict, "shards": list}
    shaped = isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())
    return shaped and all(is_shard_name(name) for name in value["shards"])


def is_settled(folder: Path) -> bool:
    """Whether no commit is interrupted or in progress."""
    return not old_folder(folder).exists() and not (folder / PLAN).exists()


def finish_swap(folder: Path) -> bool:
    """Complete an interrupted commit; True if there was one."""
    old, partial = old_folder(folder), partial_folder(folder)
    if is_settled(folder):
        return False
    if old.exists() and not folder.exists():
        (partial if (partial / INDEX).is_file() else old).rename(folder)
    for path in (old, folder / PLAN):
        remove(path)
    return True


class FeatureWriter:
    """A feature set in the making. Use: `open`, `missing`, `write` for each missing shard, `commit`."""

    def __init__(self, folder: Path, recipe: Recipe, ranges: Sequence[tuple[int, int]], along: str = "images") -> None:
        self.folder = folder
        self.recipe = recipe
        self.ranges = list(ranges)
        self.along = along
        self.partial = partial_folder(folder)
        self._written: dict[str, tuple[str, list[int]]] = {}

    def shard_name(self, number: int) -> str:
        return f"{number:05d}-of-{len(self.ranges):05d}.safetensors"

    def recorded_plan(self) -> Mapping[str, Any] | None:
        """The plan of an earlier unfinished run, or None."""
        return read_plan(self.folder)

    def open(self) -> None:
        """Create or continue the folder of work in progress; one left by another recipe is removed."""
        found = self.recorded_plan()
        names = [self.shard_name(number) for number in range(len(self.ranges))]
        if found is not None and found["recipe"] == self.recipe.identity and found["shards"] == names:
            return
        remove(self.partial)
        self.partial.mkdir(parents=True)
        plan = {
            "recipe": self.recipe.identity,
            "params": dict(self.recipe.params),
            "external": dict(self.recipe.external),
            "shards": names,
        }
        writing_text(self.partial / PLAN, canonical_json(plan))

    def missing(self) -> list[int]:
        """The shards still to be made. An unreadable one, or one of another recipe, counts as missing."""
        return [number for number in range(len(self.ranges)) if not self._is_whole(number)]

    def _is_whole(self, number: int) -> bool:
        try:
            header = read_header(self.partial / self.shard_name(number))
        except AlignedcutError:
            return False
        return header.recipe == self.recipe.identity and header.raw["shard"] == number

    def write(
        self, number: int, tensors: Mapping[str, np.ndarray], meanings: Mapping[str, tuple[str, str]], **fields: Any
    ) -> None:
        """Write one shard atomically."""
        start, stop = self.ranges[number]
        content = tensor_digest(tensors)
        header = header_object(
            self.recipe,
            content,
            tensors=describe(tensors, meanings),
            shard=number,
            start=start,
            stop=stop,
            **fields,
        )
        name = self.shard_name(number)
        write_tensors(self.partial / name, tensors, header)
        self._written[name] = content, stamp(self.partial / name)

    def commit(self, **fields: Any) -> Header:
        """Write the index, and make the set visible under its name in one rename.

        The set holds its shards and nothing else: what a killed run left half written beside them is removed.
        """
        for path in self.partial.iterdir():
            if path.name not in {PLAN, *map(self.shard_name, range(len(self.ranges)))}:
                remove(path)
        shards, tensors = [], {}
        for number, (start, stop) in enumerate(self.ranges):
            header = read_header(self.partial / self.shard_name(number))
            shards.append({"file": self.shard_name(number), "content": header.content, "start": start, "stop": stop})
            tensors |= header.raw["tensors"]
        if self.along == "images":
            images = self.ranges[-1][1]
            tensors = {name: {**entry, "shape": [images, *entry["shape"][1:]]} for name, entry in tensors.items()}
        else:
            fields["along"] = self.along
        made = header_object(self.recipe, digest(shards), tensors=tensors, shards=shards, **fields)
        writing_text(self.partial / INDEX, canonical_json(made))
        self._swap()
        self._remember()
        return header_from(made, str(self.folder))

    def _swap(self) -> None:
        with disk_errors(self.folder):
            if self.folder.exists():
                self.folder.rename(old_folder(self.folder))
            self.partial.rename(self.folder)
            fsync_folder(self.folder.parent)
        finish_swap(self.folder)

    def _remember(self) -> None:
        """Mark the shards written by this run as verified; those of an earlier run are not."""
        cache = HashCache(project_of(self.folder), SHARDS)
        for name, (content, when) in self._written.items():
            cache.put(self.folder / name, {"content": content}, when)
        cache.save()


class FeatureSet:
    """A finished feature set, read by memory-mapping its shards, which are verified before the first read.

    With `verify` they are hashed even if the files are unchanged; `say` gets a note on what takes a while.
    """

    def __init__(self, folder: Path, *, verify: bool = False, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self.header = read_index(folder)
        self._verify = verify
        self._say = say

    @cached_property
    def layouts(self) -> list[Layout]:
        """The layouts of the shards, in order; a missing or altered shard is a DataError."""
        found = []
        for shard in self.header.raw["shards"]:
            path = self.folder / shard["file"]
            if not path.is_file():
                raise DataError("shard-missing", f"{path} is gone", "Make the feature set again with --overwrite")
            layout = read_layout(path)
            if read_header(path).content != shard["content"]:
                raise self._other_run(path)
            found.append(layout)
        declared = self.header.raw["tensors"].keys()
        held = [layout.offsets.keys() for layout in found]
        for path, names in zip((layout.path for layout in found), held, strict=True):
            if not names <= declared or (self.header.raw.get("along", "images") == "images" and names != declared):
                raise self._other_run(path)
        if set().union(*held) != declared:
            raise self._other_run(found[-1].path)
        return found

    @staticmethod
    def _other_run(path: Path) -> DataError:
        return DataError("artifact-corrupt", f"{path} is of another run than its index.json", "Make it again")

    @property
    def images(self) -> Sequence[Mapping[str, Any]]:
        return self.header.axes["B"]["images"]

    @property
    def slots(self) -> Sequence[Mapping[str, Any]]:
        return self.header.axes["S"]["slots"]

    def demand(self, tensor: str) -> None:
        """Raise DataError unless the set has a tensor and every shard is there: from headers alone."""
        if tensor not in self.header.raw["tensors"]:
            params, what = self.header.params, tensor.split(".")[0]
            made, remedy = f"--tokens {params.get('tokens')}", "Extract again with --tokens all"
            if what in ("gram", "sums", "matrix", "raw") or "tokens" not in params:
                made, remedy = f"--tap {params.get('tap')}", f"Extract again with {_GIVES.get(what, '--tap attn')}"
            raise DataError("tokens-missing", f"{self.folder.name} holds no {what} (it was made with {made})", remedy)
        _ = self.layouts

    def blocks(self, tensor: str) -> list[np.ndarray]:
        """One tensor as memory-mapped arrays, from each shard that holds it. Raises DataError for a damaged shard."""
        self.demand(tensor)
        _ = self._whole
        return [map_tensor(layout, tensor) for layout in self.layouts if tensor in layout.offsets]

    @cached_property
    def _whole(self) -> None:
        contents = [shard["content"] for shard in self.header.raw["shards"]]
        shards = list(zip(self.layouts, contents, strict=True))
        require_whole(project_of(self.folder), shards, always=self._verify, say=self._say)

    def tensors(self) -> Iterator[tuple[Path, Layout, str]]:
        """Every tensor of every shard: (file, layout, name)."""
        for layout in self.layouts:
            for name in layout.offsets:
                yield layout.path, layout, name


class NodeRows:
    """The concatenated rows of several (…, D) arrays, read in ranges: `rows(start, stop)` gives (stop - start, D)."""

    def __init__(self, blocks: Sequence[np.ndarray]) -> None:
        self._blocks = [block.reshape(-1, block.shape[-1]) for block in blocks]
        self._starts = [0]
        for block in self._blocks:
            self._starts.append(self._starts[-1] + len(block))

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def width(self) -> int:
        return self._blocks[0].shape[1]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop, copied, in the stored dtype."""
        import numpy as np

        first = bisect.bisect_right(self._starts, start) - 1
        parts = []
        for number in range(first, len(self._blocks)):
            base = self._starts[number]
            if base >= stop:
                break
            parts.append(self._blocks[number][max(0, start - base) : stop - base])
        return np.concatenate(parts) if parts else self._blocks[0][:0].copy()

    def take(self, ids: np.ndarray) -> np.ndarray:
        """The rows with ascending `ids`, copied, in the stored dtype: nothing else is read."""
        import numpy as np

        bounds = np.searchsorted(ids, self._starts)
        parts = [
            block[ids[first:last] - start]
            for block, start, first, last in zip(self._blocks, self._starts, bounds, bounds[1:], strict=False)
            if last > first
        ]
        return np.concatenate(parts) if parts else self._blocks[0][:0].copy()
