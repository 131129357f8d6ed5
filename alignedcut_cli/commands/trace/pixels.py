"""Which example pixels a trace follows: given as image:row:col, listed in a file, or drawn by seed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from alignedcut_cli.datasets.names import same_form
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.store.files import disk_errors

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Pixel", "choose_pixels", "drawn_pixels", "in_grid"]

Pixel = tuple[int, int, int]
_PLACE = re.compile(r"(.+):(\d+):(\d+)")
_MOST = 1000


def choose_pixels(
    asked: Sequence[str],
    images: Sequence[Mapping[str, Any]],
    grid: tuple[int, int],
    labels: np.ndarray | None,
    seed: int,
) -> tuple[Pixel, ...]:
    """(image, row, col) of each pixel that `--pixels` names, in cells of `grid`.

    A number draws that many by `seed`; anything else is image:row:col, or a file of such lines. Raises UsageError,
    DataError (a line of a file) or InputMissingError.
    """
    if len(asked) == 1 and asked[0].isdecimal():
        return drawn_pixels(int(asked[0]), len(images), grid, labels, seed)
    names = _names(images)
    found: list[Pixel] = []
    for text in asked:
        if _PLACE.fullmatch(text):
            found.append(_pixel(text, names, len(images), grid, "--pixels "))
        else:
            found += _from_file(Path(text), names, len(images), grid)
    if len(found) > _MOST:
        raise UsageError("bad-pixels", f"--pixels gives {len(found)} pixels", f"Give at most {_MOST}")
    return tuple(dict.fromkeys(found))


def drawn_pixels(
    count: int, images: int, grid: tuple[int, int], labels: np.ndarray | None, seed: int
) -> tuple[Pixel, ...]:
    """`count` distinct pixels drawn by `seed`; with `labels` (images, rows, cols), alternately foreground and background.

    Void cells are never drawn. Raises UsageError where there are too few.
    """
    import numpy as np

    cells = np.arange(images * grid[0] * grid[1])
    kinds = [cells] if labels is None else [cells[labels.reshape(-1) == kind] for kind in (1, 0)]
    wanted = [(count + len(kinds) - 1 - number) // len(kinds) for number in range(len(kinds))]
    if count > _MOST or any(size > len(kind) for size, kind in zip(wanted, kinds, strict=True)):
        most = min(_MOST, len(kinds) * min(len(kind) for kind in kinds))
        raise UsageError("bad-pixels", f"--pixels {count} is too many", f"Give at most {most}")
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(kind)[:size] for size, kind in zip(wanted, kinds, strict=True)]
    ids = [int(drawn[number % len(kinds)][number // len(kinds)]) for number in range(count)]
    places = np.unravel_index(np.array(ids, np.int64), (images, *grid))
    return tuple((int(image), int(row), int(column)) for image, row, column in zip(*places, strict=True))


def in_grid(pixel: Pixel, grid: tuple[int, int], other: tuple[int, int]) -> Pixel:
    """The same position in another grid: the cell that holds the centre of the pixel's own cell."""
    image, row, column = pixel
    return image, int((row + 0.5) * other[0] / grid[0]), int((column + 0.5) * other[1] / grid[1])


def _names(images: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Image numbers by path, file name and file name without extension, where that is unambiguous."""
    found: dict[str, int] = {}
    repeated: set[str] = set()
    for number, image in enumerate(images):
        path = PurePosixPath(same_form(image["path"]))
        for name in {str(path), path.name, path.stem}:
            if found.setdefault(name, number) != number:
                repeated.add(name)
    return {name: number for name, number in found.items() if name not in repeated}


def _pixel(text: str, names: Mapping[str, int], images: int, grid: tuple[int, int], where: str) -> Pixel:
    match = _PLACE.fullmatch(text)
    if not match:
        raise DataError("bad-pixels", f"{where}{text!r} is no image:row:col", "Write for example scene-0003:5:7")
    name, row, column = match[1], int(match[2]), int(match[3])
    image = names.get(same_form(name), int(name) if name.isdecimal() else -1)
    if not 0 <= image < images:
        raise UsageError(
            "bad-pixels", f"{where}{text}: no image is {name!r}", f"Give a file name, or 0 to {images - 1}"
        )
    if row >= grid[0] or column >= grid[1]:
        raise UsageError(
            "bad-pixels",
            f"{where}{text} is outside the grid of {grid[0]} x {grid[1]} cells",
            f"Rows are 0 to {grid[0] - 1}, columns 0 to {grid[1] - 1}",
        )
    return image, row, column


def _from_file(path: Path, names: Mapping[str, int], images: int, grid: tuple[int, int]) -> list[Pixel]:
    if not path.is_file():
        raise InputMissingError(
            "pixels-missing", f"--pixels {path} is no number, no image:row:col and no file", "Give one of these"
        )
    try:
        with disk_errors(path):
            lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError("bad-pixels", f"{path} is no text", "Write one image:row:col a line") from None
    found = [
        _pixel(line.strip(), names, images, grid, f"{path}, line {number}: ")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not found:
        raise DataError("bad-pixels", f"{path} holds no line", "Write one image:row:col a line")
    return found
