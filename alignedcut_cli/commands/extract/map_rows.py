"""The rows of one map for all images, in memory or in a file on disk, written batch by batch, read slice by slice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from alignedcut_cli.store.files import disk_errors, remove

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["HeldRows", "Rows", "ScratchRows", "scratch_files"]


class Rows(Protocol):
    """The rows F (n, D) of a map."""

    def write(self, start: int, rows: Tensor) -> None:
        """Keep the rows (b, D) of the images from `start` on."""
        ...

    def read(self, number: int) -> Tensor:
        """The rows (n, s) of slice `number` of the units, aligned to cache lines; the caller may change them."""
        ...

    def close(self, *, keep: bool) -> None:
        """Release the rows; with `keep`, files on disk stay."""
        ...


class HeldRows:
    """Rows in memory."""

    def __init__(self, images: int, units: int, device: torch.device) -> None:
        import torch

        from alignedcut_cli.core.maps.block import padded
        from alignedcut_cli.core.maps.projection import slices

        self._rows, self._slices = torch.zeros(images, padded(units), device=device), slices(units)
        self._units = units

    def write(self, start: int, rows: Tensor) -> None:
        self._rows[start : start + len(rows), : self._units] = rows

    def read(self, number: int) -> Tensor:
        return self._rows[:, self._slices[number]]

    def close(self, *, keep: bool) -> None:
        del self._rows


def scratch_files(folder: Path) -> list[Path]:
    """The files of rows of an unfinished group."""
    return sorted(folder.glob("scratch-*.bin"))


class ScratchRows:
    """Rows in a file: one slice of units after another, each with the float32 of all images.

    So a batch is written in one block per slice, and a slice is read as one block.
    """

    def __init__(self, path: Path, images: int, units: int, device: torch.device) -> None:
        from alignedcut_cli.core.maps.projection import slices

        self._path, self._images, self._slices, self._device = path, images, slices(units), device
        with disk_errors(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            os.ftruncate(self._file, 4 * images * units)

    def write(self, start: int, rows: Tensor) -> None:
        with disk_errors(self._path):
            for place in self._slices:
                piece = rows[:, place].cpu().contiguous().numpy().data.cast("B")
                offset = 4 * (self._images * place.start + start * (place.stop - place.start))
                while piece:
                    count = os.pwrite(self._file, piece, offset)
                    piece, offset = piece[count:], offset + count

    def read(self, number: int) -> Tensor:
        import torch

        from alignedcut_cli.core.maps.block import aligned, padded

        place = self._slices[number]
        found = torch.empty(self._images, place.stop - place.start)
        view, offset = found.numpy().data.cast("B"), 4 * self._images * place.start
        with disk_errors(self._path):
            while view:
                count = os.preadv(self._file, [view], offset)
                if not count:
                    raise OSError(None, "the file is shorter than its map")
                view, offset = view[count:], offset + count
        width = found.shape[1]
        return (found if width == padded(width) else aligned(found)).to(self._device)

    def sync(self) -> None:
        """Flush all rows to the disk (fsync)."""
        with disk_errors(self._path):
            os.fsync(self._file)

    def close(self, *, keep: bool) -> None:
        os.close(self._file)
        if not keep:
            remove(self._path)
