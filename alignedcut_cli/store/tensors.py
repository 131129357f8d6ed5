"""One safetensors file: written atomically, its header read separately, its tensors memory-mapped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import DataError, InputMissingError
from alignedcut_cli.store.canonical import canonical_json
from alignedcut_cli.store.files import disk_errors, writing
from alignedcut_cli.store.header import KEY, Header, header_from

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Layout", "describe", "layout_header", "map_tensor", "read_layout", "write_tensors"]

_DTYPES = {
    "I64": "<i8",
    "F64": "<f8",
    "F32": "<f4",
    "I32": "<i4",
    "F16": "<f2",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""In the order in which the safetensors library lays tensors out in a file."""
_LONGEST_HEADER = 100_000_000
_PIECE = 1 << 20
"""Numbers of a tensor copied per step."""


@dataclass(frozen=True)
class Layout:
    """The offset of each tensor in a safetensors file, and the file's own metadata."""

    path: Path
    offsets: Mapping[str, tuple[str, tuple[int, ...], int]]
    metadata: Mapping[str, str]


def read_layout(path: Path) -> Layout:
    """The layout of a safetensors file, from its header alone.

    Raises InputMissingError if it is missing, DataError if it is truncated or not a safetensors file.
    """
    with disk_errors(path):
        if not path.is_file():
            raise InputMissingError(
                "artifact-missing", f"{path} does not exist", "Check the name with alignedcut status"
            )
        size = path.stat().st_size
        with path.open("rb") as stream:
            prefix = stream.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise _truncated_or_foreign(path, size)
            text = stream.read(length)
    return _parse_layout(path, size, length, text)


def _truncated_or_foreign(path: Path, size: int) -> DataError:
    return DataError(
        "artifact-foreign", f"{path} ({size} bytes) is no safetensors file, or its header is cut off", "Make it again"
    )


def _parse_layout(path: Path, size: int, length: int, text: bytes) -> Layout:
    try:
        parsed = json.loads(text)
        metadata = parsed.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise TypeError
        offsets = {}
        end = 8 + length
        for name, entry in parsed.items():
            dtype, shape, (first, last) = _DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            if not all(type(one) is int for one in (*shape, first, last)):
                raise TypeError
            if min(shape, default=0) < 0 or first < 0 or last - first != math.prod(shape) * int(dtype[2:]):
                raise ValueError
            offsets[name] = (dtype, shape, 8 + length + first)
            end = max(end, 8 + length + last)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError("artifact-foreign", f"{path} is no safetensors file", "Make it again") from None
    if size < end:
        raise DataError("artifact-truncated", f"{path} is cut off: {size} of {end} bytes", "Make it again")
    if size > end:
        raise DataError("artifact-corrupt", f"{path} has {size - end} bytes too many", "Make it again")
    return Layout(path, offsets, metadata)


def layout_header(layout: Layout) -> Header:
    """The provenance header in a layout's metadata, checked against the tensors that the file declares."""
    text = layout.metadata.get(KEY)
    if text is None:
        raise DataError(
            "artifact-foreign", f"{layout.path} has no alignedcut header", "Give an artifact that alignedcut wrote"
        )
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError, TypeError):
        raise DataError("artifact-corrupt", f"{layout.path}: the header is no JSON", "Make it again") from None
    header = header_from(raw, str(layout.path))
    declared = {name: (given["dtype"], tuple(given["shape"])) for name, given in header.raw["tensors"].items()}
    found = {name: (dtype, shape) for name, (dtype, shape, _) in layout.offsets.items()}
    if declared != found:
        raise DataError(
            "artifact-corrupt", f"{layout.path}: its tensors are not those that its header declares", "Make it again"
        )
    return header


def map_tensor(layout: Layout, name: str) -> np.ndarray:
    """One tensor as a read-only array, memory-mapped from the file."""
    import numpy as np

    dtype, shape, offset = layout.offsets[name]
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    with disk_errors(layout.path):
        return np.memmap(layout.path, dtype, mode="r", offset=offset, shape=shape)


def describe(tensors: Mapping[str, np.ndarray], meanings: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """The header's `tensors` entry: dtype, shape, shape axes and one line of meaning each."""
    return {
        name: {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "axes": meanings[name][0],
            "meaning": meanings[name][1],
        }
        for name, array in tensors.items()
    }


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write tensors with a header object atomically: the same values give the same bytes, those of the safetensors library.

    The library itself writes to a temporary file of its own, which stays when the process is killed, and holds all tensors
    in memory. Here memory-mapped ones are copied piece by piece.
    """
    with writing(path) as temporary:
        _copy_tensors(temporary, tensors, {KEY: canonical_json(header)})


def _copy_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file: its header's length and JSON, padded to 8 bytes, then the tensors by dtype, then name."""
    import numpy as np

    kinds = {code: name for name, code in _DTYPES.items()}
    places = list(kinds)
    ordered = sorted(tensors.items(), key=lambda one: (places.index(one[1].dtype.str), one[0]))
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        kind = kinds[array.dtype.str]
        entries[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            flat = array.reshape(-1)
            for start in range(0, len(flat), _PIECE):
                stream.write(np.ascontiguousarray(flat[start : start + _PIECE]).data)
