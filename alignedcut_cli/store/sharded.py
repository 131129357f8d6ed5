"""The writer of an artifact that is a folder of shards, by one process, or range by range by several on a shared disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import InputMissingError, OutputExistsError
from alignedcut_cli.store.files import remove
from alignedcut_cli.store.header import Header, Recipe, axis_faults, header_from, header_object
from alignedcut_cli.store.index import is_artifact_folder
from alignedcut_cli.store.ranges import joined_id, row_ranges
from alignedcut_cli.store.shards import ShardWriter

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ArtifactWriter", "places"]

Meanings = Mapping[str, tuple[str, str]]


def places(path: Path) -> tuple[Path, Path]:
    """(folder, file): the paths of an artifact in shards and in one file, from either."""
    name = path.name.removesuffix(".safetensors")
    return path.with_name(name), path.with_name(f"{name}.safetensors")


class ArtifactWriter(ShardWriter):
    """An artifact in the making whose long tensors have `rows` rows. Use: `open`, `missing`, `write`, then `commit`.

    Shard 0 holds the tensors that are not long, and is written by `commit`; each of the others holds a range of rows of
    the long ones. Ranges count from 0: `ranges[k]` = (start, stop) is written by `write(k, …)`, by any process, in any
    order, possibly more than once. Those of another recipe or other numerics count as missing. `path` is `Project.path`.
    """

    def __init__(self, path: Path, recipe: Recipe, rows: int, numerics: Mapping[str, Any]) -> None:
        folder, file = places(path)
        self.ranges = row_ranges(rows)
        super().__init__(folder, recipe, 1 + len(self.ranges), file=file, numerics=dict(numerics))
        self._fields = {"axes": {}, "numerics": dict(numerics)}

    def open(self) -> None:
        """Create or continue the folder of work in progress. Raises OutputExistsError if the name is taken."""
        if self.folder.exists() and not is_artifact_folder(self.folder):
            raise OutputExistsError(
                "output-exists", f"{self.folder} is there and no artifact", "Move it away, or choose another --name"
            )
        super().open()

    def open_anew(self) -> None:
        """`open` an empty folder, discarding the work of an earlier run."""
        remove(self.partial)
        self.open()

    def missing(self) -> list[int]:
        """The ranges still to be written."""
        return [number - 1 for number in super().missing() if number]

    def write(self, number: int, tensors: Mapping[str, np.ndarray], meanings: Meanings) -> None:
        """Write the rows of one range atomically. Raises InputMissingError if the folder of work in progress is gone."""
        start, stop = self.ranges[number]
        assert max(map(len, tensors.values())) == stop - start, f"rows {start} to {stop}"
        if self.recorded_plan() is None:
            raise InputMissingError("plan-missing", f"{self.partial} is gone", "Run the same command again")
        self.write_shard(number + 1, tensors, meanings, start=start, stop=stop, **self._fields)

    def commit(
        self,
        tensors: Mapping[str, np.ndarray],
        meanings: Meanings,
        *,
        axes: Mapping[str, Any],
        parents: tuple[Header, ...] = (),
        **more: Any,
    ) -> Header:
        """Write shard 0 with the other tensors and the index, and make the artifact visible, without rereading any range."""
        self.write_shard(0, tensors, meanings, **self._fields)
        shards, declared = [], {}
        for number, header in enumerate(self.shard_headers()):
            span = dict(zip(("start", "stop"), self.ranges[number - 1], strict=True)) if number else {}
            shards.append({"file": self.shard_name(number), "content": header.content, **span})
            for name, entry in header.raw["tensors"].items():
                declared[name] = _longer(declared[name], entry) if name in declared else entry
        made = header_object(
            self.recipe, joined_id([shard["content"] for shard in shards]), axes=axes, tensors=declared,
            numerics=self._fields["numerics"], parents=parents, shards=shards, **more,
        )  # fmt: skip
        contradictions = list(axis_faults(header_from(made, str(self.folder))))
        assert not contradictions, contradictions
        return self.commit_index(made)


def _longer(first: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The header entry of a tensor concatenated from two pieces."""
    rows, *rest = first["shape"]
    return {**first, "shape": [rows + more["shape"][0], *rest]}
