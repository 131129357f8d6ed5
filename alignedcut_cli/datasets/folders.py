"""The files below a folder, without hidden ones and a project's own, following each link once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from alignedcut_cli.datasets.mask_sets import named
from alignedcut_cli.store.files import disk_errors
from alignedcut_cli.store.project import is_project_folder

__all__ = ["Walk", "is_hidden", "walk"]

_COMPANIONS = ("@eaDir", "__MACOSX")


@dataclass(frozen=True)
class Walk:
    """The content of a folder and its subfolders; all paths begin with it, and are sorted by their parts.

    files        files with one of the given suffixes, in any case
    dangling     broken links with such a suffix (git-annex before `get`)
    lost         broken links without any suffix, possibly folders
    passed_over  how many files with such a suffix each hidden path, and each of a project's own, is or holds
    others       how many files have each other suffix, in lower case
    """

    files: list[Path] = field(default_factory=list)
    dangling: list[Path] = field(default_factory=list)
    lost: list[Path] = field(default_factory=list)
    passed_over: Counter[Path] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    def notes(self, things: str) -> list[str]:
        """Notes on what was left out, one line each; `things` names what was searched for, such as images."""
        lines = []
        if count := self.passed_over.total():
            told = named([f"{str(path)!r}" for path in self.passed_over])
            lines.append(f"{things} passed over, hidden or of a project: {count} in {told}")
        if self.lost:
            told = named([f"{str(path)!r}" for path in self.lost])
            lines.append(f"links to nothing, not followed: {told}")
        return lines


def is_hidden(name: str) -> bool:
    """Whether a name is hidden (.git, ._a.png), or one that a NAS or zip program adds."""
    return name.startswith(".") or name in _COMPANIONS


def walk(folder: Path, suffixes: Collection[str]) -> Walk:
    """The files below a folder that have one of the suffixes (lower case, with the dot).

    Hidden names and a project's own folders are not entered, whatever `folder` itself is. Linked folders are followed
    after all others, each real folder once. Raises AlignedcutError for a folder that cannot be read.
    """
    found, entered = Walk(), set()
    folders, links = [folder], []
    while folders or links:
        one = folders.pop() if folders else links.pop(0)
        with disk_errors(one):
            stat = one.stat()
            entries = [] if (stat.st_dev, stat.st_ino) in entered else list(os.scandir(one))
        entered.add((stat.st_dev, stat.st_ino))
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = one / entry.name
            wanted, is_folder = path.suffix.lower() in suffixes, path.is_dir()
            if is_hidden(entry.name) or (is_folder and is_project_folder(path)):
                if count := _count_below(path, suffixes) if is_folder else int(wanted):
                    found.passed_over[path] = count
            elif is_folder:
                (links if entry.is_symlink() else folders).append(path)
            elif entry.is_symlink() and not path.exists():
                if wanted or not path.suffix:
                    (found.dangling if wanted else found.lost).append(path)
            elif wanted:
                found.files.append(path)
            else:
                found.others[path.suffix.lower()] += 1
    for paths in (found.files, found.dangling, found.lost):
        paths.sort(key=lambda path: path.relative_to(folder).parts)
    return found


def _count_below(folder: Path, suffixes: Collection[str]) -> int:
    """How many files below a folder have one of the suffixes; links are not followed."""
    return sum(Path(name).suffix.lower() in suffixes for _, _, names in os.walk(folder) for name in names)
