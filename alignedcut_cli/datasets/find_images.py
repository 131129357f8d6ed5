"""Finding the images that arguments name: files, folders, patterns, and lists on stdin."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from alignedcut_cli.datasets import video
from alignedcut_cli.datasets.folders import walk
from alignedcut_cli.datasets.images import SUFFIXES, UNREAD
from alignedcut_cli.datasets.inside import images_in
from alignedcut_cli.datasets.names import find_in_any_form
from alignedcut_cli.errors import InputMissingError, UsageError
from alignedcut_cli.store.project import is_project_folder

__all__ = ["find_images"]


def find_images(
    arguments: Sequence[str], stdin: Iterable[str], say: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """The image files that arguments name: files as given, folders recursively in sorted order, `-` a list on stdin.

    A pattern that the shell has not expanded, such as `photos/*.jpg` or `photos/**/face-?.png`, names all matches, sorted.
    FILE.hdf5 and FILE.hdf5:RANGE name images inside a file, as FILE.mp4:RANGE:STEP does. Broken links are included, as
    bad images for `read_manifest`. A note counts what is skipped in folders. Raises InputMissingError for a missing path
    or a folder without images, UsageError for none, for a project's own folder, or for one file given twice, and as
    `images_in` does.
    """
    found: list[Path] = []
    for argument in arguments:
        if argument == "-":
            found += [path for line in stdin if line.strip() for path in _listed(line)]
        else:
            named = _matches(argument) or _named(argument)
            found += [path for one in named for path in (_images_below(one, say) if one.is_dir() else [one])]
    if not found:
        raise UsageError("no-images", "no image was given", "Give files, folders, or - and a list on stdin")
    seen: set[Path] = set()
    for path in found:
        if (whole := Path(os.path.abspath(path))) in seen:
            raise UsageError("image-twice", f"{str(path)!r} is given twice", "Give each image once")
        seen.add(whole)
    return found


def _listed(line: str) -> list[Path]:
    """The images that a line names; trailing spaces may be part of the name."""
    name = line.rstrip("\r\n")
    there = find_in_any_form(Path(name)) is not None
    return _named(name if there else name.strip())


def _matches(text: str) -> list[Path]:
    """The matches of a pattern with * or ?, sorted; none for text that is not a pattern, or names an existing file."""
    if not set("*?") & set(text) or "\0" in text or find_in_any_form(Path(text)):
        return []
    return sorted(map(Path, glob.glob(text.replace("[", "[[]"), recursive=True)))  # noqa: PTH207  # absolute ones too


def _named(text: str) -> list[Path]:
    """The path that an argument names, or those of the images that it names inside a file."""
    if (inside := images_in(text)) is not None:
        return inside
    path = find_in_any_form(Path(text))
    if path is None:
        raise InputMissingError("image-missing", f"{text!r} does not exist", "Check the path")
    return [path]


def _images_below(folder: Path, say: Callable[[str], None]) -> list[Path]:
    if is_project_folder(folder):
        raise UsageError(
            "project-folder", f"{str(folder)!r} belongs to an alignedcut project", "Give photographs from elsewhere"
        )
    there = walk(folder, SUFFIXES)
    notes = there.notes("images")
    if unread := {suffix: count for suffix, count in there.others.items() if suffix in UNREAD}:
        told = ", ".join(f"{count} {suffix}" for suffix, count in sorted(unread.items()))
        notes.append(f"images of kinds that are not read: {told}")
    if videos := sum(there.others.get(suffix, 0) for suffix in video.SUFFIXES):
        notes.append(f"videos, which are read where they are named themselves: {videos}")
    found = sorted([*there.files, *there.dangling], key=lambda path: path.relative_to(folder).parts)
    if not found:
        raise InputMissingError(
            "no-images",
            "; ".join([f"{str(folder)!r} holds no image", *notes]),
            f"Give a folder with files of: {' '.join(sorted(SUFFIXES))}",
        )
    for note in notes:
        say(f"{str(folder)!r}: {note}")
    return found
