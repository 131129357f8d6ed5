"""The rows of a graph's nodes, read and transformed tile by tile, without intermediate results on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import DataError
from alignedcut_cli.nodes.slots import Slot, node_table
from alignedcut_cli.nodes.spaces import Space, open_transforms
from alignedcut_cli.store.features import NodeRows

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

__all__ = ["GraphRows", "directed", "graph_rows", "no_direction", "patch_rows"]

PART = 4096


def graph_rows(slots: Sequence[Slot], space: Space, device: torch.device) -> GraphRows:
    """The rows of one graph in a space, with its transforms loaded."""
    transform = open_transforms(space)
    return GraphRows(slots, [transform(slot) for slot in slots], space.name, device)


def patch_rows(slot: Slot) -> Tensor:
    """The rows of a slot's patches, image by image, without class tokens: (B * patches, D) float32 on the CPU."""
    import torch

    rows = GraphRows([slot], [None], "raw", torch.device("cpu")).read(0, slot.nodes)
    return rows.reshape(len(slot.source.images), slot.tokens, -1)[:, slot.about["class_token"] :].flatten(0, 1)


class GraphRows:
    """The concatenated rows of several slots in one space: `read(start, stop)` returns (stop - start, r) float32.

    `products` is the precision in which `read` applies the transforms; `take` applies them in float32.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        transforms: Sequence[Tensor | None],
        space: str,
        device: torch.device,
        products: str = "float32",
    ) -> None:
        self._slots = slots
        self._stored = [NodeRows(slot.blocks()) for slot in slots]
        self._transforms = [None if one is None else one.to(device) for one in transforms]
        self._starts = [0, *accumulate(map(len, self._stored))]
        self._space = space
        self._device = device
        self._products = products

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> Tensor:
        """Rows V T of nodes start to stop, on the device (rows V in raw space).

        Raises DataError, with the slot, image and token, for a node that is zero or not finite in this space.
        """
        import torch

        rows = torch.empty(stop - start, self.width, device=self._device)
        for number, begin, end in self._parts(start, stop):
            offset = self._starts[number] - start
            stored = self._stored[number].rows(begin, end)
            rows[offset + begin : offset + end] = self._transformed(stored, number, range(begin, end), self._products)
        return rows

    def take(self, ids: Tensor) -> Tensor:
        """Rows V T of the nodes with ascending `ids` (n,), read alone: (n, r). Raises DataError as `read` does."""
        import numpy as np
        import torch

        wanted = ids.cpu().numpy()
        bounds = np.searchsorted(wanted, self._starts)
        rows = torch.empty(len(wanted), self.width, device=self._device)
        for number, start in enumerate(self._starts[:-1]):
            for first in range(bounds[number], bounds[number + 1], PART):
                last = min(first + PART, bounds[number + 1])
                own = wanted[first:last] - start
                rows[first:last] = self._transformed(self._stored[number].take(own), number, own, "float32")
        return rows

    @property
    def width(self) -> int:
        """The length of a row."""
        first = self._transforms[0]
        return self._stored[0].width if first is None else first.shape[1]

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(slot, first row, last row) of pieces within one slot, of limited length."""
        for number, base in enumerate(self._starts[:-1]):
            last = min(stop, self._starts[number + 1]) - base
            for begin in range(max(0, start - base), last, PART):
                yield number, begin, min(begin + PART, last)

    def _transformed(self, stored: np.ndarray, number: int, own: Sequence[int] | np.ndarray, products: str) -> Tensor:
        """V T of stored rows of slot `number`, whose indices within the slot are `own`; none may be zero or not finite."""
        import torch

        rows, bad = directed(torch.from_numpy(stored).to(self._device), self._transforms[number], products)
        if bad is not None:
            slot = self._slots[number]
            image, token = divmod(int(own[bad]), slot.tokens)
            path = slot.source.images[image]["path"]
            raise no_direction(slot.name, slot.about, token, f"{image} ({path})", rows[bad], self._space)
        return rows


def directed(stored: Tensor, transform: Tensor | None, products: str = "float32") -> tuple[Tensor, int | None]:
    """Rows V T (t, r), float32, of stored rows V (t, D), and the first whose direction is undefined, None without one.

    `products` names the precision in which T is applied; without T they are V.
    """
    import torch

    rows = stored.float()  # (t, D)
    if transform is not None:
        kind = getattr(torch, products)
        rows = (rows.to(kind) @ transform.to(kind)).float()  # (t, r)
    norms = rows.norm(dim=1)
    bad = (~torch.isfinite(norms) | (norms == 0)).nonzero().squeeze(1)
    return rows, int(bad[0]) if len(bad) else None


def no_direction(name: str, about: Mapping[str, Any], token: int, image: str, row: Tensor, space: str) -> DataError:
    """The error for a node whose cosine with others is undefined: token `token` of an image in the slot `name`."""
    kind = "zero" if row.norm() == 0 else "not finite"
    _, _, line, column = node_table(about, 0, 1)[token].tolist()
    place = "the class token" if line < 0 else f"the patch at row {line}, column {column}"
    return DataError(
        "no-direction",
        f"{name}: {place} of image {image} is {kind} in {space} space, so that its cosine with other nodes is undefined",
        "Leave that layer out with --layers, or "
        + ("extract again" if space == "raw" else "compare in another --space"),
    )
