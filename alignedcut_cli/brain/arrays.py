"""Untrusted array files: nothing is unpickled, and sizes larger than the file are refused."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from alignedcut_cli.errors import DataError, first_line
from alignedcut_cli.store.files import disk_errors

__all__ = ["LARGEST", "NpyHeader", "map_npy", "read_npy_header", "require_loadable"]

LARGEST = 64 << 30
"""The largest accepted array in bytes: seven times the largest released subject, as float64."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class NpyHeader:
    """The header of an npy stream, and the offset of its data."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int

    @property
    def size(self) -> int:
        """Size of the data in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy_header(stream: IO[bytes], where: str) -> NpyHeader:
    """Read the header of an npy stream, leaving the stream at its data. Raises DataError if it is malformed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's warning about headers that Python 2 wrote
            shape, fortran, dtype = _HEADERS[npy.read_magic(stream)](stream)
        if any(type(length) is not int or length < 0 for length in shape):
            raise ValueError("a length that is none")
    except OSError:
        raise
    except Exception as error:  # numpy's parser raises many kinds of exceptions on a hostile header
        reason = "an unknown version" if isinstance(error, KeyError) else first_line(error)
        raise DataError("npy-unreadable", f"{where} is no npy array ({reason})", "Save it with numpy.save") from None
    return NpyHeader(shape, fortran, dtype, stream.tell())


def require_loadable(header: NpyHeader, where: str, kinds: str = "fiub") -> None:
    """Raise DataError if the array holds Python objects, is not numeric, or exceeds LARGEST bytes."""
    if header.dtype.hasobject:
        raise DataError(
            "npy-objects", f"{where} holds Python objects, which are not read", "Save numbers, and names as text"
        )
    if header.dtype.kind not in kinds:
        wanted = "numbers" if "f" in kinds else "text"
        raise DataError("npy-type", f"{where} must hold {wanted}, and holds {header.dtype}", f"Save it as {wanted}")
    if header.size > LARGEST:
        raise DataError(
            "too-large",
            f"{where} declares {' x '.join(map(str, header.shape))} numbers, {header.size / 2**30:.3g} GiB",
            f"Give at most {LARGEST >> 30} GiB: fewer channels, or float32",
        )


def map_npy(path: Path) -> np.ndarray:
    """The array of an npy file, memory-mapped read-only.

    Raises DataError if it is not an npy file, is truncated, or holds anything but numbers.
    """
    with disk_errors(path):
        with path.open("rb") as stream:
            header = read_npy_header(stream, str(path))
        require_loadable(header, str(path))
        size, needed = path.stat().st_size, header.offset + header.size
        if size < needed:
            raise DataError("npy-cut-off", f"{path} is cut off: {size} of {needed} bytes", "Fetch it again")
        if not header.size:
            return np.zeros(header.shape, header.dtype)
        order = "F" if header.fortran else "C"
        return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)
