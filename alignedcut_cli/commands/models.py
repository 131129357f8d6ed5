"""`alignedcut models`: what can be extracted."""

from __future__ import annotations

from typing import Annotated

import typer

from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import Output, table

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "models"
EXAMPLES = (
    "alignedcut models --filter tiny-",
    "alignedcut models --where architecture=^convnext --where data=ImageNet-22k --columns name,input,taps",
    "alignedcut models --where source=torchvision --where name=vgg --columns name,parameters,taps",
)
_SHOWN = ("name", "tag", "data", "input", "parameters", "taps")


def command(
    text: Annotated[str, typer.Option("--filter", help="Only models with this text in a column.", metavar="TEXT")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="COLUMN=REGEX",
            help="Only models whose column matches: name, source, architecture, tag, data, input, parameters, taps or "
            "about. May be repeated.",
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Let --where match whole values, not parts of them.")] = False,
    columns: Annotated[
        str, typer.Option("--columns", metavar="LIST", help="Which columns to print, between commas.")
    ] = ",".join(_SHOWN),
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """List the models that extract knows: short names, shipped ones, timm's, open_clip's and torchvision's.

    Text is compared in any case. Exits with 1 if no model matches, and says which values are nearest. Parameters are
    counted where no more than 30 models are left.
    """
    from alignedcut_cli.backbones.zoo import COLUMNS, COUNTED, count_parameters, list_models, nearest, select

    chosen = [column.strip() for column in columns.split(",") if column.strip()]
    if unknown := [column for column in chosen if column not in COLUMNS] or (not chosen and ["nothing"]):
        told = f"--columns {columns!r}: there is no column {unknown[0]}"
        raise UsageError("bad-columns", told, f"Give some of {','.join(COLUMNS)}")
    output = Output(NAME, json, verbose=verbose)
    asked = where or []
    everything = list_models()
    searched = [one for one in asked if one.startswith("parameters=")]
    rows = select(everything, text, [one for one in asked if one not in searched], exact=exact)
    if len(rows) <= COUNTED and (searched or json or "parameters" in chosen):
        rows = select([{**row, "parameters": count_parameters(row)} for row in rows], "", searched, exact=exact)
    elif searched:
        told = f"parameters are counted for at most {COUNTED} models, and {len(rows)} are left"
        raise UsageError("too-many-models", told, "Narrow them down with another --where")
    if not rows:
        near = nearest(everything, asked)
        told = [f"--where {one}" for one in asked] + ([f"--filter {text}"] if text else [])
        output.note(f"no model matches {' '.join(told)}")
        for column, values in near.items():
            output.note(f"{column} has for example: {', '.join(values)}")
        if json:
            output.result("", {"schema": "alignedcut.models/1", "models": [], "nearest": near})
        raise typer.Exit(1)
    head = [chosen] if rows else []
    output.result(
        table([*head, *([row[column] for column in chosen] for row in rows)]),
        {"schema": "alignedcut.models/1", "models": rows},
    )
