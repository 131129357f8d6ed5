"""Command lines run in sequence in this process, each printed before it runs."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import AlignedcutError
from alignedcut_cli.frame.run import Frame

__all__ = ["Step", "run_chain", "run_line", "typed"]


@dataclass(frozen=True)
class Step:
    """One command line that ran: as typed in a shell, its result on stdout, and the seconds it took."""

    command: str
    out: str
    seconds: float

    def as_object(self) -> dict[str, Any]:
        return {"command": self.command, "seconds": self.seconds}


def typed(argv: Sequence[str]) -> str:
    """A command line as one would type it in a shell."""
    return shlex.join(["alignedcut", *argv])


def run_chain(frame: Frame, lines: Sequence[Sequence[str]]) -> list[Step]:
    """Run command lines through the app of `frame`, in order; the first error is raised and ends the chain."""
    steps = []
    for argv in lines:
        frame.output.note(f"$ {typed(argv)}")
        began = time.monotonic()
        out = run_line(frame.app, argv, quiet=frame.output.quiet)
        steps.append(Step(typed(argv), out, round(time.monotonic() - began, 1)))
    return steps


def run_line(app: Any, argv: Sequence[str], *, quiet: bool) -> str:
    """The stdout of one command line, which is shown on stderr unless `quiet`."""
    told = io.StringIO()
    try:
        with contextlib.ExitStack() as streams:
            streams.enter_context(contextlib.redirect_stdout(told))
            if quiet:
                nowhere = streams.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
                streams.enter_context(contextlib.redirect_stderr(nowhere))
            status = app(list(argv), prog_name="alignedcut", standalone_mode=False, obj=tuple(argv))
    finally:
        if not quiet:
            sys.stderr.write(told.getvalue())
    if isinstance(status, int) and status:
        raise AlignedcutError("step-failed", f"{typed(argv)} ended with {status}", "Run that command alone")
    return told.getvalue()
