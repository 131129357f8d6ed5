"""Lists of the image names of a table's rows, for tables without them."""

from __future__ import annotations

from pathlib import Path

from alignedcut_cli.brain.delimited import image_columns, open_delimited
from alignedcut_cli.brain.encoding import read_lines
from alignedcut_cli.errors import DataError

__all__ = ["LISTS", "names_beside"]

LISTS = (
    ("{}.images.txt",),
    ("{}.txt", "{}_names.txt", "{}_images.txt", "{}_names.csv", "{}_images.csv"),
    ("images.txt", "names.txt", "images.csv", "names.csv"),
)
"""Files next to a table that may name its images ({} is its own name), in order of precedence."""


def names_beside(path: Path) -> tuple[list[str], list[str]]:
    """The names in the list next to a table, and a note on which list was read, if it is not NAME.images.txt.

    Raises DataError if there is none, or there are several of the same precedence that differ.
    """
    for kind in LISTS:
        there = [list_ for name in kind if (list_ := path.with_name(name.format(path.stem))).is_file()]
        read = [(list_, *_read(list_)) for list_ in there if list_ != path]
        if not read:
            continue
        first, names, called = read[0]
        for other, others, _ in read[1:]:
            if others != names:
                raise DataError(
                    "image-list-unclear",
                    f"{path} does not name its images, and {first.name} and {other.name} beside it differ",
                    f"Keep one of them, or call the right one {path.stem}.images.txt",
                )
        note = f"image names are those of {first.name}{f', read as {called}' if called else ''}"
        return names, [note] if called or first.name != LISTS[0][0].format(path.stem) else []
    raise DataError(
        "image-list-missing",
        f"{path} does not say which image each row belongs to, and {LISTS[0][0].format(path.stem)} does not exist",
        f"Name the images in the table, or write their names to {LISTS[0][0].format(path.stem)}, one a line",
    )


def _read(path: Path) -> tuple[list[str], str]:
    """The names of one list, one per line or the image column of a csv, and the name of its encoding."""
    if path.suffix != ".csv":
        return read_lines(path)
    table = open_delimited(path)
    named = image_columns(table.header)
    if not named and len(table.header) > 1:
        raise DataError(
            "image-list-unreadable",
            f"{path} has no column `image`",
            "Call the column of names `image`, or keep it alone",
        )
    place = named[0] if named else 0
    names = [cells[place] for _, cells in table.rows() if cells]
    return names if named else [table.header[0], *names] if table.header else [], table.called
