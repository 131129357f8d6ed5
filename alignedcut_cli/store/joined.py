"""An array whose rows lie in several others, which are opened as they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alignedcut_cli.store.rows import Rows

__all__ = ["JoinedRows"]


class _Blocks(Sequence[np.ndarray]):
    """The pieces, each opened while in use, as memory and the number of open files are limited."""

    def __init__(self, piece: Callable[[int], Any], count: int, columns: tuple[Any, ...]) -> None:
        self.piece, self.total, self.columns = piece, count, columns

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, number: Any) -> Any:
        return self.piece(number)[(slice(None), *self.columns)]


class JoinedRows(Rows, np.lib.mixins.NDArrayOperatorsMixin):
    """The concatenated rows of `piece(0)`, `piece(1)`, …, of `lengths` rows each, at least one, as a read-only array.

    Ranges of rows, rows by index and their columns are read selectively; anything else (arithmetic, `max`, `np.asarray`)
    reads the whole tensor. With `columns`, the array is `[:, *columns]` of it.
    """

    def __init__(self, piece: Callable[[int], Any], lengths: Sequence[int], columns: tuple[Any, ...] = ()) -> None:
        blocks = _Blocks(piece, len(lengths), columns)
        super().__init__(blocks, lengths)
        self._pieces, self._lengths = blocks, lengths
        self.dtype = blocks[0].dtype
        self.shape = (len(self), *blocks[0].shape[1:])
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> Any:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        if isinstance(rows, slice) and rows == slice(None) and not self._pieces.columns:
            return JoinedRows(self._pieces.piece, self._lengths, tuple(columns)) if columns else self
        if any(not isinstance(one, int | slice) for one in columns):
            return np.asarray(self)[key]
        found = self._read(rows)
        if found is None:
            return np.asarray(self)[key]
        if not columns:
            return found
        return found[tuple(columns)] if found.ndim < self.ndim else found[(slice(None), *columns)]

    def _read(self, rows: Any) -> np.ndarray | None:
        """The rows for an index into the first axis; None for an index that needs the whole tensor."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return self.rows(start, max(start, stop)) if step == 1 else None
        ids = np.asarray(rows)
        if ids.dtype == bool and ids.shape == (len(self),):
            return self.take(np.flatnonzero(ids))
        if ids.dtype.kind not in "iu" or ids.ndim > 1:
            return None
        ids = np.where(ids < 0, ids + len(self), ids)
        if ids.size and not (ids.min() >= 0 and ids.max() < len(self)):
            raise IndexError(f"row {rows} of {len(self)}")
        if ids.ndim == 0:
            return self.rows(int(ids), int(ids) + 1)[0]
        order = np.argsort(ids, kind="stable")
        found = np.empty((len(ids), *self.shape[1:]), self.dtype)
        found[order] = self.take(ids[order])
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self.rows(0, len(self))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **given: Any) -> Any:
        return getattr(ufunc, method)(
            *(np.asarray(one) if isinstance(one, JoinedRows) else one for one in inputs), **given
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)
