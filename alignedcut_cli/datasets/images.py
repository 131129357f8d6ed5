"""Images, checked and decoded the same way everywhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from alignedcut_cli.datasets.hdf5 import MOST_PIXELS
from alignedcut_cli.datasets.inside import file_of, read_pixels
from alignedcut_cli.errors import DataError, first_line
from alignedcut_cli.store.canonical import digest, file_digest

__all__ = ["SUFFIXES", "UNREAD", "BadImage", "ImageEntry", "Manifest", "decode", "image_digest", "read_manifest"]

_AVIF = ("AVIF",) if find_spec("PIL._avif") else ()
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "PPM", *_AVIF)
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".j2k", ".jpx",
    ".ppm", ".pgm", ".pbm", ".pnm", *(f".{kind.lower()}" for kind in _AVIF),
})  # fmt: skip
UNREAD = frozenset({
    ".avif", ".avifs", ".heic", ".heif", ".hif", ".jxl", ".jxr", ".psd", ".xcf", ".svg", ".eps", ".ico", ".tga", ".exr",
    ".hdr", ".dds", ".qoi", ".pcx", ".fits", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".raw",
}) - SUFFIXES  # fmt: skip


@dataclass(frozen=True)
class ImageEntry:
    """One image of a manifest: its path below the root, the hash and number of its bytes, and its upright size in pixels."""

    path: str
    sha256: str
    bytes: int
    width: int
    height: int

    def as_object(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class BadImage:
    """A file that cannot be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Manifest:
    """Images in order. `root` is their folder on this machine, and not part of the identity."""

    root: Path
    images: tuple[ImageEntry, ...]

    @property
    def identity(self) -> str:
        """sha256 over paths and contents, in order."""
        return digest([[image.path, image.sha256] for image in self.images])

    def paths(self) -> list[Path]:
        return [self.root / image.path for image in self.images]


def read_manifest(
    paths: Sequence[Path],
    known: Callable[[Path], ImageEntry | None],
    workers: int,
    advance: Callable[[int], None],
) -> tuple[Manifest, list[BadImage]]:
    """Check every file by decoding it: the manifest of the good ones, and the list of the bad ones.

    `known` may give the entry of a file that was checked before and has not changed since.
    """
    root = _common_root(paths)

    def check(path: Path) -> ImageEntry | BadImage:
        entry = known(path) or _inspect(path)
        advance(1)
        if isinstance(entry, BadImage):
            return entry
        relative = Path(os.path.abspath(path)).relative_to(root).as_posix()
        return ImageEntry(relative, entry.sha256, entry.bytes, entry.width, entry.height)

    with ThreadPoolExecutor(workers) as pool:
        checked = list(pool.map(check, paths))
    good = tuple(entry for entry in checked if isinstance(entry, ImageEntry))
    return Manifest(root, good), [entry for entry in checked if isinstance(entry, BadImage)]


def _common_root(paths: Sequence[Path]) -> Path:
    parents = [os.path.dirname(os.path.abspath(file_of(path))) for path in paths]
    return Path(os.path.commonpath(parents))


def _inspect(path: Path) -> ImageEntry | BadImage:
    if file_of(path) != path:
        return _inspect_inside(path)
    if not path.is_file():
        return BadImage(path, "is a link to nothing" if path.is_symlink() else "is no regular file")
    try:
        with _open(path) as image:
            size = image.size
            image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            _to_rgb(image.crop((0, 0, 1, 1)))
            width, height = _upright_size(image, size)
        return ImageEntry("", file_digest(path), path.stat().st_size, width, height)
    except UnidentifiedImageError:
        kind = path.suffix.lower()
        return BadImage(path, f"is of a kind that is not read ({kind})" if kind in UNREAD else "is no image")
    except Exception as error:
        return BadImage(path, _reason(error))


def _inspect_inside(path: Path) -> ImageEntry | BadImage:
    try:
        pixels = read_pixels(path)
    except DataError as error:
        return BadImage(path, f"cannot be read: {error.message}")
    height, width = pixels.shape[:2]
    return ImageEntry("", hashlib.sha256(pixels.data).hexdigest(), pixels.nbytes, width, height)


def image_digest(path: Path) -> str | None:
    """The sha256 of an image as in manifests: of its file, or of its pixels in an HDF5 file; None if it does not exist."""
    if file_of(path) != path:
        return hashlib.sha256(read_pixels(path).data).hexdigest()
    return file_digest(path) if path.is_file() else None


def _upright_size(loaded: Image.Image, opened: tuple[int, int]) -> tuple[int, int]:
    """The upright size of an image that had the size `opened`; a TIFF is upright (and unmarked) once it is loaded."""
    width, height = loaded.size if loaded.format == "TIFF" else opened
    turned = loaded.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | _TooLargeError):
        return f"has more than {MOST_PIXELS} pixels (a decompression bomb?)"
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return "is cut off"
    return f"cannot be decoded: {first_line(error)}"


class _TooLargeError(ValueError):
    pass


def _open(path: Path) -> Image.Image:
    image = Image.open(path, formats=_FORMATS)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise _TooLargeError
    return image


def decode(path: Path, near: int | None = None) -> Image.Image:
    """The image, upright and in 8-bit RGB.

    EXIF orientation is applied; grey, palette, CMYK, 16-bit and float images are converted by value (16-bit to 8-bit
    by its high byte, float by its own range), and transparent pixels are composited on white. With `near`, a JPEG may
    be decoded at a reduced scale with sides of at least 2 * near pixels, which is faster.
    """
    if file_of(path) != path:
        return Image.fromarray(read_pixels(path))
    with _open(path) as image:
        if near:
            image.draft("RGB", (2 * near, 2 * near))
        image.load()
        turned = image.getexif().get(0x0112, 1) != 1
        return _to_rgb(ImageOps.exif_transpose(image) if turned else image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _from_deep(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        scaled = (values - low) / max(high - low, 1e-12) * 255
    else:
        sixteen = image.mode.startswith("I;16") or values.max() > 255
        scaled = values / (257.0 if sixteen else 1.0)
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8)).convert("RGB")
