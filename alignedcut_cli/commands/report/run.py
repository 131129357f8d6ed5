"""Writing a page: as many photographs and cuts as fit in its budget, by priority."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL

from alignedcut_cli.commands.report.model import Built, build_lens, image_objects, lens_of
from alignedcut_cli.commands.report.plan import Group, Plan
from alignedcut_cli.commands.report.spaces import AlignedRows, aligned_rows
from alignedcut_cli.errors import printable
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.report.page.assemble import page
from alignedcut_cli.report.page.html import Safe
from alignedcut_cli.report.page.kinds.kind import Given, Section
from alignedcut_cli.report.page.pictures import sheets
from alignedcut_cli.report.page.registry import REGISTRY
from alignedcut_cli.report.page.trust import Made, trust_chapter
from alignedcut_cli.store.artifact import open_tensors
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.page import write_page

__all__ = ["write_report"]

TRIED = 6
"""The number of photographs from which the size of one is estimated."""
SPARE = 20_000
"""Bytes allowed for the provenance header beyond its measured size."""


@dataclass
class _Filled:
    """The content of the page so far: photographs, lenses, and what was left out."""

    shown: tuple[int, ...]
    images: list[dict[str, Any]]
    built: list[Built]
    left_out: list[str]


def write_report(frame: Frame, plan: Plan) -> Header:
    """Write the page to the project, and return its header."""
    given = {one.reference: one for one in (_given(frame, header) for header in plan.headers)}
    told, lacking = _told(plan, given)
    given = {name: one for name, one in given.items() if name in told}
    groups = tuple(group for group in plan.groups if all(f"cut/{cut.name}" in told for cut in group.cuts))
    plan = replace(plan, notes=(*plan.notes, *lacking), groups=groups)
    sections = [section for _, mine in told.values() for section in mine]
    trust = trust_chapter([made for made, _ in told.values()], plan.script)
    bare = page(plan.title, plan.notes, {"lenses": [], "images": []}, None, sections, trust)
    spent = len(bare.encode()) + SPARE + _header_bytes(plan)
    filled = _fill(frame, plan, given, spent) if plan.groups else _Filled((), [], [], list(plan.notes))
    rest = _whole(plan, filled, sections, trust)
    costs = {name: cost for one in reversed(filled.built) for name, cost in one.costs.items()}
    return write_page(
        frame.project.path(plan.recipe.kind, plan.recipe.name),
        plan.recipe,
        rest,
        axes={},
        numerics={"numpy": np.__version__, "pillow": PIL.__version__, "zlib": zlib.ZLIB_RUNTIME_VERSION},
        parents=plan.headers,
        shown=[one["name"] for one in filled.images],
        left_out=filled.left_out,
        cosine_cost=costs,
    )


def _given(frame: Frame, header: Header) -> Given:
    """An artifact with its arrays (features: none). Raises DataError if they are not those of its content id."""
    path = frame.project.path(header.kind, header.name)
    return Given(header, {} if header.kind == "features" else open_tensors(path))


def _told(plan: Plan, given: Mapping[str, Given]) -> tuple[dict[str, tuple[Made, Sequence[Section]]], list[str]]:
    """The sections and method sentences of each artifact, and a line on each that this version cannot read."""
    told, lacking = {}, []
    for name, one in given.items():
        try:
            told[name] = _made(plan, one), REGISTRY[one.header.kind].sections(one)
        except KeyError as error:
            lacking.append(f"{name} is left out: alignedcut {one.header.raw['tool']} wrote no {error} into it.")
    return told, lacking


def _made(plan: Plan, one: Given) -> Made:
    state = plan.states.get((one.header.kind, one.header.name))
    kind = REGISTRY[one.header.kind]
    found = (state.state, state.reason) if state else ("missing", "")
    return Made(one.header, *found, kind.methods(one), kind.references(one), kind.warnings(one))


def _header_bytes(plan: Plan) -> int:
    """Bytes of the provenance header: the history of all artifacts, each command once."""
    nodes = {node["recipe"]: node for header in plan.headers for node in header.history}
    return len(json.dumps(list(nodes.values())))


def _whole(plan: Plan, filled: _Filled, sections: Sequence[Section], trust: Safe) -> str:
    model = {
        "schema": "alignedcut.page/1",
        "title": plan.title,
        "images": filled.images,
        "lenses": [one.value for one in filled.built],
    }
    shown = sheets(filled.images, filled.built[0].value["slots"], filled.built[0].rgb) if filled.built else None
    return page(plan.title, filled.left_out, model, shown, sections, trust)


def _fill(frame: Frame, plan: Plan, given: Mapping[str, Given], spent: int) -> _Filled:
    """Add photographs and cuts until the budget is used: all photographs of the first cut before any other cut."""
    maker = _Maker(frame, plan, given)
    total = len(plan.images)
    wanted = plan.asked or total
    room = plan.budget - spent
    first = plan.groups[0]
    count = min(wanted, TRIED)
    images, built = maker.made(first, count)
    if wanted > count:
        count = max(1, min(wanted, int(count * room / _size(images, built))))
        images, built = maker.made(first, count)
    while _size(images, built) > room and count > 1:
        count = max(1, min(count - 1, int(count * room / _size(images, built))))
        images, built = maker.made(first, count)
    filled = _Filled(tuple(plan.order[:count]), images, [built], [*_told_images(plan, count, wanted), *plan.notes])
    filled.left_out += maker.notes
    if _size(images, built) > room:
        filled.left_out.append(f"One photograph alone takes more than the budget of {plan.budget / 1e6:g} MB.")
    for group in plan.groups[1:]:
        _add(maker, group, filled, room)
    return filled


def _add(maker: _Maker, group: Group, filled: _Filled, room: int) -> None:
    """Add a lens, if it fits in the rest of the budget."""
    left = room - _size(filled.images, *filled.built)
    names = ", ".join(f"cut/{cut.name}" for cut in group.cuts)
    rough = 0.6 * lens_of(group, filled.shown).nodes * min(cut.axes["C"]["size"] for cut in group.cuts)
    built = maker.lens(group, len(filled.shown)) if rough < left else None
    if built is None or _size([], built) > left:
        filled.left_out.append(
            f"{names}: left out, as the budget is spent. Give --from {names.split(',')[0]} for a page of it."
        )
        return
    filled.built.append(built)


def _told_images(plan: Plan, count: int, wanted: int) -> list[str]:
    total = len(plan.images)
    if count == total:
        return []
    why = f"so many fit into {plan.budget / 1e6:g} MB" if count < wanted else "as --images asked"
    how = f"chosen by seed {plan.recipe.params['seed']}" if not _is_list(plan) else "as listed"
    return [f"{count} of {total} photographs are shown, {how}: {why}."]


def _is_list(plan: Plan) -> bool:
    asked = plan.recipe.params["images"]
    return asked is not None and not asked.isdecimal()


def _size(images: Sequence[Mapping[str, Any]], *built: Built) -> int:
    """Bytes of photographs, lenses and sheets on the page."""
    return len(json.dumps([images, [one.value for one in built]])) + 12_000 * min(len(images), 12)


class _Maker:
    """Makes lenses on the first photographs of the order."""

    def __init__(self, frame: Frame, plan: Plan, given: Mapping[str, Given]) -> None:
        self._frame, self._plan, self._given = frame, plan, given
        self._photos = Photos(frame, plan.groups[0].cuts[0], None, "; run extract on them where they are now")
        self._rows: dict[str, AlignedRows | None] = {}
        self.notes: list[str] = []

    def made(self, group: Group, count: int) -> tuple[list[dict[str, Any]], Built]:
        shown = self._plan.order[:count]
        images = image_objects(self._plan.images, shown, self._photos)
        return [{**one, "name": printable(one["name"])} for one in images], self.lens(group, count)

    def lens(self, group: Group, count: int) -> Built:
        return build_lens(group, self._plan.order[:count], self._given, self._aligned(group))

    def _aligned(self, group: Group) -> AlignedRows | None:
        """The aligned rows of a group: by the alignment of its cut, or else by any that has its slots."""
        if group.name in self._rows:
            return self._rows[group.name]
        own = {given.name for cut in group.cuts for given in cut.inputs if given.kind == "align"}
        aligns = [one for one in self._plan.headers if one.kind == "align" and (not own or one.name in own)]
        found, reason = aligned_rows(self._frame, lens_of(group, self._plan.order[:1]).parts, aligns)
        if aligns and found is None:
            self.notes.append(f"{group.name} is not shown in aligned and brain space: {reason}")
        self._rows[group.name] = found
        return found
