"""Feature sets: a folder of shards and an index.json that is written last, so that a set appears atomically.

Shards part a set along its images, each holding every tensor of its range, or (`along` = `maps`) along its maps, each
holding its own tensors for all images.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.artifact import Layout, map_tensor, read_header, read_layout
from alignedcut_cli.store.index import read_index
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.verify import require_whole

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FeatureSet", "NodeRows", "project_of", "shard_ranges"]

SHARD_BYTES = 32 << 20
_GIVES = {"raw": "--tap maps --keep raw", "gram": "--tap maps", "sums": "--tap maps", "matrix": "--tap maps"}


def shard_ranges(images: int, bytes_per_image: int) -> list[tuple[int, int]]:
    """The fixed plan of shards: ranges [start, stop) of images, of about 32 MiB and at least 8 images each."""
    step = max(8, SHARD_BYTES // max(1, bytes_per_image))
    return [(start, min(start + step, images)) for start in range(0, images, step)]


def project_of(folder: Path) -> Project:
    """The project that a feature set's folder lies in."""
    return Project(folder.parent.parent)


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
