"""The plan of a page: the artifacts, the cuts side by side, the photographs and their order, and the budget."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alignedcut_cli.commands.report.asked import Asked
from alignedcut_cli.commands.report.script import shell_script
from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError, UsageError
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.report.page.assemble import assets_digest
from alignedcut_cli.report.page.kinds.kind import listed
from alignedcut_cli.store.canonical import digest
from alignedcut_cli.store.header import Header, Input, Recipe
from alignedcut_cli.store.project import KINDS, REPORTS, check_name
from alignedcut_cli.store.status import ArtifactState, project_states

__all__ = ["Group", "Plan", "make_plan"]

ALGORITHM = 1
MOST_IMAGES = 2000
_SIZE = re.compile(r"([0-9]*\.?[0-9]+)\s*(B|KB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class Group:
    """Cuts of the same photographs, shown side by side. `joint`: all their nodes can be compared."""

    name: str
    about: str
    joint: bool
    cuts: tuple[Header, ...]


@dataclass(frozen=True)
class Plan:
    """`order` are the photographs by priority if not all fit; `asked` is how many to show, None for as many as fit.
    `headers` are all artifacts of the page in the order of the chain."""

    recipe: Recipe
    title: str
    headers: tuple[Header, ...]
    states: Mapping[tuple[str, str], ArtifactState]
    groups: tuple[Group, ...]
    order: tuple[int, ...]
    asked: int | None
    budget: int
    script: str
    notes: tuple[str, ...]

    @property
    def images(self) -> Sequence[Mapping[str, Any]]:
        return self.groups[0].cuts[0].axes["B"]["images"] if self.groups else ()

    def need(self) -> int:
        """Main memory in bytes: several copies of the page, and the codes of the nodes shown."""
        return 12 * self.budget + (256 << 20)


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a command line, from headers alone. Raises UsageError, DataError or InputMissingError."""
    budget = page_bytes(asked.budget)
    headers, notes = _headers(frame, asked)
    states = {(one.kind, one.name): one for one in project_states(frame.project) if one.kind != REPORTS}
    groups, more = _groups([one for one in headers if one.kind == "cut"])
    images = groups[0].cuts[0].axes["B"]["images"] if groups else []
    order, count = _chosen(asked.images, images, asked.seed)
    title = asked.title or _title(headers)
    script = shell_script(frame, headers)
    states_told = {f"{one.kind}/{one.name}": state for one in headers if (state := _state(states, one)) != "fresh"}
    external = {"assets": assets_digest(), "script": digest(script), "states": states_told, "absent": []}
    if groups:
        photos = Photos(frame, groups[0].cuts[0], None)
        external["absent"] = [images[number]["path"] for number in order[:MOST_IMAGES] if not photos.there(number)]
    params = {"title": title, "images": asked.images, "budget": budget, "seed": asked.seed}
    inputs = tuple(Input(f"{one.kind}.{one.name}", one.kind, one.name, one.content, one.recipe) for one in headers)
    recipe = Recipe(REPORTS, check_name(asked.name), ALGORITHM, params, inputs, external)
    return Plan(recipe, title, headers, states, groups, order, count, budget, script, (*notes, *more))


def _state(states: Mapping[tuple[str, str], ArtifactState], header: Header) -> str:
    found = states.get((header.kind, header.name))
    return found.state if found else "missing"


