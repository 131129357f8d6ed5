"""The stored class-agnostic masks, at the size of their image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["masks_of"]


def masks_of(
    tensors: Mapping[str, np.ndarray], slots: Sequence[Any], image: int, slot: int, size: tuple[int, int], how: str
) -> Iterator[tuple[float, np.ndarray]]:
    """(score, mask (H, W) bool) of each mask of one image and slot at the image's size, the best first."""
    import numpy as np
    import torch

    from alignedcut_cli.core.groups.resize import stretch_bands

    grid = slots[slot]["grid"]
    for number in np.flatnonzero((tensors["proposals"] == (image, slot)).all(1)):
        flat = torch.zeros(grid[0] * grid[1])
        flat[tensors["cells"][tensors["starts"][number] : tensors["starts"][number + 1]].astype(np.int64)] = 1
        bands = [maps[0] >= 0.5 for _, maps in stretch_bands(flat.reshape(1, *grid), size, how)]
        yield float(tensors["scores"][number]), torch.cat(bands).numpy()
