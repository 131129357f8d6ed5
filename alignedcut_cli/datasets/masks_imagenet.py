"""ImageNet-segmentation (Guillaumin, Kuettel and Ferrari 2014): gtsegs_ijcv.mat, images and foregrounds in one HDF5 file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alignedcut_cli.datasets.mask_sets import MaskSet
from alignedcut_cli.errors import DataError, InputMissingError, UnavailableError
from alignedcut_cli.store.files import disk_errors, make_folder, writing

__all__ = ["open_imagenet", "unpack_imagenet"]

FILE = "gtsegs_ijcv.mat"


def open_imagenet(path: Path) -> MaskSet:
    """The foreground masks (0, 1) of gtsegs_ijcv.mat, by the number of their image: 00000.png, or 0.png, is the first.

    /value/gt (N, 1) refers to cells (1, 1) that refer to masks (W, H) in MATLAB's column-major order. Raises
    UnavailableError without h5py, InputMissingError if the file is missing, DataError for another layout.
    """
    file = _file(path)
    count = _count(file, "value/gt")
    return MaskSet(
        file,
        tuple(str(number) for number in range(count)),
        lambda key: _with(file, lambda opened: _mask(opened, int(key))),
        {0: "background", 1: "foreground"},
        lambda stem: str(int(stem)) if stem.isdecimal() else stem,
    )


def unpack_imagenet(path: Path, folder: Path, advance: Callable[[int], None]) -> int:
    """Write every photograph of gtsegs_ijcv.mat as folder/00000.png and so on, and return their number.

    /value/img (N, 1) refers to arrays (3, W, H) uint8. Existing photographs are kept.
    """
    file = _file(path)
    count = _count(file, "value/img")
    make_folder(folder)
    for number in range(count):
        target = folder / f"{number:05d}.png"
        if not target.is_file():
            pixels = _with(file, lambda opened, number=number: _image(opened, number))
            with writing(target) as temporary:
                Image.fromarray(pixels).save(temporary, format="PNG")
        advance(1)
    return count


def _file(path: Path) -> Path:
    with disk_errors(path):
        found = path / FILE if path.is_dir() else path
        if not found.is_file():
            raise InputMissingError("masks-missing", f"{found} does not exist", f"Give the path of {FILE}")
    return found


def _with(file: Path, read: Callable[[Any], Any]) -> Any:
    """The result of `read` on the open file."""
    try:
        import h5py
    except ImportError:
        raise UnavailableError(
            "no-h5py", "--dataset imagenet-seg needs the package h5py", "Install it: pip install 'alignedcut[hdf5]'"
        ) from None
    try:
        with h5py.File(file, "r") as opened:
            return read(opened)
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            "bad-mask", f"{file} is not laid out as {FILE} ({told})", "Download it again, or read a folder of PNGs"
        ) from None


def _count(file: Path, name: str) -> int:
    """The number of cells of a data set. Raises DataError for more references than the file can hold."""

    def count(opened: Any) -> int:
        cells = opened[name]
        if cells.shape[0] > file.stat().st_size:
            raise ValueError(f"{name} declares {cells.shape[0]} cells")
        return cells.shape[0]

    return _with(file, count)


def _mask(opened: Any, number: int) -> np.ndarray:
    cell = opened[opened["value/gt"][number, 0]]
    stored = np.asarray(opened[cell[0, 0]])
    if stored.ndim != 2:
        raise ValueError(f"mask {number} has {stored.ndim} axes")
    return stored.T.astype(np.int64)


def _image(opened: Any, number: int) -> np.ndarray:
    stored = np.asarray(opened[opened["value/img"][number, 0]])
    if stored.ndim != 3 or stored.shape[0] != 3 or stored.dtype != np.uint8:
        raise ValueError(f"image {number} is {stored.dtype} of shape {stored.shape}")
    return np.ascontiguousarray(stored.transpose(2, 1, 0))
