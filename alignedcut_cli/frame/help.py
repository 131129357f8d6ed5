"""The layout of help texts: examples first, then options in groups; coloured on a terminal, plain elsewhere."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["GROUPS", "GroupedApp", "GroupedCommand", "examples_epilog"]

READ, COMPUTE, DRAW, PROJECT = "What to read", "How to compute", "What to draw and write", "The project"
GROUPS: dict[str, tuple[str, ...]] = {
    READ: (
        "--align", "--background", "--brain", "--brain-images", "--captions", "--captions-per-image",
        "--class-map", "--classes", "--dataset", "--exact", "--filter", "--from", "--ignore", "--instances", "--labels",
        "--layer", "--layers", "--mask-suffix", "--masks", "--min-snr", "--model", "--modules", "--names",
        "--on-bad-image", "--on-extra-mask", "--onto", "--other-weights", "--pixel", "--pixels", "--pool", "--queries",
        "--roi", "--split", "--subject", "--tap", "--unpack", "--verify", "--weights", "--where",
    ),
    COMPUTE: (),
    DRAW: (
        "--budget", "--columns", "--examples", "--export", "--history", "--images", "--open", "--overlay", "--pictures",
        "--predicted", "--shown", "--table", "--title", "--upscale",
    ),
    PROJECT: (
        "--dry-run", "--fresh", "--help", "--json", "--name", "--overwrite", "--project", "--quiet", "--verbose",
    ),
}  # fmt: skip
"""The groups of options in order, each option by its long name; one that stands in none says how to compute."""
_ARGUMENTS = {"what": COMPUTE, "folder": PROJECT}
"""Arguments that are not inputs."""
_KIND = re.compile(r" <([a-z[\] ]+)>$")
_KINDS = {
    "str": " TEXT",
    "list[str]": " TEXT",
    "int": " N",
    "int range": " N",
    "float": " X",
    "float range": " X",
    "path": " PATH",
}
"""Plain words for the value types of options without a metavar."""


def group_of(parameter: Any) -> str:
    """The group in which help shows an option or an argument."""
    if parameter.param_type_name == "argument":
        return _ARGUMENTS.get(parameter.name, READ)
    named = (title for title, names in GROUPS.items() if set(names) & set(parameter.opts))
    return next(named, COMPUTE)


def _plain(parameter: Any, name: str) -> str:
    """The name of an option or argument as help shows it, without a programmer's words for its type."""
    kinds = _KINDS if parameter.param_type_name == "option" else {}
    return _KIND.sub(lambda kind: kinds.get(kind[1], ""), name)


class GroupedCommand(TyperCommand):
    """A command whose help shows usage, what it does, examples (its epilog), the details, and options in groups."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.format_usage(ctx, formatter)
        first, _, rest = (self.help or "").strip().partition("\n\n")
        _write_text(formatter, first)
        _write_examples(formatter, self.epilog)
        _write_text(formatter, rest)
        records = {title: [] for title in GROUPS}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                records[group_of(parameter)].append((_plain(parameter, record[0]), record[1]))
        _write_lists(formatter, records)


class GroupedApp(TyperGroup):
    """An app whose help shows examples (its epilog) and what is `listed`: the commands in groups, in a line each."""

    listed: Mapping[str, Mapping[str, str]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.format_usage(ctx, formatter)
        _write_text(formatter, self.help or "")
        _write_examples(formatter, self.epilog)
        _write_lists(formatter, {title: list(commands.items()) for title, commands in self.listed.items()})
        options = (one.get_help_record(ctx) for one in self.get_params(ctx))
        _write_lists(formatter, {"Options": [record for record in options if record]})


def _write_text(formatter: Any, text: str) -> None:
    if text:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)


def examples_epilog(examples: Sequence[str], before: Sequence[str] = ()) -> str:
    """Examples as a command's epilog, after the command lines that make their inputs, where these are not obvious."""
    return "\n\n".join("\n".join(lines) for lines in (examples, before) if lines)


def _write_examples(formatter: Any, epilog: str | None) -> None:
    """Examples without line breaks, so that they can be copied."""
    for title, lines in zip(("Examples", "Before these, once"), (epilog or "").split("\n\n"), strict=False):
        if lines:
            _write_heading(formatter, title)
            formatter.write("".join(f"  {_styled(line, _EXAMPLE)}\n" for line in lines.splitlines()))


def _write_lists(formatter: Any, records: dict[str, list[tuple[str, str]]]) -> None:
    """Titled lists of (name, what it is), with one left column for all."""
    width = min(max(map(len, _names(records.values())), default=0), _WIDEST)
    for title, rows in records.items():
        if rows:
            _write_heading(formatter, title)
            with formatter.indentation():
                formatter.write_dl([(_styled(name.ljust(width), _NAME), what) for name, what in rows], _WIDEST)


def _names(lists: Iterable[Sequence[tuple[str, str]]]) -> list[str]:
    return [name for rows in lists for name, _ in rows]


_WIDEST = 30
_HEADING, _NAME, _EXAMPLE = "1", "36", "32"
"""Bold, cyan and green, as codes of a terminal."""


def _write_heading(formatter: Any, title: str) -> None:
    formatter.write_paragraph()
    formatter.write(f"{_styled(f'{title}:', _HEADING)}\n")


def _styled(text: str, code: str) -> str:
    """The text in a style on a terminal; plain if either stream is redirected, or with NO_COLOR or TERM=dumb."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    on_terminal = all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))
    return text if plain or not on_terminal else f"\x1b[{code}m{text}\x1b[0m"
