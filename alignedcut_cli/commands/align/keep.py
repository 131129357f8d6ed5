"""What an alignment keeps while it runs, so that an interrupted one goes on where it was: the state after an epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.align.descent import State
from alignedcut_cli.errors import DataError, InputMissingError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import map_tensor, read_layout, write_tensors
from alignedcut_cli.store.canonical import canonical_json, tensor_digest
from alignedcut_cli.store.files import remove
from alignedcut_cli.store.header import KEY, Recipe

__all__ = ["EVERY", "Keeper"]

EVERY = 10.0
"""Seconds between two states that are written: less than this is not worth keeping."""


class Keeper:
    """The kept state of one alignment. Use: `read`, then the keeper itself after each epoch, `drop` at the end."""

    def __init__(self, frame: Frame, recipe: Recipe, device: torch.device) -> None:
        self._frame, self._recipe, self._device = frame, recipe, device
        self._path = frame.project.kept_path(recipe.kind, recipe.name)
        self._written = time.monotonic()
        self.epochs: int | None = None

    def read(self) -> State | None:
        """The state of an earlier run of this recipe on this kind of device; None, with a note if there is another."""
        try:
            layout = read_layout(self._path)
        except (InputMissingError, DataError) as error:
            return self._left_out(error.message) if isinstance(error, DataError) else None
        arrays = {name: np.array(map_tensor(layout, name)) for name in layout.offsets}
        if layout.metadata.get(KEY) != canonical_json(self._header(arrays)):
            return self._left_out("it is of other parameters, inputs, versions or devices, or damaged")
        self.epochs = len(arrays["curve"]) - 1
        name = f"{self._recipe.kind}/{self._recipe.name}"
        self._frame.output.note(f"{name}: the start and {self.epochs} epochs are there; going on")
        return {name: torch.from_numpy(array).to(self._device) for name, array in arrays.items()}

    def _left_out(self, reason: str) -> None:
        name = f"{self._recipe.kind}/{self._recipe.name}"
        self._frame.output.note(f"{name}: what an interrupted run kept is not used: {reason}")
        self.drop()

    def _header(self, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
        """Whose state these arrays are: it is used by the same recipe with the same torch on the same kind of device."""
        return {
            "schema": "alignedcut.kept/1",
            "recipe": self._recipe.identity,
            "torch": torch.__version__,
            "device": self._device.type,
            "content": tensor_digest(arrays),
        }

    def __call__(self, state: Mapping[str, Tensor]) -> None:
        """Write the state, whole or not at all, unless one was written less than EVERY seconds ago."""
        if time.monotonic() - self._written < EVERY:
            return
        arrays = {name: tensor.cpu().numpy() for name, tensor in state.items()}
        write_tensors(self._path, arrays, self._header(arrays))
        self._written, self.epochs = time.monotonic(), len(arrays["curve"]) - 1

    def drop(self) -> None:
        """Forget what is kept."""
        remove(self._path)
        self.epochs = None

    def remedy(self) -> str | None:
        """How to go on with what is kept; None if there is nothing."""
        if self.epochs is None:
            return None
        again = self._frame.journal.command(self._recipe.kind, self._recipe.name, overwrite=False)
        return f"The start and {self.epochs} epochs are kept; go on with: {again}"
