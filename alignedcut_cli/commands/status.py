"""`alignedcut status`: the state of each artifact, and the command that repairs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alignedcut_cli.errors import printable
from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import table
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.canonical import short
from alignedcut_cli.store.status import project_states

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "status"
EXAMPLES = ("alignedcut status -p study", "alignedcut status -p study --exit-code --json")


def command(
    ctx: typer.Context,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 unless everything is fresh.")] = False,
    project: options.Project = Path(),
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say of every artifact whether it is fresh, stale, partial, corrupt or missing, why, and how to repair it.

    Only headers are read: alignedcut check --deep reads every byte.
    """
    frame = Frame.open(ctx, project, json=json, verbose=verbose)
    states = project_states(frame.project)
    rows = [[state.reference, state.state, short(state.content), state.reason] for state in states]
    lines = [table(rows)] if rows else ["no artifacts yet: begin with alignedcut extract"]
    repairs = [f"  {printable(state.repair)}" for state in states if state.repair]
    if repairs:
        lines += ["", "To mend this, in this order:", *dict.fromkeys(repairs)]
    value = {
        "schema": "alignedcut.status/1",
        "artifacts": [
            {
                "kind": state.kind,
                "name": state.name,
                "state": state.state,
                "reason": state.reason,
                "repair": state.repair,
                "recipe": state.recipe,
                "content": state.content,
            }
            for state in states
        ],
    }
    frame.output.result("\n".join(lines), value)
    if exit_code and any(state.state != "fresh" for state in states):
        raise typer.Exit(1)
