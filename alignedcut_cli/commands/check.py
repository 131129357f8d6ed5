"""`alignedcut check`: is every artifact of a project intact?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alignedcut_cli.errors import printable
from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import table
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.check import check_project, sweep

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "check"
EXAMPLES = ("alignedcut check -p study --deep", "alignedcut check -p study --fix --exit-code")


def command(
    ctx: typer.Context,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every tensor: content hashes, unexpected NaN, infinity.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Remove what killed runs left behind; resumable work stays.")
    ] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 if anything is wrong.")] = False,
    project: options.Project = Path(),
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Check headers, shapes across artifacts, and leftovers of killed runs; with --deep every byte."""
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose)
    frame.project.require_project()
    swept = [str(path.relative_to(frame.project.root)) for path in sweep(frame.project)] if fix else []
    for path in swept:
        frame.output.note(f"removed {path}")
    findings = list(check_project(frame.project, deep=deep))
    rows = [[found.where, found.code, found.message] for found in findings]
    lines = [table(rows), "", "To mend this:", *dict.fromkeys(f"  {printable(found.repair)}" for found in findings)]
    value = {"schema": "alignedcut.check/1", "findings": [vars(found) for found in findings], "removed": swept}
    frame.output.result("\n".join(lines) if rows else "everything is whole", value)
    if exit_code and findings:
        raise typer.Exit(1)
