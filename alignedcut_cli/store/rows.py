"""The concatenated rows of several arrays, read selectively by range or index."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NodeRows", "Rows"]


class Rows:
    """The concatenated rows of several arrays (n, …) with equal last axes.

    `blocks` may be a sequence that opens each array on access; `lengths` then gives their n.
    """

    def __init__(self, blocks: Sequence[np.ndarray], lengths: Sequence[int] | None = None) -> None:
        self._blocks = blocks
        self._starts = [0, *accumulate(map(len, blocks) if lengths is None else lengths)]

    def __len__(self) -> int:
        return self._starts[-1]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop, copied, in the stored dtype."""
        import numpy as np

        stop = min(stop, len(self))
        number = min(bisect.bisect_right(self._starts, start), len(self._blocks)) - 1
        block = self._blocks[number]
        found = np.empty((max(0, stop - start), *block.shape[1:]), block.dtype)
        while (base := self._starts[number]) < stop:
            block = self._blocks[number][max(0, start - base) : stop - base]
            first = max(start, base) - start
            found[first : first + len(block)] = block
            number += 1
        return found

    def take(self, ids: np.ndarray) -> np.ndarray:
        """The rows with ascending `ids`, copied, in the stored dtype, without reading others."""
        import numpy as np

        bounds = np.searchsorted(ids, self._starts)
        parts = [
            self._blocks[number][ids[first:last] - self._starts[number]]
            for number, (first, last) in enumerate(pairwise(bounds))
            if last > first
        ]
        return np.concatenate(parts) if parts else self.rows(0, 0)


class NodeRows(Rows):
    """The concatenated rows of several (…, D) arrays, read in ranges: `rows(start, stop)` returns (stop - start, D)."""

    def __init__(self, blocks: Sequence[np.ndarray]) -> None:
        super().__init__([block.reshape(-1, block.shape[-1]) for block in blocks])

    @property
    def width(self) -> int:
        return self._blocks[0].shape[1]
