"""A project's health: headers, shapes across artifacts, content hashes, finite values, leftovers of killed runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.errors import AlignedcutError
from alignedcut_cli.store.artifact import layouts_of
from alignedcut_cli.store.canonical import tensor_digest
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.files import TEMPORARY_SUFFIX, abandoned, remove
from alignedcut_cli.store.header import Header, axis_faults
from alignedcut_cli.store.index import is_artifact_folder
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.page import page_content
from alignedcut_cli.store.parts import parts_names, parts_owner
from alignedcut_cli.store.project import INDEX, KINDS, REPORTS, Project
from alignedcut_cli.store.ranges import content_id
from alignedcut_cli.store.swap import PLAN, finish_swap, read_plan
from alignedcut_cli.store.tensors import Layout, layout_header, map_tensor

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Finding", "check_project", "faults", "sweep"]

_SHARED_AXES = ("B", "M")
_BASE = "onto"
"""The role of an input that is of other images."""
_TEMPORARY = re.compile(r"\.(.+?)(\.safetensors|\.html)?\.(?:[A-Za-z0-9-]+\.)?\d+" + re.escape(TEMPORARY_SUFFIX))


@dataclass(frozen=True)
class Finding:
    """One fault: where, what, and the command that repairs it."""

    where: str
    code: str
    message: str
    repair: str


def check_project(project: Project, *, deep: bool) -> Iterator[Finding]:
    """All faults in a project; `deep` reads every tensor (content ids, finite values) as well."""
    project.require_project()
    journal = Journal(project)
    for kind in KINDS:
        for name in project.names(kind):
            repair = journal.command(kind, name, overwrite=True)
            try:
                yield from _check_one(project, kind, name, repair, deep)
            except AlignedcutError as error:
                yield Finding(f"{kind}/{name}", error.code, error.message, repair)
    for path in leftovers(project):
        where = str(path.relative_to(project.root))
        yield Finding(where, "leftover", "a killed run left this behind", "alignedcut check --fix")


def _check_one(project: Project, kind: str, name: str, repair: str, deep: bool) -> Iterator[Finding]:
    where = f"{kind}/{name}"
    header = project.header(kind, name)
    path = project.path(kind, name)
    if kind == REPORTS:
        if deep and page_content(path) != header.content:
            yield Finding(where, "artifact-corrupt", f"{path.name}: the page does not match its content id", repair)
        return
    files = FeatureSet(path).files if kind == "features" else layouts_of(path)[1]
    for message in (*axis_faults(header), *_input_faults(project, header)):
        yield Finding(where, "shape-mismatch", message, repair)
    if not deep:
        return
    found_by = tensor_digest if kind == "features" or path.is_dir() else content_id
    for layout, content in files:
        yield from _deep_faults(where, layout, found_by, content, repair)


def faults(project: Project, kind: str, name: str, *, deep: bool) -> list[Finding]:
    """The faults of one artifact. Raises AlignedcutError if it cannot be read at all."""
    return list(_check_one(project, kind, name, "", deep))


def _input_faults(project: Project, header: Header) -> Iterator[str]:
    for given in header.inputs:
        if given.role == _BASE:
            continue
        try:
            other = project.header(given.kind, given.name)
        except AlignedcutError:
            continue
        if other.content != given.content:
            continue
        for letter in _SHARED_AXES:
            if letter in header.axes and letter in other.axes:
                here, there = header.axes[letter]["size"], other.axes[letter]["size"]
                if here != there:
                    yield f"it has {here} along {letter}, its input {given.kind}/{given.name} has {there}"


def _deep_faults(
    where: str, layout: Layout, found_by: Callable[[Mapping[str, np.ndarray]], str], content: str, repair: str
) -> Iterator[Finding]:
    """Wrong contents, infinity, and NaN in tensors whose meaning does not mention it."""
    import numpy as np

    arrays = {name: map_tensor(layout, name) for name in layout.offsets}
    if found_by(arrays) != content:
        message = f"{layout.path.name}: the tensors do not match their content id"
        yield Finding(where, "artifact-corrupt", message, repair)
    for name, about in layout_header(layout).raw["tensors"].items():
        what, is_sound = "NaN or infinity", np.isfinite
        if "NaN" in about["meaning"]:
            what, is_sound = "infinity", lambda part: ~np.isinf(part)
        if arrays[name].dtype.kind == "f" and not all(is_sound(part).all() for part in np.atleast_1d(arrays[name])):
            yield Finding(where, "not-finite", f"{layout.path.name}: {name} holds {what}", repair)


def leftovers(project: Project) -> list[Path]:
    """Temporary files and unfinished commits of killed runs, none of them in use by a running process."""
    found: list[Path] = []
    for kind in KINDS:
        folder = project.root / kind
        if folder.is_dir():
            hidden = ((name, path) for name in project.names(kind) for path in project.hidden(kind, name))
            suspects = (*_suspects(folder), *_suspect_parts(project, kind), *hidden)
            found += [path for name, path in suspects if not project.is_being_written(kind, name)]
    return found


def _suspect_parts(project: Project, kind: str) -> Iterator[tuple[str, Path]]:
    """Parts of artifacts that have been committed since, and temporary files of killed writers among the others."""
    for name in parts_names(project, kind):
        folder = project.parts_folder(kind, name)
        try:
            committed = project.header(kind, name).recipe == parts_owner(folder)
        except AlignedcutError:
            committed = False
        for left in [folder] if committed else abandoned(folder):
            yield name, left


def _suspects(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.glob(f".*{TEMPORARY_SUFFIX}")):
        if match := _TEMPORARY.fullmatch(path.name):
            yield match[1], path
    for path in sorted(folder.glob(".*.partial")):
        name = path.name[1:].removesuffix(".partial")
        resumable = read_plan(folder / name) is not None or (path / INDEX).is_file()
        for left in abandoned(path) if resumable else [path]:
            yield name, left
    for path in sorted(folder.glob(".*.old")):
        yield path.name[1:].removesuffix(".old"), path
    for path in sorted(folder.glob(f"[!.]*/{PLAN}")):
        if is_artifact_folder(path.parent):
            yield path.parent.name, path


def sweep(project: Project) -> list[Path]:
    """Remove the leftovers of killed runs, and return what was removed. Extractions that can be resumed stay."""
    swept = leftovers(project)
    for path in swept:
        if path.name.endswith(".old"):
            name = path.name[1:].removesuffix(".old")
            finish_swap(path.with_name(name), project.file(path.parent.name, name))
        else:
            remove(path)
    return swept
