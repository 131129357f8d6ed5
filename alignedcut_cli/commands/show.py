"""`alignedcut show`: what an artifact holds and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from alignedcut_cli.commands import COMMANDS, module_of
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.export import Offer, export_table, require_free
from alignedcut_cli.frame.output import table
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.stability import stability_table
from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.store.artifact import open_tensors
from alignedcut_cli.store.canonical import short
from alignedcut_cli.store.header import Header

__all__ = ["BEFORE", "EXAMPLES", "NAME", "command", "tables_by_kind", "tables_of"]

NAME = "show"
EXAMPLES = (
    "alignedcut show cut/tiny-clip -p study",
    "alignedcut show features/tiny-clip --history -p study",
    "alignedcut show cut/tiny-clip --export tiny-clip.npz -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip -p study",
    "alignedcut cut --from features/tiny-clip -p study",
)


def command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="KIND/NAME, or a NAME that only one artifact has.", metavar="NAME")],
    history: Annotated[bool, typer.Option("--history", help="The commands that led here, oldest first.")] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Write its table as .npz, .csv or .parquet, for pandas and R."),
    ] = None,
    which: Annotated[
        str | None,
        typer.Option("--table", metavar="NAME", help="export: which one, of several.  [default: the first]"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="export: replace FILE.")] = False,
    project: options.Project = Path(),
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show an artifact's parameters, tensors and provenance, from its header alone; or export its table.

    --export writes a row per node of a cut, color, segment, trace, concepts or pathways: its image, model, layer, tap, row
    and column, with its eigenvectors, colours, classes or concepts; of a score or probe a row per score, of an align a row
    per voxel. --table chooses another table; a wrong name lists them. Tensors are read in chunks, and checked first.
    """
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose)
    header = frame.project.header(*frame.project.parse(name))
    if export is not None:
        _export(frame, header, export, which, overwrite)
        return
    if which is not None or overwrite:
        raise UsageError("option-idle", "--table and --overwrite cannot go without --export", "Leave them out")
    value = {**header.raw, "schema": "alignedcut.show/1"}
    frame.output.result(_history(header) if history else _summary(header), value)


def tables_of(kind: str) -> Mapping[str, Offer]:
    """The tables of a kind of artifact, the main one first; the command that makes them has the same name."""
    return getattr(module_of(kind), "EXPORTS", {}) if kind in COMMANDS else {}


def tables_by_kind() -> dict[str, Mapping[str, Offer]]:
    """The tables of all kinds that have any."""
    return {kind: tables for kind in COMMANDS if (tables := tables_of(kind))}


def _export(frame: Frame, header: Header, path: Path, which: str | None, overwrite: bool) -> None:
    """Write one table of an artifact, after checking its content."""
    reference = f"{header.kind}/{header.name}"
    offers = {name: one for name, one in tables_of(header.kind).items() if one.is_there(header)}
    if not offers:
        told = ", ".join(sorted(tables_by_kind()))
        raise UsageError("no-table", f"{reference} has no table", f"What has tables: {told}")
    chosen = which or next(iter(offers))
    if chosen not in offers:
        raise UsageError("bad-table", f"{reference} has no table {chosen!r}", f"Give one of: {', '.join(offers)}")
    require_free(path, overwrite)
    tensors = open_tensors(frame.project.path(header.kind, header.name))
    try:
        made = offers[chosen].make(header, tensors)
    except (KeyError, ValueError) as error:  # an artifact of another version
        told = f"{reference}, made by alignedcut {header.raw['tool']}, does not hold what the table {chosen} is made of"
        raise DataError("artifact-other", told, "Make it again with this version") from error
    if not made.rows:
        raise UsageError("no-rows", f"the table {chosen} of {reference} is empty", f"Give one of: {', '.join(offers)}")
    columns = list(made.columns)
    with frame.output.progress("writing", made.rows * len(columns), "cells") as advance:
        export_table(made, path, advance)
    value = {"schema": "alignedcut.export/1", "path": str(path), "table": chosen, "rows": made.rows, "columns": columns}
    frame.output.note(f"{reference}: the table {chosen}, {made.rows:,} rows of {len(columns)} columns")
    frame.output.result(str(path), value)


def _summary(header: Header) -> str:
    raw = header.raw
    about = [
        ["artifact", f"{header.kind}/{header.name}"],
        ["made by", f"alignedcut {raw['tool']}, {_pairs(raw['numerics'])}"],
        ["recipe", short(header.recipe)],
        ["content", short(header.content)],
        *[["reads", f"{given.kind}/{given.name} {short(given.content)}"] for given in header.inputs],
        *[[key, short(str(value))] for key, value in raw["external"].items()],
    ]
    params = [[key, _plain(value)] for key, value in header.params.items()]
    tensors = [
        [
            name,
            entry["dtype"].lstrip("<|"),
            " x ".join(map(str, entry["shape"])),
            f"({entry['axes']})",
            entry["meaning"],
        ]
        for name, entry in raw["tensors"].items()
    ]
    axes = [[letter, str(axis["size"]), _axis(axis)] for letter, axis in header.axes.items()]
    parts = [("", about), ("parameters", params), ("axes", axes), ("tensors", tensors)]
    told = [_section(title, table(rows)) for title, rows in parts if rows]
    return "\n".join([*told, *([_section("stability", stability_table(header))] if "stability" in raw else [])])


def _section(title: str, body: str) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in body.splitlines())]) if title else body


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _plain(value: Any) -> str:
    return _pairs(value) if isinstance(value, dict) else str(value)


def _axis(axis: Mapping[str, Any]) -> str:
    if "images" in axis:
        names = [image["path"] for image in axis["images"]]
        return f"images: {names[0]} … {names[-1]}" if len(names) > 1 else f"image: {names[0]}"
    if "slots" in axis:
        slots = axis["slots"]
        return "slots: " + ", ".join(
            f"{model} layers {_layers([s for s in slots if s['model'] == model])}"
            for model in dict.fromkeys(slot["model"] for slot in slots)
        )
    return ", ".join(f"{key} {_plain(value)}" for key, value in axis.items() if key != "size")


def _layers(slots: list[Mapping[str, Any]]) -> str:
    one = len(slots) == 1 and slots[0].get("layers")
    return layer_name({"layers": one or [slot["layer"] for slot in slots]})


def _history(header: Header) -> str:
    lines = []
    for node in header.history:
        lines.append(f"{node['kind']}/{node['name']}  {short(node['recipe'])}")
        lines += [f"  reads {short(recipe)}" for recipe in node["inputs"]]
        lines += [f"  {key}: {short(str(value))}" for key, value in node["external"].items()]
        lines += [f"  {key}: {_plain(value)}" for key, value in node["params"].items()]
    return "\n".join(lines)
