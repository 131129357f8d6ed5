"""Matching of masks to images by their names and folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from alignedcut_cli.datasets.names import same_form
from alignedcut_cli.errors import DataError

__all__ = ["match_masks"]

Parts = tuple[str, ...]


def match_masks(
    place: Path, keys: Sequence[str], images: Sequence[str], key_of: Callable[[str], str]
) -> list[str | None]:
    """The key of each image's mask, None where there is none: names are compared in Unicode NFC and without extension.

    Images are identified by their paths below their common folder, masks by theirs below `place`, so either may lack
    leading folders of the other. An image takes the mask whose path equals its own or is the longest suffix of it;
    else the only one whose path ends in its own; else the only one with its file name. The last two apply if no mask of
    that name is at another image's own path, the last if no other image has the name. Raises DataError if several
    masks match an image, or if two images would share one.
    """
    by_path = {_parts(key): key for key in keys}
    paths = [_parts(PurePosixPath(image).with_suffix("").as_posix(), key_of) for image in images]
    own = by_path.keys() & set(paths)
    masks_called, images_called = _by_name(by_path), _by_name(paths)
    found: list[str | None] = []
    owners: dict[str, str] = {}
    for image, path in zip(images, paths, strict=True):
        called = masks_called.get(path[-1], [])
        others = [] if own.intersection(called) else called
        alone = len(images_called[path[-1]]) == 1
        could = (
            sorted((mask for mask in called if _ends(path, mask)), key=len)[-1:]
            or [mask for mask in others if _ends(mask, path)]
            or (others if alone else [])
        )
        if len(could) > 1:
            raise DataError(
                "mask-ambiguous",
                f"{by_path[could[0]]} and {by_path[could[1]]} of {place} could both be the mask of {image}",
                "Give the folder that holds the masks of these images alone",
            )
        key = by_path[could[0]] if could else None
        if key is not None and owners.setdefault(key, image) != image:
            raise DataError(
                "mask-shared",
                f"{owners[key]} and {image} would share the mask {key} of {place}",
                "Put masks into folders like those of the images",
            )
        found.append(key)
    return found


def _parts(path: str, key_of: Callable[[str], str] = str) -> Parts:
    """The folders of a path and its name."""
    *folders, name = same_form(path).split("/")
    return (*folders, key_of(name))


def _by_name(paths: Iterable[Parts]) -> dict[str, list[Parts]]:
    found: dict[str, list[Parts]] = {}
    for path in paths:
        found.setdefault(path[-1], []).append(path)
    return found


def _ends(path: Parts, end: Parts) -> bool:
    """Whether a path ends in another one."""
    return path[-len(end) :] == end
