"""Arrays in files of others: nothing is ever unpickled, and nothing is read that the file cannot hold."""

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

__all__ = ["LARGEST", "NpyHeader", "require_loadable", "map_npy", "read_npy_header"]

LARGEST = 64 << 30
"""The most bytes that one array may have: seven times the largest subject that was released, as float64."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class NpyHeader:
    """What the header of an npy stream declares, and where the numbers begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy_header(stream: IO[bytes], where: str) -> NpyHeader:
    """The header at the start of an npy stream, which is then at its numbers. Raises DataError if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's remark on headers that Python 2 wrote
            shape, fortran, dtype = _HEADERS[npy.read_magic(stream)](stream)
        if any(type(length) is not int or length < 0 for length in shape):
            raise ValueError("a length that is none")
    except OSError:
        raise
    except Exception as error:  # what a hostile header makes numpy's parser raise is many things
        reason = "an unknown version" if isinstance(error, KeyError) else first_line(error)
        raise DataError("npy-unreadable", f"{where} is no npy array ({reason})", "Save it with numpy.save") from None
    return NpyHeader(shape, fortran, dtype, stream.tell())


def require_loadable(header: NpyHeader, where: str, kinds: str = "fiub") -> None:
    """Raise DataError if the array holds what may not be read: Python objects, no numbers, or more than LARGEST."""
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
    """The numbers of an npy file as a read-only array mapped from it: bytes are read when touched.

    Raises DataError if it is no npy file, is cut off, or holds anything but numbers.
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
