"""Tables exported to npz, csv or parquet, column by column and in chunks, so that any size fits in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import OutputExistsError, UnavailableError, UsageError
from alignedcut_cli.store.files import disk_errors, writing
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "WRITERS",
    "Column",
    "Offer",
    "Table",
    "export_table",
    "has_parquet",
    "require_free",
    "table_of_rows",
    "values",
]

PIECE = 65_536
"""Rows per chunk."""


@dataclass(frozen=True)
class Column:
    """One column: `read(start, stop)` returns these rows; with `labels` they are indices into these, -1 for none."""

    read: Callable[[int, int], np.ndarray]
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """Named columns of `rows` rows each."""

    rows: int
    columns: Mapping[str, Column]

    def pieces(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of the chunks, in order."""
        yield from ((start, min(start + PIECE, self.rows)) for start in range(0, self.rows, PIECE))


@dataclass(frozen=True)
class Offer:
    """A table that a kind of artifact offers: how it is made from header and tensors, and the tensor that it needs."""

    make: Callable[[Header, Mapping[str, np.ndarray]], Table]
    needs: str = ""

    def is_there(self, header: Header) -> bool:
        """Whether an artifact offers it: it has the tensor needed, or one TARGET.NEEDS of some target."""
        names = header.raw["tensors"]
        return not self.needs or any(name == self.needs or name.endswith(f".{self.needs}") for name in names)


def values(array: np.ndarray, labels: Sequence[str] | None = None) -> Column:
    """The column of an array (rows,), in memory or memory-mapped."""
    return Column(lambda start, stop: array[start:stop], None if labels is None else tuple(labels))


def table_of_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows as a table; None is NaN in a column of numbers, and no label in one of text."""
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(len(rows), {name: _column([row.get(name) for row in rows]) for name in names})


def _column(cells: Sequence[Any]) -> Column:
    import numpy as np

    kinds = {type(cell) for cell in cells}
    if kinds == {bool}:
        return values(np.array(cells))
    if kinds <= {int, float, type(None)}:
        whole = kinds == {int}
        return values(np.array([np.nan if cell is None else cell for cell in cells], np.int64 if whole else np.float64))
    labels = list(dict.fromkeys(str(cell) for cell in cells if cell is not None))
    places = {label: number for number, label in enumerate(labels)}
    return values(np.array([-1 if cell is None else places[str(cell)] for cell in cells], np.int32), labels)


def require_free(path: Path, overwrite: bool) -> None:
    """Raise UsageError for a file type that cannot be written, or OutputExistsError for an existing file."""
    if path.suffix.lower() not in WRITERS:
        raise UsageError(
            "bad-suffix", f"--export {str(path)!r} is of no kind known", f"Give one of: {', '.join(WRITERS)}"
        )
    with disk_errors(path):
        there = path.exists()
    if there and not overwrite:
        raise OutputExistsError("output-exists", f"{path} exists", "Choose another file, or give --overwrite")
    if path.suffix.lower() == ".parquet":
        _import_pyarrow()


def export_table(table: Table, path: Path, advance: Callable[[int], None] = lambda _: None) -> None:
    """Write a table atomically, in the format of the file's suffix; `advance` counts cells."""
    with writing(path) as temporary:
        WRITERS[path.suffix.lower()](table, temporary, advance)


def _text(labels: Sequence[str]) -> list[str]:
    """Labels as valid Unicode: bytes that are not (of a file name in another encoding) are escaped."""
    return [label.encode("utf-8", "backslashreplace").decode() for label in labels]


def _write_csv(table: Table, path: Path, advance: Callable[[int], None]) -> None:
    """Numbers to full precision; missing values are empty."""
    import csv

    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_text(list(table.columns)))
        for start, stop in table.pieces():
            writer.writerows(zip(*(_cells(one, start, stop) for one in table.columns.values()), strict=True))
            advance((stop - start) * len(table.columns))


def _cells(column: Column, start: int, stop: int) -> list[Any]:
    import numpy as np

    array = column.read(start, stop)
    if column.labels is not None:
        return np.array([*_text(column.labels), ""], object)[array].tolist()
    if array.dtype.kind != "f":
        return array.tolist()
    return np.where(np.isnan(array), "", array.astype(str)).tolist()


def _write_npz(table: Table, path: Path, advance: Callable[[int], None]) -> None:
    """One array per column: `pandas.DataFrame(dict(numpy.load(FILE)))` is the table."""
    import zipfile

    import numpy as np

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, column in table.columns.items():
            labels = None if column.labels is None else np.array([*_text(column.labels), ""])
            entry = zipfile.ZipInfo(f"{_text([name])[0]}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_STORED if column.read(0, 1).dtype.kind == "f" else zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                for start, stop in [*table.pieces()] or [(0, 0)]:
                    array = column.read(start, stop)
                    array = np.ascontiguousarray(array if labels is None else labels[array])
                    if start == 0:
                        about = {"descr": array.dtype.str, "fortran_order": False, "shape": (table.rows,)}
                        np.lib.format.write_array_header_1_0(stream, about)
                    stream.write(array.tobytes())
                    advance(stop - start)


def _write_parquet(table: Table, path: Path, advance: Callable[[int], None]) -> None:
    """Text is dictionary-encoded; missing values are null."""
    pa, pq = _import_pyarrow()

    def piece(start: int, stop: int) -> Any:
        return pa.table(
            [_arrow(pa, one, start, stop) for one in table.columns.values()], names=_text(list(table.columns))
        )

    with pq.ParquetWriter(path, piece(0, min(1, table.rows)).schema) as writer:
        for start, stop in table.pieces():
            writer.write_table(piece(start, stop))
            advance((stop - start) * len(table.columns))


def _arrow(pa: Any, column: Column, start: int, stop: int) -> Any:
    array = column.read(start, stop)
    if column.labels is not None:
        numbers = pa.array(array, pa.int32(), mask=array < 0)
        return pa.DictionaryArray.from_arrays(numbers, pa.array(_text(column.labels), pa.string()))
    return pa.array(array, from_pandas=True) if array.dtype.kind == "f" else pa.array(array)


def has_parquet() -> bool:
    """Whether pyarrow is installed, which parquet needs."""
    try:
        _import_pyarrow()
    except UnavailableError:
        return False
    return True


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        told = f"a .parquet file needs the package pyarrow ({error})"
        remedy = "Install it: pip install 'alignedcut[parquet]', or give a .csv or .npz"
        raise UnavailableError("package-missing", told, remedy) from None
    return pyarrow, pyarrow.parquet


WRITERS: Mapping[str, Callable[[Table, Path, Callable[[int], None]], None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
