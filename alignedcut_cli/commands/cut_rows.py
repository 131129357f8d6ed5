"""The nodes of a graph, read and transformed tile by tile: nothing in between is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from alignedcut_cli.commands.cut_slots import Slot, node_table
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.features import NodeRows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["GraphRows"]

PART = 4096


class GraphRows:
    """The rows of several slots one after another in one space: `read(start, stop)` gives (stop - start, r) float32."""

    def __init__(
        self, slots: Sequence[Slot], transforms: Sequence[Tensor | None], space: str, device: torch.device
    ) -> None:
        self._slots = slots
        self._stored = [NodeRows(slot.blocks()) for slot in slots]
        self._transforms = [None if one is None else one.to(device) for one in transforms]
        self._starts = [0, *accumulate(map(len, self._stored))]
        self._space = space
        self._device = device

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> Tensor:
        """Rows V T of nodes start to stop, on the device (rows V in raw space).

        Raises DataError, with the slot, image and token, for a node that is zero or not finite in this space.
        """
        import torch

        first = self._transforms[0]
        width = self._stored[0].width if first is None else first.shape[1]
        rows = torch.empty(stop - start, width, device=self._device)
        for number, begin, end in self._parts(start, stop):
            offset = self._starts[number] - start
            rows[offset + begin : offset + end] = self._part(number, begin, end)
        return rows

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(slot, first row, last row) of pieces that lie in one slot and are not too long."""
        for number, base in enumerate(self._starts[:-1]):
            last = min(stop, self._starts[number + 1]) - base
            for begin in range(max(0, start - base), last, PART):
                yield number, begin, min(begin + PART, last)

    def _part(self, number: int, begin: int, end: int) -> Tensor:
        import torch

        rows = torch.from_numpy(self._stored[number].rows(begin, end)).to(self._device).float()  # (t, D)
        transform = self._transforms[number]
        if transform is not None:
            rows = rows @ transform  # (t, r)
        norms = rows.norm(dim=1)
        bad = (~torch.isfinite(norms) | (norms == 0)).nonzero().squeeze(1)
        if len(bad):
            kind = "zero" if norms[bad[0]] == 0 else "not finite"
            raise self._no_direction(self._slots[number], begin + int(bad[0]), kind)
        return rows

    def _no_direction(self, slot: Slot, row: int, kind: str) -> DataError:
        """The refusal of a node that has no cosine with any other."""
        image, token = divmod(row, slot.tokens)
        _, _, line, column = node_table(slot.about, 0, 1)[token].tolist()
        place = "the class token" if line < 0 else f"the patch at row {line}, column {column}"
        return DataError(
            "no-direction",
            f"{slot.name}: {place} of image {image} ({slot.source.images[image]['path']}) is {kind} in {self._space} "
            "space, so that its cosine with other nodes is undefined",
            "Leave that layer out with --layers, or "
            + ("extract again" if self._space == "raw" else "compare in another --space"),
        )
