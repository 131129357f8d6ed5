"""Canonical JSON and the ids built on it: equal content has equal bytes and ids."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["canonical_json", "digest", "file_digest", "short", "stored_digest", "tensor_digest"]

_CHUNK = 1 << 20


def canonical_json(value: Any) -> str:
    """The canonical text of a JSON value: sorted keys, no spaces, ASCII, and no NaN or infinity (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """The sha256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """The sha256 (64 hex digits) of a file's bytes."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def tensor_digest(tensors: Mapping[str, np.ndarray] | Iterable[tuple[str, np.ndarray]]) -> str:
    """The content id of named arrays: 256 bits of BLAKE2b over name, dtype, shape and bytes, in order of name.

    BLAKE2b takes half the time of sha256, which matters for features, hashed as fast as they are computed.
    """
    import numpy as np

    state = hashlib.blake2b(digest_size=32)
    for name, array in sorted(dict(tensors).items()):
        state.update(_label(name, array.dtype.str, array.shape))
        if array.size:
            state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def stored_digest(path: Path, places: Mapping[str, tuple[str, tuple[int, ...], int]]) -> str:
    """The `tensor_digest` of the arrays in a file at {name: (dtype, shape, offset)}, read in chunks of 1 MiB."""
    state = hashlib.blake2b(digest_size=32)
    with path.open("rb") as stream:
        for name, (dtype, shape, offset) in sorted(places.items()):
            state.update(_label(name, dtype, shape))
            stream.seek(offset)
            left = math.prod(shape) * int(dtype[2:])
            while chunk := stream.read(min(_CHUNK, left)):
                state.update(chunk)
                left -= len(chunk)
    return state.hexdigest()


def _label(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    return canonical_json([name, dtype, list(shape)]).encode("ascii")


def short(identity: str) -> str:
    """The first 12 digits of an id, for display."""
    return identity[:12]
