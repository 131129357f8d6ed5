"""The output of a command: the result on stdout, everything else on stderr."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import printable
from alignedcut_cli.frame.pace import Pace
from alignedcut_cli.store.files import disk_error

__all__ = ["Output", "as_csv", "format_bytes", "table"]

_QUIET_SECONDS = 5.0


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as csv with a header: numbers to six digits, None as an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    return text.getvalue()


def format_bytes(count: float) -> str:
    """A number of bytes in readable units: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, two spaces between them; each row is one printable line."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


@dataclass(frozen=True)
class Output:
    """The output of one run. `quiet` suppresses notes and progress, `verbose` adds details."""

    command: str
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def result(self, text: str, value: dict[str, Any]) -> None:
        """The result, once, on stdout: the text, or with --json the object."""
        try:
            sys.stdout.write((json.dumps(value, sort_keys=True) if self.as_json else text) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise disk_error(error, Path("standard output")) from None

    def note(self, text: str) -> None:
        """A remark on stderr."""
        if not self.quiet:
            sys.stderr.write(f"alignedcut {self.command}: {printable(text)}\n")
            sys.stderr.flush()

    def detail(self, text: str) -> None:
        """A remark that only --verbose shows."""
        if self.verbose:
            self.note(text)

    @contextmanager
    def progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int], None]]:
        """A function that advances the progress: a bar with rate and ETA on a terminal, a line every 5 seconds elsewhere.

        `done` of `total` was done in an earlier run.
        """
        if self.quiet:
            yield lambda _: None
        elif sys.stderr.isatty():
            yield from self._bar(what, total, unit, done)
        else:
            yield self._lines(what, total, unit, done)

    def _bar(self, what: str, total: int, unit: str, done: int) -> Iterator[Callable[[int], None]]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        told = TextColumn("{task.fields[told]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), told)
        pace = Pace(done)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total, completed=done, told="")

            def advance(count: int) -> None:
                pace.count(count)
                bar.update(task, completed=pace.done, told=pace.told(total, unit))

            yield advance

    def _lines(self, what: str, total: int, unit: str, done: int) -> Callable[[int], None]:
        pace = Pace(done)
        spoken = pace.now

        def advance(count: int) -> None:
            nonlocal spoken
            pace.count(count)
            if pace.now - spoken >= _QUIET_SECONDS and pace.done < total:
                spoken = pace.now
                self.note(", ".join(filter(None, [f"{what}: {pace.done}/{total} {unit}", pace.told(total, unit)])))

        return advance
