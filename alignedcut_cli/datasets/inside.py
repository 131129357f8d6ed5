"""Images that lie inside one file, an HDF5 file or a video, which is read as a folder of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alignedcut_cli.datasets import hdf5, video

__all__ = ["file_of", "images_in", "read_pixels"]


def images_in(argument: str) -> list[Path] | None:
    """The paths of the images inside the file that an argument names, such as FILE.hdf5:0-9; None if it names no such file.

    Raises as `hdf5.paths_in` and `video.paths_in` do.
    """
    for kind in (hdf5, video):
        if inside := kind.split_range(argument):
            return kind.paths_in(*inside)
    return None


def file_of(path: Path) -> Path:
    """The file that holds an image: the path itself, or the file that it points into."""
    return path.parents[1] if video.is_frame(path) and path.parents[1].is_file() else hdf5.file_of(path)


def read_pixels(path: Path) -> np.ndarray:
    """An image inside a file: uint8 (H, W, 3). Raises as `images_in` does."""
    return video.read_pixels(path) if video.is_frame(path) else hdf5.read_pixels(path)
