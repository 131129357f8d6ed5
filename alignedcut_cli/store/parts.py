"""Parts of an artifact in the making: files in the hidden folder `KIND/.NAME.parts` next to it, each of one recipe.

Any process that sees the folder may write them, in any order and more than once: each appears whole or not at all, and
two writers of one part write the same bytes. They last until the artifact is committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from alignedcut_cli.errors import AlignedcutError, DataError
from alignedcut_cli.store.canonical import canonical_json, tensor_digest
from alignedcut_cli.store.files import make_folder, remove, writing_text
from alignedcut_cli.store.header import KEY, Recipe
from alignedcut_cli.store.index import read_json
from alignedcut_cli.store.locks import hold
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.tensors import Layout, map_tensor, read_layout, write_tensors

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Parts", "count_parts", "parts_names", "parts_owner"]

OWNER = "owner.json"


class Parts:
    """The parts of one artifact. Use: `open`, then `missing`, `write` and `read` by sweep and number, `drop` at the end.

    `numerics` names what the bytes may depend on besides the recipe (torch, kind of device): parts that were computed
    with others count as missing.
    """

    def __init__(self, project: Project, recipe: Recipe, numerics: Mapping[str, str]) -> None:
        self.folder = project.parts_folder(recipe.kind, recipe.name)
        self._project, self._recipe, self._numerics = project, recipe, dict(numerics)

    def open(self) -> None:
        """Create or continue the folder; one left by another recipe is removed."""
        lock = self._project.lock_path(self._recipe.kind, f"{self._recipe.name}.parts")
        with hold(lock, f"{self._recipe.kind}/{self._recipe.name}", wait=True):
            if self.begun:
                return
            remove(self.folder)
            make_folder(self.folder)
            writing_text(self.folder / OWNER, canonical_json({"recipe": self._recipe.identity}))

    @property
    def begun(self) -> bool:
        """Whether there is a folder of parts of this recipe."""
        return parts_owner(self.folder) == self._recipe.identity

    def missing(self, sweep: str, count: int) -> list[int]:
        """The numbers, below `count`, of missing or incomplete parts."""
        return [number for number in range(count) if self._layout(sweep, number, count) is None]

    def write(self, sweep: str, number: int, count: int, tensors: Mapping[str, np.ndarray]) -> None:
        """Write one part atomically. Raises InputMissingError if the folder is gone, as the part is no longer needed."""
        owner = self.folder / OWNER
        if not owner.is_file():
            read_json(owner)  # names the path
        header = self._header(sweep, number, count) | {"content": tensor_digest(tensors)}
        write_tensors(self._path(sweep, number, count), tensors, header)

    def read(self, sweep: str, number: int, count: int) -> dict[str, np.ndarray]:
        """The tensors of one part, memory-mapped. Raises DataError if it is missing or incomplete."""
        layout = self._layout(sweep, number, count)
        if layout is None:
            path = self._path(sweep, number, count)
            raise DataError("part-missing", f"{path} is gone or damaged", "Run the same command again")
        return {name: map_tensor(layout, name) for name in layout.offsets}

    def rows(
        self,
        sweep: str,
        ranges: Sequence[tuple[int, int, int]],
        graph: int,
        take: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    ) -> np.ndarray:
        """The rows of a graph, as `take` gives them of a part: a `JoinedRows`, whose parts are opened as they are needed.

        The sweep has a part for each of `ranges`, (graph, start, stop).
        """
        from alignedcut_cli.store.joined import JoinedRows

        own = [number for number, (other, _, _) in enumerate(ranges) if other == graph]
        lengths = [stop - start for other, start, stop in ranges if other == graph]
        piece = lambda place: take(self.read(sweep, own[place], len(ranges)))  # noqa: E731
        return cast("np.ndarray", JoinedRows(piece, lengths))

    def drop(self) -> None:
        """Remove all parts."""
        remove(self.folder)

    def _path(self, sweep: str, number: int, count: int) -> Path:
        return self.folder / f"{sweep}-{number:05d}-of-{count:05d}.safetensors"

    def _header(self, sweep: str, number: int, count: int) -> dict[str, object]:
        """The header that a part must have, except for the content."""
        return {
            "schema": "alignedcut.part/1",
            "recipe": self._recipe.identity,
            "sweep": sweep,
            "number": number,
            "count": count,
            "numerics": self._numerics,
        }

    def _layout(self, sweep: str, number: int, count: int) -> Layout | None:
        try:
            layout = read_layout(self._path(sweep, number, count))
        except AlignedcutError:
            return None
        wanted = canonical_json(self._header(sweep, number, count))
        return layout if _without_content(layout.metadata.get(KEY, "")) == wanted else None


def parts_owner(folder: Path) -> str | None:
    """The recipe whose parts a folder holds; None if there is none, or it cannot be read."""
    try:
        found = read_json(folder / OWNER)
    except AlignedcutError:
        return None
    return found.get("recipe") if isinstance(found, dict) else None


def parts_names(project: Project, kind: str) -> list[str]:
    """The names of the artifacts of a kind with a folder of parts, sorted."""
    return sorted(path.name[1:].removesuffix(".parts") for path in (project.root / kind).glob(".*.parts"))


def count_parts(project: Project, kind: str, name: str) -> int:
    """The number of existing parts of an artifact."""
    return sum(1 for _ in project.parts_folder(kind, name).glob("[!.]*.safetensors"))


def _without_content(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return canonical_json({key: value for key, value in found.items() if key != "content"})
