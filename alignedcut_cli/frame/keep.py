"""Checkpoints of a long run, from which the same command resumes after an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from alignedcut_cli.errors import DataError, InputMissingError, Stopped
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import map_tensor, read_layout, write_tensors
from alignedcut_cli.store.canonical import canonical_json, tensor_digest
from alignedcut_cli.store.files import remove
from alignedcut_cli.store.header import KEY, Recipe
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EVERY", "Arrays", "Held", "Keeper"]

Arrays = Mapping[str, "np.ndarray"]
EVERY = 10.0
"""Seconds between two checkpoints: less work than that is not worth saving."""


class Keeper:
    """The checkpoint of one run. Use: `read`, then call the keeper after each step, `drop` at the end of the run.

    A checkpoint is used only by the same recipe with the same `numerics` (libraries, kind of device). `tell` describes the
    progress of a state in words, such as "the start and 3 epochs".
    """

    def __init__(
        self, frame: Frame, recipe: Recipe, numerics: Mapping[str, str], tell: Callable[[Arrays], str]
    ) -> None:
        self._frame, self._recipe, self._numerics, self._tell = frame, recipe, dict(numerics), tell
        self._path = frame.project.kept_path(recipe.kind, recipe.name)
        self._written = time.monotonic()
        self._told: str | None = None

    def read(self) -> dict[str, np.ndarray] | None:
        """The checkpoint of an earlier run of this recipe with these numerics; else None, with a note on any other."""
        import numpy as np

        try:
            layout = read_layout(self._path)
        except (InputMissingError, DataError) as error:
            return self._left_out(error.message) if isinstance(error, DataError) else None
        arrays = {name: np.array(map_tensor(layout, name)) for name in layout.offsets}
        if layout.metadata.get(KEY) != canonical_json(self._header(arrays)):
            return self._left_out("it is of other parameters, inputs, versions or devices, or damaged")
        self._told = self._tell(arrays)
        self._frame.output.note(f"{self._recipe.kind}/{self._recipe.name}: {self._told} are there; going on")
        return arrays

    def _left_out(self, reason: str) -> None:
        name = f"{self._recipe.kind}/{self._recipe.name}"
        self._frame.output.note(f"{name}: what an interrupted run kept is not used: {reason}")
        self.drop()

    def _header(self, arrays: Arrays) -> dict[str, str]:
        """The header of a checkpoint: the recipe and numerics of its state."""
        return {
            "schema": "alignedcut.kept/1",
            "recipe": self._recipe.identity,
            **self._numerics,
            "content": tensor_digest(arrays),
        }

    def __call__(self, state: Callable[[], Arrays]) -> None:
        """Write the state atomically, unless one was written less than EVERY seconds ago."""
        if time.monotonic() - self._written < EVERY:
            return
        arrays = state()
        write_tensors(self._path, arrays, self._header(arrays))
        self._written, self._told = time.monotonic(), self._tell(arrays)

    def drop(self) -> None:
        """Delete the checkpoint."""
        remove(self._path)
        self._told = None

    @contextmanager
    def told_when_stopped(self) -> Iterator[None]:
        """If a signal stops the block, the message says what is saved and how to resume."""
        try:
            yield
        except Stopped as stopped:
            if self._told is not None:
                again = self._frame.journal.command(self._recipe.kind, self._recipe.name, overwrite=False)
                stopped.remedy = f"{self._told[:1].upper()}{self._told[1:]} are kept; go on with: {again}"
            raise


class Held:
    """The parts of an artifact that one process makes: held in memory, beside those that are files already.

    With `unit`, such as "layers", those that are not files yet are written at most every EVERY seconds, so that the same
    command goes on after an interruption, which is told in that word. Used as `Parts`.
    """

    def __init__(self, frame: Frame, recipe: Recipe, files: Parts, unit: str | None = None) -> None:
        self._frame, self._recipe, self._files, self._unit = frame, recipe, files, unit
        self._held: dict[tuple[str, int, int], Arrays] = {}
        self._waiting: list[tuple[str, int, int]] = []
        self._written, self._kept = time.monotonic(), 0

    def missing(self, sweep: str, count: int) -> list[int]:
        """The numbers, of `count`, whose part is neither held nor a file."""
        there = self._files.missing(sweep, count) if self._files.folder.is_dir() else range(count)
        return [number for number in there if (sweep, number, count) not in self._held]

    def write(self, sweep: str, number: int, count: int, tensors: Arrays) -> None:
        """Hold one part; and write those that are not files yet, if it is time to."""
        self._held[sweep, number, count] = tensors
        if self._unit is None:
            return
        self._waiting.append((sweep, number, count))
        if time.monotonic() - self._written < EVERY:
            return
        self._files.open()
        for key in self._waiting:
            self._files.write(*key, self._held[key])
        self._kept += len(self._waiting)
        self._waiting, self._written = [], time.monotonic()

    def read(self, sweep: str, number: int, count: int) -> Arrays:
        """The tensors of one part, as they are held, or mapped from its file."""
        held = self._held.get((sweep, number, count))
        return self._files.read(sweep, number, count) if held is None else held

    def tell(self, found: int) -> None:
        """A note that `found` parts are there from before; they count among those that are kept."""
        self._kept += found
        if found and self._unit:
            self._frame.output.note(
                f"{self._recipe.kind}/{self._recipe.name}: {found} {self._unit} are there; going on"
            )

    def drop(self) -> None:
        """Let go of all parts, and remove the files."""
        self._held, self._waiting, self._kept = {}, [], 0
        self._files.drop()

    @contextmanager
    def told_when_stopped(self) -> Iterator[None]:
        """If a signal stops the block, the message says what is kept and how to go on."""
        try:
            yield
        except Stopped as stopped:
            if self._kept:
                again = self._frame.journal.command(self._recipe.kind, self._recipe.name, overwrite=False)
                stopped.remedy = f"{self._kept} {self._unit} are kept; go on with: {again}"
            raise
