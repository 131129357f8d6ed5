"""The options of `alignedcut report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from alignedcut_cli.frame import options

__all__ = ["Asked"]


@dataclass(frozen=True, kw_only=True)
class Asked(options.Asked):
    """The options as given on the command line."""

    source: Annotated[
        tuple[str, ...],
        typer.Option(
            "--from",
            metavar="KIND/NAME",
            help="Show this artifact and those it was made of (repeat).  [default: all of the project]",
        ),
    ] = ()
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="The page's title.  [default: names the models]")
    ] = None
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            metavar="N|LIST",
            help="How many photographs to show, or which: 0,4,7 or a.jpg,b.jpg.  [default: as many as fit]",
        ),
    ] = None
    budget: Annotated[str, typer.Option("--budget", metavar="SIZE", help="The most that the page may weigh.")] = "15MB"
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The page's name.")] = "report"
    seed: options.Seed = 0
