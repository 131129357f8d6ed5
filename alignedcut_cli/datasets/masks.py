"""Masks of class ids from PNG files."""

from __future__ import annotations

import reprlib
from pathlib import Path, PurePosixPath
from typing import TypeGuard

import numpy as np
from PIL import Image, ImageOps

from alignedcut_cli.errors import DataError, first_line

__all__ = ["MOST_PIXELS", "inside", "is_text", "read_mask", "read_png"]

MOST_PIXELS = 1 << 26
_LONGEST_NAME = 255
_STORED = ("1", "L", "L;2", "L;4", "I;16B", "P", "P;1", "P;2", "P;4", "LA", "RGB", "RGBA")
# Pillow scales 2 and 4 bits of grey to 0..255.
_SCALES = {"L;2": 85, "L;4": 17}


def read_mask(path: Path) -> np.ndarray:
    """The class ids (H, W) int64 of a PNG: grey, palette (its indices), or colours whose channels are equal.

    Its orientation tag is applied, as for photographs. Raises DataError for other colours, transparent pixels, or an
    unreadable file.
    """
    values, mode = read_png(path)
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise _no_ids(path, mode, values.shape[1::-1])
        values = values[..., 0]
    return values.astype(np.int64)


def read_png(path: Path) -> tuple[np.ndarray, str]:
    """(the values of a PNG, upright; its mode): (H, W) for grey and palette, (H, W, channels without alpha) for others.

    Raises DataError for 16-bit colours, which Pillow would truncate to 8, transparent pixels, or an unreadable file.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError("bad-mask", f"{path} is no regular file", "Save it again as PNG")
        with Image.open(path, formats=["PNG"]) as image:
            stored = str(image.tile[0][3])
            if image.width * image.height > MOST_PIXELS or stored not in _STORED:
                raise _no_ids(path, stored, image.size)
            image.load()
            turned = image.getexif().get(0x0112, 1) != 1
            values = np.array(ImageOps.exif_transpose(image) if turned else image)
    except DataError:
        raise
    except Exception as error:
        raise DataError("bad-mask", f"{path} cannot be read ({first_line(error)})", "Save it again as PNG") from None
    if stored in ("LA", "RGBA"):
        if (values[..., -1] != 255).any():
            raise DataError(
                "bad-mask",
                f"{path} has transparent pixels (alpha below 255)",
                "Save class ids without an alpha channel",
            )
        values = values[..., :-1]
    return values // _SCALES[stored] if stored in _SCALES else values, stored


def _no_ids(path: Path, mode: str, size: tuple[int, ...]) -> DataError:
    return DataError("bad-mask", f"{path} has mode {mode}, {size}", "Save class ids as a grey or palette PNG")


def inside(folder: Path, name: object, what: str) -> Path:
    """The path below `folder` that a list or a JSON file names. Raises DataError for one that could leave the folder.

    `what` names the entry, for the message.
    """
    path = PurePosixPath(name) if is_text(name) else PurePosixPath()
    leaves = path.is_absolute() or ".." in path.parts or "\\" in str(path)
    if leaves or not path.parts or any(len(part.encode()) > _LONGEST_NAME for part in path.parts):
        raise DataError("bad-path", f"{what} names {reprlib.repr(name)}, no file below {folder}", "Correct the entry")
    return folder / path


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that can be printed and stored: no control characters, no lone surrogates."""
    return isinstance(value, str) and not any(one < " " or "\ud800" <= one <= "\udfff" for one in value)
