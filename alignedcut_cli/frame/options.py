"""The options that all commands share, and the collection of a command's options in one dataclass."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from alignedcut_cli.frame.cluster_open import begin_loading_workers, require_cluster
from alignedcut_cli.frame.config import (
    PROJECT_VARIABLE,
    SHARED_OPTIONS,
    option_defaults,
    project_argument,
    require_folder,
)
from alignedcut_cli.frame.help import GroupedCommand
from alignedcut_cli.frame.run import Frame

__all__ = [
    "Asked",
    "ClassNames",
    "Cluster",
    "ConfiguredCommand",
    "Device",
    "DryRun",
    "Ignore",
    "Images",
    "Instances",
    "Json",
    "MaskDataset",
    "MaskSuffix",
    "Masks",
    "Memory",
    "OnExtraMask",
    "Overwrite",
    "Pictures",
    "Project",
    "Quiet",
    "Seed",
    "Shard",
    "Split",
    "Verbose",
    "Verify",
    "taken_as",
]

Project = Annotated[
    Path,
    typer.Option("--project", "-p", envvar=PROJECT_VARIABLE, help="The project directory.", metavar="DIR"),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")]
Memory = Annotated[
    str, typer.Option("--memory", help="Main memory that tiles may take: 8GiB, or 50% of what is free.", metavar="SIZE")
]
Images = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="Where the photographs lie.  [default: where extract read them]"),
]
MaskSuffix = Annotated[
    str | None,
    typer.Option(
        "--mask-suffix", metavar="TEXT", help="The mask of a.jpg is a + TEXT + .png, such as _gtFine_labelIds."
    ),
]
Masks = Annotated[
    Path,
    typer.Option(
        "--masks",
        metavar="PATH",
        help="The ground truth: a folder of PNGs, VOC2012, gtsegs_ijcv.mat, or COCO's JSON.",
    ),
]
Instances = Annotated[
    Path | None,
    typer.Option(
        "--instances",
        metavar="DIR",
        help="PNGs of instance numbers, 0 none.  [default: as coco-panoptic knows them]",
    ),
]
MaskDataset = Annotated[
    str,
    typer.Option("--dataset", help="What lies there: folder, voc, imagenet-seg, coco-panoptic, or coco-instances."),
]
Split = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="voc: a list such as trainaug.  [default: trainval]")
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        "--names", metavar="FILE", help="folder: names of class ids.  [default: names.json or names.txt in it]"
    ),
]
Ignore = Annotated[str, typer.Option("--ignore", metavar="IDS", help="Class ids of void, or none.")]
OnExtraMask = Annotated[
    str, typer.Option("--on-extra-mask", help="Masks without an image in the cut: fail, or skip and count them.")
]
Pictures = Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the PNGs.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The number from which every random choice derives.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="WHERE",
        help="Share the work among Dask workers: local:N here, tcp://HOST:PORT, or a scheduler file.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Do the I-th of N shares and stop; without it, what is left, and the artifact."
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an artifact of this name that another recipe made.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print inputs, outputs and the memory needed; do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result, or on stderr the error, as one JSON object.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Hash every shard of the features, even those that have not changed.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More notes; with an error, the traceback.")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of every command that makes an artifact, as they were given.

    A command adds its own as fields annotated for Typer; a field that is a tuple is an option that may be repeated.
    `explicit` are those given on the command line itself, such as --layers, rather than in a configuration file.
    """

    project: Project = Path()
    overwrite: Overwrite = False
    dry_run: DryRun = False
    json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False
    explicit: frozenset[str] = frozenset()


A = TypeVar("A", bound=Asked)


def taken_as(kind: type[A]) -> Callable[[Callable[[Frame, A], None]], Callable[..., None]]:
    """Turn a function of (frame, asked) into a command whose signature for Typer has a parameter per field of `kind`."""
    hints = get_type_hints(kind, include_extras=True)
    fields = [one for one in dataclasses.fields(kind) if one.name != "explicit"]
    shared = ["project", *SHARED_OPTIONS]
    fields.sort(key=lambda one: shared.index(one.name) if one.name in shared else -1)
    parameters = [_parameter(one, hints[one.name]) for one in fields]
    repeated = {one.name for one in parameters if get_origin(get_args(one.annotation)[0]) is list}

    def command_of(run: Callable[[Frame, A], None]) -> Callable[..., None]:
        def command(ctx: typer.Context, **given: Any) -> None:
            tuples = {name: tuple(given[name] or ()) for name in repeated}
            asked = kind(**{**given, **tuples, "explicit": _explicit(ctx)})
            if where := getattr(asked, "cluster", None):
                require_cluster(where, getattr(asked, "shard", None))
                if not asked.dry_run:
                    begin_loading_workers(where)
            frame = Frame.open(
                ctx,
                asked.project,
                json=asked.json,
                quiet=asked.quiet,
                verbose=asked.verbose,
                verify=getattr(asked, "verify", False),
            )
            run(frame, asked)

        command.__doc__, command.__module__, command.__qualname__ = run.__doc__, run.__module__, run.__qualname__
        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        command.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        return command

    return command_of


def _parameter(field: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    """A field as a parameter for Typer, a tuple as a list."""
    default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    value, about = get_args(hint)
    if get_origin(value) is tuple:
        value, default = list[get_args(value)[0]], default or None
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[value, about]
    )


def _explicit(ctx: typer.Context) -> frozenset[str]:
    """The options given on the command line itself, by their first declared names."""
    given = (one for one in ctx.command.params if one.name and ctx.get_parameter_source(one.name))
    return frozenset(one.opts[0] for one in given if ctx.get_parameter_source(one.name).name == "COMMANDLINE")  # type: ignore


class ConfiguredCommand(GroupedCommand):
    """A command whose options take their defaults from the project's alignedcut.toml, where it sets them."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if "project" in self._option_names() and not _asks_for_help(args):
            commands = list(parent.command.commands) if parent else []
            folder = project_argument(args)
            require_folder("--project", folder)
            set_there = option_defaults(folder, info_name or "", self._option_names(), commands)
            repeated = {one.name for one in self.params if getattr(one, "multiple", False)}
            extra["default_map"] = {
                name: [value] if name in repeated and isinstance(value, str) else value
                for name, value in set_there.items()
            }
        return super().make_context(info_name, args, parent, **extra)

    def _option_names(self) -> list[str]:
        return [parameter.name for parameter in self.params if parameter.name]


def _asks_for_help(args: Sequence[str]) -> bool:
    return "--help" in args or "-h" in args
