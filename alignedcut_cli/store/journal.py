"""The journal of a project on this machine: which command lines ran, and where. Not part of any artifact."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from alignedcut_cli.store.files import disk_errors, make_folder
from alignedcut_cli.store.project import MACHINE, Project, maker

__all__ = ["Journal"]


def _is_record(value: Any) -> bool:
    """Whether a line has the form that `note` writes: strings, and a list of them as `argv`."""
    if not isinstance(value, dict) or not value.keys() >= {"event", "kind", "name", "argv", "cwd"}:
        return False
    words = value["argv"] if isinstance(value["argv"], list) else [None]
    return all(isinstance(one, str) for one in (*words, *(one for key, one in value.items() if key != "argv")))


@dataclass(frozen=True)
class Journal:
    """`.alignedcut/journal.jsonl`: one JSON object per line, appended."""

    project: Project

    @property
    def path(self) -> Path:
        return self.project.root / MACHINE / "journal.jsonl"

    def note(self, event: str, kind: str, name: str, argv: Sequence[str], **more: Any) -> None:
        """Append one event (`start`, `done`) of the command line that makes an artifact."""
        record = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "event": event,
            "kind": kind,
            "name": name,
            "argv": list(argv),
            "cwd": str(Path.cwd()),
            **more,
        }
        make_folder(self.path.parent)
        with disk_errors(self.path), self.path.open("ab+") as stream:
            stream.write(self._line_end(stream) + json.dumps(record).encode("ascii") + b"\n")

    def _line_end(self, stream: BinaryIO) -> bytes:
        """A line end if a crash truncated the last line, so that the next event does not join it."""
        if stream.seek(0, os.SEEK_END) == 0:
            return b""
        stream.seek(-1, os.SEEK_END)
        return b"" if stream.read(1) == b"\n" else b"\n"

    def records(self) -> list[dict[str, Any]]:
        """All events, oldest first; malformed lines (truncated by a crash) are left out."""
        if not self.path.is_file():
            return []
        with disk_errors(self.path):
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = []
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if _is_record(record):
                found.append(record)
        return found

    def last(self, kind: str, name: str) -> dict[str, Any] | None:
        """The latest event of an artifact."""
        matching = [r for r in self.records() if r.get("kind") == kind and r.get("name") == name]
        return matching[-1] if matching else None

    def image_roots(self, manifests: Collection[str]) -> list[Path]:
        """The folders from which the images of these manifests were read, each once, latest first."""
        told = (r["image_root"] for r in self.records() if r.get("manifest") in manifests and "image_root" in r)
        return [Path(root) for root in dict.fromkeys(reversed(list(told)))]

    def command(self, kind: str, name: str, *, overwrite: bool) -> str:
        """The shell command that makes an artifact (again)."""
        last = self.last(kind, name)
        argv = list(last["argv"]) if last else [maker(kind), "--name", name]
        if overwrite and "--overwrite" not in argv:
            argv.insert(1, "--overwrite")
        line = shlex.join(["alignedcut", *argv])
        if last and last["cwd"] != str(Path.cwd()):
            return f"cd {shlex.quote(last['cwd'])} && {line}"
        return line
