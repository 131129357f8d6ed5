"""The commands that made artifacts as a shell script, in which absolute paths are variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from alignedcut_cli.errors import printable
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.project import maker

__all__ = ["shell_script"]

PROJECT = "PROJECT"


def shell_script(frame: Frame, headers: Sequence[Header]) -> str:
    """The command lines that made artifacts, in the order in which they last ran.

    No path of this machine appears: one outside the project is a variable that must be set, and PROJECT is the project's
    folder. Artifacts without a journal entry have a line that says so.
    """
    wanted = {(one.kind, one.name) for one in headers}
    last = {(r["kind"], r["name"]): r for r in frame.journal.records() if (r["kind"], r["name"]) in wanted}
    places = _Places(frame.project.root)
    lines: dict[str, None] = {}
    for record in last.values():
        words = (places.word(word) for word in record["argv"] if word != "--overwrite")
        lines[" ".join(["alignedcut", *words])] = None
    unknown = [
        f"# {one.kind}/{one.name}: made by alignedcut {maker(one.kind)}, elsewhere"
        for one in headers
        if (one.kind, one.name) not in last
    ]
    head = ["#!/bin/sh", "set -e", *places.lines()]
    return "\n".join([*head, *unknown, *lines]) + "\n"


class _Places:
    """The variables in place of absolute paths."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._names: dict[Path, str] = {}

    def word(self, word: str) -> str:
        """A shell-quoted word of a command line, with variables for absolute paths."""
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if not Path(value).is_absolute():
            return shlex.quote(printable(word))
        return f"{option}{equals}{self._path(Path(value))}"

    def _path(self, path: Path) -> str:
        if path.is_relative_to(self._root):
            rest = path.relative_to(self._root)
            self._names[self._root] = PROJECT
            return f'"${PROJECT}"' + (f"/{shlex.quote(printable(str(rest)))}" if rest.parts else "")
        plain = next(one for one in (path, *path.parents) if not set("*?") & set(str(one)))
        if plain != path:  # a pattern: a variable for the folder, in which it is expanded by the command
            return f"{self._path(plain)}/{shlex.quote(printable(str(path.relative_to(plain))))}"
        if path not in self._names:
            stem = re.sub(r"[^A-Z0-9]+", "_", path.name.upper()).strip("_") or "PATH"
            name = stem if stem[0].isalpha() else f"P_{stem}"
            while name in self._names.values() or name == PROJECT:
                name += "_"
            self._names[path] = name
        return f'"${self._names[path]}"'

    def lines(self) -> list[str]:
        """A line for each variable, which stops the script if it is not set."""
        told = {name: re.sub(r"[^\w .-]", "_", path.name) for path, name in self._names.items()}
        told |= {PROJECT: "the project"} if PROJECT in told else {}
        return [f': "${{{name}:?set {name} to the path of {about}}}"' for name, about in told.items()]
