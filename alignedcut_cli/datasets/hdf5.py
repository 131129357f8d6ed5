"""Images in an HDF5 file, as NSD ships its stimuli: imgBrick (N, H, W, 3) uint8. Such a file is treated as a folder.

The path of an image is FILE.hdf5/imgBrick/00013: its number, from 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from alignedcut_cli.datasets.mask_sets import named
from alignedcut_cli.errors import DataError, UnavailableError, UsageError, first_line

__all__ = ["MOST_PIXELS", "file_of", "number_of", "paths_in", "read_pixels", "split_range"]

_SUFFIXES = (".hdf5", ".h5")
BRICK = "imgBrick"
MOST_PIXELS = 1 << 27
_MOST_IMAGES = 1 << 20
_NUMBER = re.compile(r"[0-9]{1,12}")
_RANGE = re.compile(r"[0-9]{1,12}(-[0-9]{1,12})?(,[0-9]{1,12}(-[0-9]{1,12})?)*")


def split_range(argument: str) -> tuple[Path, str] | None:
    """The file and the range of FILE.hdf5 or FILE.hdf5:RANGE ("" is all); None if the argument names no HDF5 file."""
    for text, numbers in ((argument, ""), (argument.rpartition(":")[0], argument.rpartition(":")[2])):
        path = Path(text)
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            return path, numbers
    return None


def number_of(path: PurePath) -> int | None:
    """The number of the image that a path inside an HDF5 file names; None for other paths. The file need not exist."""
    inside = len(path.parts) > 2 and path.parent.name == BRICK and path.parents[1].suffix.lower() in _SUFFIXES
    return int(path.name) if inside and _NUMBER.fullmatch(path.name) else None


def file_of(path: Path) -> Path:
    """The file that holds an image: the path itself, or the HDF5 file that it points into."""
    inside = number_of(path) is not None and path.parents[1].is_file()
    return path.parents[1] if inside else path


def paths_in(file: Path, numbers: str) -> list[Path]:
    """The paths of a file's images: all, or those of a range such as 0-999 or 0,5,7-9, in its order.

    Raises UnavailableError without h5py, UsageError for an invalid range, DataError for a file of another
    layout, or without pixels.
    """
    with _brick(file) as brick:
        _require_written(file, brick)
        count = brick.shape[0]
    chosen = _parse(file, numbers, count)
    digits = max(5, len(str(count - 1)))
    return [file / BRICK / f"{number:0{digits}d}" for number in chosen]


def read_pixels(path: Path) -> np.ndarray:
    """One image: uint8 (H, W, 3). Raises as `paths_in` does."""
    number = int(path.name)
    with _brick(file_of(path)) as brick:
        if number >= brick.shape[0]:
            raise DataError("hdf5-layout", f"{file_of(path)} has no image {number}", f"It has {brick.shape[0]}")
        return np.ascontiguousarray(brick[number])


def _parse(file: Path, numbers: str, count: int) -> list[int]:
    if not numbers:
        numbers = f"0-{count - 1}"
    if not _RANGE.fullmatch(numbers):
        raise UsageError("bad-range", f"{file}:{numbers} names no images", "Write for example :0-999 or :0,5,7-9")
    ends = [(int(first), int(last or first)) for first, _, last in (one.partition("-") for one in numbers.split(","))]
    if bad := next((f"{first}-{last}" for first, last in ends if first > last or last >= count), None):
        raise UsageError("bad-range", f"{file} has the images 0 to {count - 1}, not {bad}", "Choose among them")
    if (total := sum(last - first + 1 for first, last in ends)) > _MOST_IMAGES:
        raise UsageError("bad-range", f"{file}: {total} images are too many", f"Choose {_MOST_IMAGES} at most")
    return [number for first, last in ends for number in range(first, last + 1)]


@contextmanager
def _brick(file: Path) -> Iterator[Any]:
    """The data set of images of an open file, its layout checked."""
    try:
        import h5py
    except ImportError:
        raise UnavailableError(
            "no-h5py", f"{file} needs the package h5py", "Install it: pip install 'alignedcut[hdf5]'"
        ) from None
    try:
        with h5py.File(file, "r") as opened:
            if not isinstance(opened.get(BRICK, getlink=True) if BRICK in opened else None, h5py.HardLink):
                held = named([repr(name) for name in opened]) or "nothing"
                raise DataError("hdf5-layout", f"{file} has no data set {BRICK} (it holds {held})", _REMEDY)
            brick = opened[BRICK]
            if fault := _fault(brick) if isinstance(brick, h5py.Dataset) else "is no data set":
                raise DataError("hdf5-layout", f"{file}: {BRICK} {fault}", _REMEDY)
            yield brick
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise DataError("hdf5-unreadable", f"{file}: {first_line(error)}", "Download or write it again") from None


_REMEDY = f"Give images as {BRICK}, (images, rows, columns, 3) of uint8"


def _fault(brick: Any) -> str | None:
    """Why a data set cannot be read as images; None if it can."""
    shape = brick.shape or ()
    if brick.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        return f"is {brick.dtype} of shape {shape}"
    if shape[1] * shape[2] > MOST_PIXELS or math.prod(brick.chunks or (1,)) > 3 * MOST_PIXELS:
        return f"has images or chunks of more than {MOST_PIXELS} pixels (a decompression bomb?)"
    if brick.external or brick.is_virtual:
        return "lies in other files"
    return None


def _require_written(file: Path, brick: Any) -> None:
    """Raise DataError if parts of the data set were never written: they would read as black images."""
    if brick.chunks:
        wanted = math.prod(math.ceil(size / chunk) for size, chunk in zip(brick.shape, brick.chunks, strict=True))
        there = brick.id.get_num_chunks()
    else:
        wanted, there = brick.nbytes, brick.id.get_storage_size()
    if there < wanted:
        raise DataError("hdf5-incomplete", f"{file}: {there / wanted:.0%} of {BRICK} was written", "Copy it again")
