"""The steps shared by all commands that make an artifact: open the project, decide whether to run, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from alignedcut_cli.errors import AlignedcutError, OutputExistsError, UsageError
from alignedcut_cli.frame.output import Output, format_bytes, table
from alignedcut_cli.store.check import faults
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.files import remove
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.project import Project

__all__ = ["DryRun", "Frame", "parameter_diff", "require_choice"]


@dataclass(frozen=True)
class DryRun:
    """What a command would read, what it would write (path, bytes), its memory in bytes, and other `counts`."""

    inputs: Sequence[str]
    outputs: Sequence[tuple[str, int]]
    memory: int
    counts: Sequence[tuple[str, str, int]] = ()

    def text(self) -> str:
        rows = [("reads", given, "") for given in dict.fromkeys(self.inputs)]
        rows += [("does", f"{of}: {what}" if of else what, f"{count:,}") for of, what, count in self.counts]
        rows += [("writes", path, format_bytes(size)) for path, size in self.outputs]
        return table([*rows, ("needs", "main memory", format_bytes(self.memory))])

    def as_object(self) -> dict[str, Any]:
        return {
            "schema": "alignedcut.dry-run/1",
            "inputs": list(dict.fromkeys(self.inputs)),
            "outputs": [{"path": path, "bytes": size} for path, size in self.outputs],
            "memory": self.memory,
            **(
                {"counts": [{"of": of, "what": what, "count": n} for of, what, n in self.counts]} if self.counts else {}
            ),
        }


@dataclass(frozen=True)
class Frame:
    """One run of one command: its project, its output, the command line, and the app for commands that run others."""

    project: Project
    output: Output
    argv: tuple[str, ...]
    verify: bool = False
    app: Any = None

    @staticmethod
    def open(
        ctx: typer.Context,
        project: Path,
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        verify: bool = False,
    ) -> Frame:
        name = ctx.info_name or ""
        argv = tuple(ctx.obj) if ctx.obj else (name,)
        app = ctx.find_root().command
        return Frame(Project(project), Output(name, json, quiet, verbose), argv, verify, app)

    def features(self, name: str) -> FeatureSet:
        """A feature set of the project; with --verify every shard is hashed before its tensors are read."""
        return FeatureSet(self.project.path("features", name), verify=self.verify, say=self.output.note)

    @property
    def journal(self) -> Journal:
        return Journal(self.project)

    def existing(self, recipe: Recipe, overwrite: bool) -> Header | None:
        """The header of the existing artifact if it is up to date; None if it is to be made.

        Raises OutputExistsError (exit 73), with the parameters that differ, if the existing artifact has another recipe and
        `overwrite` is not set. An unreadable artifact, or one that lacks a shard, is also replaced only with `overwrite`;
        with it every byte is read first, so that a damaged artifact does not count as up to date.
        """
        path = self.project.header_path(recipe.kind, recipe.name)
        if not path.exists():
            return None
        if overwrite:
            try:
                header = self.project.header(recipe.kind, recipe.name)
                whole = header.recipe == recipe.identity and not faults(
                    self.project, recipe.kind, recipe.name, deep=True
                )
            except AlignedcutError:
                return None
            return header if whole else None
        header = self.project.header(recipe.kind, recipe.name)
        if header.recipe == recipe.identity:
            faults(self.project, recipe.kind, recipe.name, deep=False)
            return header
        raise exists_error(recipe, header.raw)

    def make_once(
        self, recipe: Recipe, overwrite: bool, make: Callable[[], Header], **noted: str
    ) -> tuple[Header, bool]:
        """The header of an artifact, and whether `make` wrote it now; a note says if it was up to date.

        Made under the artifact's lock, and recorded in the journal, with what is `noted`. An artifact that is up to date
        needs neither the lock, since artifacts appear atomically, nor a writable disk. Raises as `existing` does.
        """
        if found := self.existing(recipe, overwrite):
            return self.up_to_date(found)
        with self.project.writing(recipe.kind, recipe.name):
            if found := self.existing(recipe, overwrite):  # made by another process in the meantime
                return self.up_to_date(found)
            self.journal.note("start", recipe.kind, recipe.name, self.argv, recipe=recipe.identity)
            header = make()
            remove(self.project.kept_path(recipe.kind, recipe.name))  # a checkpoint of this or any other recipe
            self.journal.note("done", recipe.kind, recipe.name, self.argv, recipe=header.recipe, **noted)
            return header, True

    def dry_run(self, described: DryRun) -> None:
        """Print what a command would do, as its result."""
        self.output.result(described.text(), described.as_object())

    def up_to_date(self, header: Header) -> tuple[Header, bool]:
        """The result of a command whose artifact is up to date; a note says so."""
        self.output.note(f"{header.kind}/{header.name} is up to date")
        return header, False

    def artifact_object(self, header: Header, *, made: bool) -> dict[str, Any]:
        """An artifact as the --json result of a command."""
        return {
            "kind": header.kind,
            "name": header.name,
            "path": str(self.project.path(header.kind, header.name)),
            "recipe": header.recipe,
            "content": header.content,
            "made": made,
        }


def exists_error(recipe: Recipe, found: Mapping[str, Any]) -> OutputExistsError:
    """The error for an existing artifact of another recipe: it names every difference."""
    diff = parameter_diff(found, recipe)
    told = "; ".join(f"{key}: {before} there, {after} asked" for key, (before, after) in diff.items())
    return OutputExistsError(
        "output-exists",
        f"{recipe.kind}/{recipe.name} was made with other parameters ({told or 'another version'})",
        "Choose another --name, or give --overwrite",
        diff={key: list(values) for key, values in diff.items()},
    )


def parameter_diff(found: Mapping[str, Any], recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """{what: (existing, requested)} for every parameter, external input and input content that differs."""
    before = {**found.get("params", {}), **found.get("external", {}), "algorithm": found.get("algorithm")}
    after = {**recipe.params, **recipe.external, "algorithm": recipe.algorithm}
    before["inputs"] = [f"{g['kind']}/{g['name']}@{g['content'][:12]}" for g in found.get("inputs", [])]
    after["inputs"] = [f"{g.kind}/{g.name}@{g.content[:12]}" for g in recipe.inputs]
    keys = dict.fromkeys([*before, *after])
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def require_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Raise UsageError unless an option's value is one of its choices."""
    if value not in choices:
        raise UsageError("bad-choice", f"{option} {value!r} cannot be", f"Give one of: {', '.join(choices)}")
