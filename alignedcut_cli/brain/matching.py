"""Matching of rows of the responses to images of a feature set."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from alignedcut_cli.brain.words import few
from alignedcut_cli.datasets.hdf5 import number_of
from alignedcut_cli.datasets.images import SUFFIXES, UNREAD
from alignedcut_cli.datasets.names import same_form
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.canonical import file_digest
from alignedcut_cli.store.files import disk_errors

__all__ = ["Matching", "Named", "match_images"]

_NUMBER = re.compile(r"(?:.*nsd[-_ ]?)?([0-9]{1,12})", re.IGNORECASE | re.DOTALL)
_EXTENSIONS = SUFFIXES | UNREAD


class Named(Protocol):
    """Rows that belong to images: the name of each row's image, and its file (None where it is missing)."""

    @property
    def images(self) -> tuple[str, ...]: ...

    @property
    def files(self) -> tuple[Path | None, ...]: ...


@dataclass(frozen=True)
class Matching:
    """Pairs of a row of the responses and an index in the feature set, int64 both, in order of rows; and the unmatched.

    `renamed` are (row's name, image's path) of the pairs whose names differ in their extension.
    """

    rows: np.ndarray
    places: np.ndarray
    unmatched_rows: tuple[str, ...]
    unmatched_images: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()


def match_images(responses: Named, images: Sequence[Mapping[str, Any]]) -> Matching:
    """Match rows to images ({"path", "sha256", ...}): by file name, by the sha256 of the row's image file, or else
    to the one image whose name differs only in its extension (a.jpg and a.png).

    Where file names repeat, folders must agree as far as both sides have them. A row's name may lack the extension, and
    be in another Unicode form. An image in an HDF5 file also matches a row that is named by its number: 13, 00013 or
    train-0001_nsd-00013.png.
    Raises DataError if a row matches several images, or an image several rows.
    """
    names = [PurePosixPath(same_form(name)) for name in responses.images]
    paths = [PurePosixPath(same_form(image["path"])) for image in images]
    matched = _by_name(names, paths)
    matched |= _by_number(names, paths, matched)
    matched |= _by_content(responses, images, matched)
    renamed = _by_stem(names, paths, matched)
    matched |= renamed
    taken = set(matched.values())
    pairs = sorted(matched.items())
    return Matching(
        np.array([row for row, _ in pairs], np.int64),
        np.array([place for _, place in pairs], np.int64),
        tuple(name for row, name in enumerate(responses.images) if row not in matched),
        tuple(image["path"] for place, image in enumerate(images) if place not in taken),
        tuple((responses.images[row], images[place]["path"]) for row, place in sorted(renamed.items())),
    )


def _by_name(names: Sequence[PurePosixPath], paths: Sequence[PurePosixPath]) -> dict[int, int]:
    """{row: index} of the rows whose name is an image's name, with or without extension."""
    whole, stems = defaultdict(list), defaultdict(list)
    for place, path in enumerate(paths):
        whole[path.name].append((place, path))
        stems[path.stem].append((place, path.with_suffix("")))
    repeated = Counter(name.name for name in names)
    matched: dict[int, int] = {}
    rows: dict[int, int] = {}
    for row, name in enumerate(names):
        fits = whole.get(name.name) or stems.get(name.name, [])
        if len(fits) > 1 or repeated[name.name] > 1:
            fits = [fit for fit in fits if fit[1] == name] or [fit for fit in fits if _agree(fit[1], name)]
        if len(fits) > 1:
            raise _ambiguous(f"{name} fits the images {few([str(paths[place]) for place, _ in fits])}")
        if fits:
            place = fits[0][0]
            if place in rows:
                raise _ambiguous(f"the image {paths[place]} fits {names[rows[place]]} and {name}")
            matched[row], rows[place] = place, row
    return matched


def _agree(path: PurePosixPath, name: PurePosixPath) -> bool:
    """Whether two paths agree, compared from their ends over the length of the shorter."""
    length = min(len(path.parts), len(name.parts))
    return path.parts[-length:] == name.parts[-length:]


def _ambiguous(what: str) -> DataError:
    return DataError(
        "image-ambiguous", what, "Name the folders in the responses, and extract from the folder above them"
    )


def _by_number(
    names: Sequence[PurePosixPath], paths: Sequence[PurePosixPath], matched: Mapping[int, int]
) -> dict[int, int]:
    """{row: index} of the rows that match no name and whose name ends in the number of an image in an HDF5 file."""
    numbers: dict[int, list[int]] = defaultdict(list)
    for place, path in enumerate(paths):
        if (number := number_of(path)) is not None:
            numbers[number].append(place)
    owners = {place: row for row, place in matched.items()}
    found: dict[int, int] = {}
    for row, name in enumerate(names):
        told = None if row in matched else _NUMBER.fullmatch(name.stem)
        fits = numbers.get(int(told[1]), []) if told else []
        if len(fits) > 1:
            raise _ambiguous(f"{name} fits the images {few([str(paths[place]) for place in fits])}")
        for place in fits:
            if owners.setdefault(place, row) != row:
                raise _ambiguous(f"the image {paths[place]} fits {names[owners[place]]} and {name}")
            found[row] = place
    return found


def _by_content(responses: Named, images: Sequence[Mapping[str, Any]], matched: Mapping[int, int]) -> dict[int, int]:
    """{row: index} of the rows that match no name and whose file is a copy of an unmatched image."""
    taken = set(matched.values())
    free: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        if place not in taken and image.get("sha256"):
            free[image["sha256"]].append(place)
    sizes = {images[place].get("bytes") for places in free.values() for place in places}
    found: dict[int, int] = {}
    for row, file in enumerate(responses.files):
        if row in matched or file is None or not sizes:
            continue
        if places := free.get(_digest(file, sizes) or ""):
            found[row] = places.pop(0)
    return found


def _digest(file: Path, sizes: set[int | None]) -> str | None:
    """The sha256 of a file, or None if its size is none of `sizes` (None among these is any size)."""
    with disk_errors(file):
        return file_digest(file) if None in sizes or file.stat().st_size in sizes else None


def _by_stem(
    names: Sequence[PurePosixPath], paths: Sequence[PurePosixPath], matched: Mapping[int, int]
) -> dict[int, int]:
    """{row: index} of the remaining rows whose name, with or without folders, is one image's except for the extension.

    No other row or image, matched or not, may have that name.
    """
    taken = set(matched.values())
    found: dict[int, int] = {}
    for key in (lambda path: path.with_suffix(""), lambda path: path.stem):
        rows, places = Counter(key(name) for name in names if name.name), defaultdict(list)
        for place, path in enumerate(paths):
            places[key(path)].append(place)
        for row, name in enumerate(names):
            if row in matched or row in found or name.suffix.lower() not in _EXTENSIONS or rows[key(name)] > 1:
                continue
            if len(fits := places[key(name)]) == 1 and fits[0] not in taken:
                found[row] = fits[0]
                taken.add(fits[0])
    return found
