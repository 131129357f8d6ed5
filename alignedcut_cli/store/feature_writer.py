"""Feature sets in the making: shards written by one process or many, then committed in one rename.

Work in progress lies in `features/.NAME.partial`, which becomes `features/NAME`. A set that is replaced moves to
`features/.NAME.old` until then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError
from alignedcut_cli.store.artifact import describe, read_header, write_tensors
from alignedcut_cli.store.canonical import canonical_json, digest, tensor_digest
from alignedcut_cli.store.features import project_of
from alignedcut_cli.store.files import disk_errors, fsync_folder, remove, writing_text
from alignedcut_cli.store.hashes import SHARDS, HashCache, stamp
from alignedcut_cli.store.header import Header, Recipe, header_from, header_object
from alignedcut_cli.store.index import INDEX, is_shard_name, read_index, read_json
from alignedcut_cli.store.locks import hold

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PLAN", "FeatureWriter", "finish_swap", "is_settled", "partial_progress", "read_plan"]

PLAN = "plan.json"


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
    return _plan_in(partial_folder(folder))


def _plan_in(folder: Path) -> Mapping[str, Any] | None:
    path = folder / PLAN
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
    """Complete an interrupted commit; True if there was one.

    A set holds its shards and index and nothing else: what a killed run left half written beside them is removed.
    """
    old, partial = old_folder(folder), partial_folder(folder)
    if is_settled(folder):
        return False
    if old.exists() and not folder.exists():
        (partial if (partial / INDEX).is_file() else old).rename(folder)
    if plan := _plan_in(folder):
        own = {PLAN, INDEX, *plan["shards"]}
        for path in folder.iterdir():
            if path.name not in own:
                remove(path)
    for path in (old, folder / PLAN):
        remove(path)
    return True


class FeatureWriter:
    """A feature set in the making. Use: `open`, `missing`, `write` for each missing shard, `commit`.

    Several processes may open one and write its shards, each whole or not at all; one of them commits, under the set's
    lock. `numerics` names what the bytes may depend on besides the recipe (torch, kind of device): all shards of a set
    have one, and a shard of another counts as missing.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        ranges: Sequence[tuple[int, int]],
        along: str = "images",
        numerics: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.ranges = list(ranges)
        self.along = along
        self.numerics = numerics
        self.partial = partial_folder(folder)
        self._written: dict[str, tuple[str, list[int]]] = {}

    def shard_name(self, number: int) -> str:
        return f"{number:05d}-of-{len(self.ranges):05d}.safetensors"

    def recorded_plan(self) -> Mapping[str, Any] | None:
        """The plan of an earlier unfinished run, or None."""
        return read_plan(self.folder)

    def open(self) -> bool:
        """Create or continue the folder of work in progress; one left by another recipe is removed. True if it is new.

        Where every shard is there already, `numerics` becomes theirs. Raises DataError if others are begun.
        """
        with hold(project_of(self.folder).lock_path("features", f"{self.folder.name}.partial"), "", wait=True):
            found = self.recorded_plan()
            names = [self.shard_name(number) for number in range(len(self.ranges))]
            if found is not None and found["recipe"] == self.recipe.identity and found["shards"] == names:
                self._take(found.get("numerics"))
                return False
            self._begin(names)
            return True

    def _take(self, begun: Mapping[str, str] | None) -> None:
        """Go on with shards of the numerics `begun`, if they are this run's or nothing is to be computed."""
        mine = self.numerics
        if mine is None or mine == begun:
            return
        self.numerics = begun or {}
        if self.missing():
            differ = [key for key in mine if mine[key] != self.numerics.get(key)]
            there, here = (", ".join(f"{key} {of.get(key)}" for key in differ) for of in (self.numerics, mine))
            raise DataError(
                "other-numerics",
                f"features/{self.folder.name} was begun with {there}; this run has {here}",
                f"Go on with the former, or remove {self.partial} to begin again",
            )

    def _begin(self, names: Sequence[str]) -> None:
        remove(self.partial)
        self.partial.mkdir(parents=True)
        plan = {
            "recipe": self.recipe.identity,
            "params": dict(self.recipe.params),
            "external": dict(self.recipe.external),
            "shards": names,
            **({"numerics": dict(self.numerics)} if self.numerics else {}),
        }
        writing_text(self.partial / PLAN, canonical_json(plan))

    def missing(self) -> list[int]:
        """The shards still to be made. An unreadable one, or one of another recipe, counts as missing."""
        missing = [number for number in range(len(self.ranges)) if not self.is_whole(number)]
        return [] if missing and self.is_committed() else missing

    def is_committed(self) -> bool:
        """Whether the set is there, whoever finished it."""
        if (self.partial / PLAN).is_file():
            return False
        try:
            return read_index(self.folder).recipe == self.recipe.identity
        except AlignedcutError:
            return False

    def is_whole(self, number: int) -> bool:
        """Whether a shard is there, of this recipe and these numerics."""
        try:
            header = read_header(self.partial / self.shard_name(number))
        except AlignedcutError:
            return False
        same = self.numerics is None or header.raw["numerics"] == self.numerics
        return header.recipe == self.recipe.identity and header.raw["shard"] == number and same

    def write(
        self, number: int, tensors: Mapping[str, np.ndarray], meanings: Mapping[str, tuple[str, str]], **fields: Any
    ) -> None:
        """Write one shard atomically; where the set has been finished by another process, nothing.

        Raises InputMissingError if the folder is gone otherwise: nobody waits for the shard.
        """
        try:
            read_json(self.partial / PLAN)
            self._write(number, tensors, meanings, fields)
        except InputMissingError:
            if not self.is_committed():
                raise

    def _write(
        self,
        number: int,
        tensors: Mapping[str, np.ndarray],
        meanings: Mapping[str, tuple[str, str]],
        fields: Mapping[str, Any],
    ) -> None:
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
        """Write the index, and make the set visible under its name in one rename."""
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
