"""Untrusted npz archives: every array's header is checked before its data are decompressed."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.lib import format as npy

from alignedcut_cli.brain.arrays import NpyHeader, read_npy_header, require_loadable
from alignedcut_cli.brain.encoding import decoded
from alignedcut_cli.errors import AlignedcutError, DataError, first_line
from alignedcut_cli.store.files import disk_errors

__all__ = ["Npz", "open_npz"]

_MOST_ARRAYS = 10_000
_LONGEST_TEXT = 1 << 30
T = TypeVar("T")


@dataclass(frozen=True)
class Npz:
    """An open archive and the headers of its arrays, by name."""

    path: Path
    archive: zipfile.ZipFile
    headers: Mapping[str, NpyHeader]

    def numbers(self, name: str) -> np.ndarray:
        """An array of numbers, in memory."""
        return self._read(name, "fiub")

    def text(self, name: str) -> list[str]:
        """A list of names from a 1-D array of text, or of bytes that are text, of at most 1 GiB."""
        header, where = self.headers[name], f"{self.path}: {name}"
        require_loadable(header, where, "US")
        if len(header.shape) != 1 or header.size > _LONGEST_TEXT:
            raise DataError(
                "npz-names",
                f"{where} must be one short name per row, and is {header.shape} {header.dtype}",
                "Shorten it",
            )
        names = self._read(name, "US").tolist()
        texts = decoded(names) if header.dtype.kind == "S" else names
        if texts is None:
            raise DataError("npz-names", f"{where} holds bytes that are no text", "Save them as text")
        return texts

    def _read(self, name: str, kinds: str) -> np.ndarray:
        header, where = self.headers[name], f"{self.path}: {name}"
        require_loadable(header, where, kinds)
        size = self.archive.getinfo(f"{name}.npy").file_size
        if size != header.offset + header.size:
            raise DataError(
                "npz-corrupt", f"{where} declares {header.offset + header.size} bytes and has {size}", "Save it again"
            )
        return _guarded(self.path, lambda: self._unpack(name))

    def _unpack(self, name: str) -> np.ndarray:
        with self.archive.open(f"{name}.npy") as stream:
            return npy.read_array(stream, allow_pickle=False)


@contextmanager
def open_npz(path: Path) -> Iterator[Npz]:
    """The archive, with the headers of all its arrays read. Raises DataError if it is not an npz archive, or damaged."""
    with disk_errors(path):
        archive = _guarded(path, lambda: zipfile.ZipFile(path))
        with archive:
            names = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
            if len(names) > _MOST_ARRAYS or len(set(names)) < len(names):
                raise DataError("npz-corrupt", f"{path} has too many arrays, or one twice", "Save it again")
            yield Npz(
                path, archive, {name: _guarded(path, lambda name=name: _header(archive, path, name)) for name in names}
            )


def _header(archive: zipfile.ZipFile, path: Path, name: str) -> NpyHeader:
    with archive.open(f"{name}.npy") as stream:
        return read_npy_header(stream, f"{path}: {name}")


def _guarded(path: Path, read: Callable[[], T]) -> T:
    """The result of `read`; errors of the zip reader on a damaged, encrypted or hostile archive become a DataError."""
    try:
        return read()
    except (AlignedcutError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a damaged offset seeks before the start
            raise
        raise DataError(
            "npz-unreadable", f"{path} is no npz archive ({first_line(error)})", "Save it with numpy.savez"
        ) from None