def page_bytes(text: str) -> int:
    """A size such as 15MB in bytes. Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _UNITS[(found[2] or "B").lower()]) if found else 0
    if size < 200_000:
        raise UsageError("bad-size", f"--budget {text!r} is no size of a page", "Give 15MB, and at least 200KB")
    return size


def _headers(frame: Frame, asked: Asked) -> tuple[tuple[Header, ...], list[str]]:
    """The artifacts asked for and all their inputs, in the order of the chain; by default all readable ones."""
    project, notes = frame.project, []
    found: dict[tuple[str, str], Header] = {}
    if asked.source:
        due = [project.parse(text) for text in asked.source]
        if wrong := next((name for kind, name in due if kind == REPORTS), None):
            raise UsageError("wrong-kind", f"reports/{wrong} is a page itself", "Give the artifacts that it shows")
        found = {key: project.header(*key) for key in due}
    else:
        project.require_project()
        for key in (
            (kind, name) for kind in KINDS if kind not in (REPORTS, "features") for name in project.names(kind)
        ):
            try:
                found[key] = project.header(*key)
            except AlignedcutError as error:
                notes.append(f"{key[0]}/{key[1]} is left out: {error.message}.")
    if not found:
        raise InputMissingError(
            "artifact-missing",
            f"there is no artifact to show in {project.root}",
            "Make one first: see alignedcut cut --help",
        )
    _add_inputs(frame, found, notes)
    order = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(found.values(), key=lambda one: (order[one.kind], one.name))), notes


def _add_inputs(frame: Frame, found: dict[tuple[str, str], Header], notes: list[str]) -> None:
    """Add to `found` the inputs of its artifacts, where they still exist."""
    due = list(found.values())
    while due:
        for given in due.pop().inputs:
            key = given.kind, given.name
            if key in found:
                continue
            try:
                found[key] = frame.project.header(*key)
            except AlignedcutError:
                notes.append(f"{given.kind}/{given.name}, of which others were made, is gone or cannot be read.")
                continue
            due.append(found[key])


def _groups(cuts: Sequence[Header]) -> tuple[tuple[Group, ...], list[str]]:
    """The groups of cuts shown together: each joint cut of several slots alone, all per-slot cuts, all cuts of layers.

    All are of the same photographs as the first; others are left out, with a note.
    """
    joint = [one for one in cuts if _is_joint(one)]
    joint.sort(key=lambda one: (one.params.get("space") == "raw", -one.axes["S"]["size"], one.name))
    groups = [Group(f"cut/{one.name}", "All nodes of all layers can be compared.", True, (one,)) for one in joint]
    alone = "Each layer is a graph of its own: it is compared with the same place in that layer."
    sides = {
        ("each layer by itself", alone): [one for one in cuts if not _is_joint(one) and not _of_layers(one)],
        ("graphs of all layers", "Each cut is a graph of its own."): [one for one in cuts if _of_layers(one)],
    }
    same, notes = [], []
    for (name, about), mine in sides.items():
        groups += [Group(name, about, False, tuple(mine))] if mine else []
    for group in groups:
        kept = tuple(one for one in group.cuts if _pictures(one) == _pictures(groups[0].cuts[0]))
        notes += [f"cut/{one.name} is left out: it is of other photographs." for one in group.cuts if one not in kept]
        same += [Group(group.name, group.about, group.joint, kept)] if kept else []
    return tuple(same), notes


def _is_joint(cut: Header) -> bool:
    return cut.axes["G"]["size"] == 1 and not _of_layers(cut)


def _of_layers(cut: Header) -> bool:
    return "layers" in cut.axes["S"]["slots"][0]


def _pictures(cut: Header) -> list[tuple[str, str]]:
    return [(image["path"], image["sha256"]) for image in cut.axes["B"]["images"]]


def _title(headers: Iterable[Header]) -> str:
    models = [
        slot["model"]
        for one in headers
        if one.kind in ("cut", "score")
        for slot in one.axes.get("S", {}).get("slots", [])
    ]
    return (
        f"What {listed(list(dict.fromkeys(models)))} see"
        if len(set(models)) > 1
        else f"What {(models or ['a network'])[0]} sees"
    )


def _chosen(asked: str | None, images: Sequence[Mapping[str, Any]], seed: int) -> tuple[tuple[int, ...], int | None]:
    """The photographs by priority, and how many are asked for (None: as many as fit)."""
    import numpy as np

    from alignedcut_cli.core.numerics import stream

    total = len(images)
    drawn = tuple(np.random.default_rng(stream(seed, "report", "images")).permutation(total).tolist())
    if asked is None:
        return drawn, None
    if asked.isdecimal():
        count = int(asked)
        if not count:
            raise UsageError("bad-images", "--images 0 shows nothing", "Give a number from 1, or a list such as 0,4,7")
        return drawn, min(count, total)
    names = {image["path"]: number for number, image in enumerate(images)}
    found: dict[int, None] = {}
    for word in filter(None, (part.strip() for part in asked.split(","))):
        number = names.get(word, int(word) if word.isdecimal() else -1)
        if not 0 <= number < total:
            raise DataError(
                "no-such-image",
                f"--images names {word!r}, and the cut has {total} photographs",
                "Give numbers from 0, or paths as extract listed them",
            )
        found[number] = None
    if not found:
        raise UsageError("bad-images", f"--images {asked!r} names nothing", "Give a number, or a list such as 0,4,7")
    return tuple(found), len(found)
