"""The Typer app, and the one wrapper that turns exceptions into messages and exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from alignedcut_cli import __version__
from alignedcut_cli.commands import COMMANDS, GROUPS, module_of
from alignedcut_cli.errors import AlignedcutError, OutOfMemoryError, Stopped, UsageError
from alignedcut_cli.frame.freed_memory import keep_freed_memory
from alignedcut_cli.frame.help import GroupedApp, examples_epilog
from alignedcut_cli.frame.options import ConfiguredCommand
from alignedcut_cli.frame.quiet import quiet_libraries
from alignedcut_cli.frame.rare_collection import rare_collection

__all__ = ["app", "failure_of", "main", "stop"]

EXAMPLES = (
    "alignedcut demo",
    "alignedcut look photos/ --model dino --model clip -p study",
    "alignedcut COMMAND --help",
)


class _Commands(Mapping[str, Any]):
    """The commands by name, each loaded and made when it is asked for: the help does without 0.2 s of imports."""

    def __init__(self, more: Mapping[str, Any]) -> None:
        self.more = more

    def __getitem__(self, name: str) -> Any:
        if name in self.more:
            return self.more[name]
        if name not in COMMANDS:
            raise KeyError(name)
        module = module_of(name)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)
        epilog = examples_epilog(module.EXAMPLES, getattr(module, "BEFORE", ()))
        make = alone.command(name=name, cls=ConfiguredCommand, short_help=COMMANDS[name], epilog=epilog)
        make(module.command)
        return typer.main.get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter((*COMMANDS, *self.more))

    def __len__(self) -> int:
        return len(COMMANDS) + len(self.more)


class _App(GroupedApp):
    """The app, with the commands in groups."""

    listed = GROUPS

    def __init__(self, *, commands: Mapping[str, Any] | None = None, **told: Any) -> None:
        super().__init__(commands=_Commands(commands or {}), **told)  # type: ignore[arg-type]  # nothing is put into it


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
app = typer.Typer(
    name="alignedcut",
    cls=_App,
    epilog=examples_epilog(EXAMPLES),
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", is_eager=True, callback=_print_version, help="Print the version."),
) -> None:
    """See what vision transformers see: extract -> align -> cut -> color -> segment -> trace.

    One project directory, one command per step.
    """


def stop(number: int, _: FrameType | None) -> None:
    """Handle a signal by raising Stopped."""
    raise Stopped(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; every failure is one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    keep_freed_memory()
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with quiet_libraries(), rare_collection():
            return _run(arguments)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _prepare_streams() -> None:
    """Make stdout and stderr accept any text: closed ones (`>&-`, None) discard it, others escape unencodable characters."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # open to the end
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    try:
        status = app(arguments, prog_name="alignedcut", standalone_mode=False, obj=tuple(arguments))
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # how the command-line parser exits on a broken pipe
            return _reader_gone()
        raise
    except Stopped as stopped:
        name = signal.Signals(stopped.signal_number).name
        _tell(arguments, AlignedcutError("stopped", f"stopped by {name}", stopped.remedy), stopped.exit_status)
        return stopped.exit_status
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(error.format_message() + "\n")  # type: ignore[attr-defined]
            return 2
        failure = failure_of(error)
        return _tell(arguments, failure, failure.exit_status)


def _reader_gone() -> int:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def failure_of(error: Exception) -> AlignedcutError:
    """The failure that an exception is, or stands for if it is a library's; anything else is a bug (exit 70)."""
    if isinstance(error, AlignedcutError):
        return error
    if hasattr(error, "format_message"):  # the command-line parser's own errors
        told = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
        return UsageError("usage", told, "See --help")
    if _is_out_of_memory(error):
        return OutOfMemoryError(
            "out-of-memory", (str(error).splitlines() or ["no memory left"])[0], "Give less to do at once"
        )
    if isinstance(error, OSError):
        from alignedcut_cli.store.files import disk_error

        return disk_error(error, Path(str(error.filename or "?")))
    return AlignedcutError(
        "bug",
        " ".join(f"{type(error).__name__}: {error}".split()),
        "This is a bug: run it again with --verbose and report what it prints",
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an exception means that memory ran out, in Python or torch (which is already loaded if it raised)."""
    if isinstance(error, RuntimeError) and "torch" in sys.modules:
        from alignedcut_cli.core.numerics import is_out_of_memory

        return is_out_of_memory(error)
    return isinstance(error, MemoryError)


def _tell(arguments: list[str], error: AlignedcutError, exit_status: int) -> int:
    """One line, or with --json one object, on stderr; with --verbose the traceback before it."""
    if {"-v", "--verbose"} & set(arguments):
        traceback.print_exc()
    name = next((word for word in arguments if not word.startswith("-")), "")
    if "--json" in arguments:
        told: dict[str, Any] = {**error.as_object(), "exit": exit_status, "command": name}
        line = json.dumps(told, sort_keys=True)
    else:
        message = " ".join(error.message.split())
        line = (
            f"alignedcut{' ' + name if name else ''}: {message}. {error.remedy}.   [{error.code}, exit {exit_status}]"
        )
    sys.stderr.write(line + "\n")
    return exit_status
