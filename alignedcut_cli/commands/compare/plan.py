"""The plan of a comparison: the slots that both sides have, and their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alignedcut_cli.commands.compare.asked import Asked
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.slots import Slot, find_slots, require_same_images
from alignedcut_cli.nodes.spaces import Space, aligned_space, comparable_slots
from alignedcut_cli.store.header import Header, Input, Recipe
from alignedcut_cli.store.project import check_name

__all__ = ["Plan", "make_plan"]

ALGORITHM = 1
COMPARED = ("cut", "color", "align")
FEWEST_IMAGES = 4
"""The fewest images of unbiased CKA."""


@dataclass(frozen=True)
class Plan:
    """The sides, one or two, and their shared slots: for cuts and colorings `places`, the index of each slot in both.

    For alignments, `slots` of each side with its transforms, and their `spaces`. `about` are the slots' descriptions.
    """

    recipe: Recipe
    parents: tuple[Header, ...]
    sides: tuple[str, ...]
    about: tuple[Mapping[str, Any], ...]
    images: Sequence[Mapping[str, Any]]
    places: tuple[tuple[int, int], ...] = ()
    slots: tuple[tuple[Slot, ...], ...] = ()
    spaces: tuple[Space, ...] = ()

    @property
    def kind(self) -> str:
        return self.recipe.params["of"]

    @property
    def one_graph(self) -> bool:
        """Whether each side is one graph, whose eigenvectors are shared by all slots."""
        return not any(one.params.get("per_slot") or one.axes["G"]["size"] > 1 for one in self.parents)

    def need(self) -> int:
        """Main memory in bytes: rows and moments of one slot at a time, or pooled features and Gram matrices of all."""
        draws = self.recipe.params["bootstrap"] + 1
        if self.kind == "align":
            each = len(self.images) * (max(one["width"] for one in self.about) * 8 + 8 * len(self.images))
            return (64 << 20) + len(self.about) * each * 2 + 8 * 66**2 * (len(self.images) + draws)
        nodes = self.parents[0].axes["M"]["size"]
        width = 2 * (self.recipe.params.get("eigenvectors") or 3)
        return (64 << 20) + 16 * nodes * width + 8 * width**2 * (len(self.images) + draws)


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a comparison, from headers alone. Raises UsageError, DataError or InputMissingError."""
    found = [frame.project.parse(text) for text in asked.pair]
    kinds = sorted({kind for kind, _ in found})
    if len(kinds) > 1 or kinds[0] not in COMPARED:
        raise UsageError(
            "not-comparable", f"{' and '.join(asked.pair)} cannot be compared", f"Give two of: {', '.join(COMPARED)}"
        )
    kind, names = kinds[0], [name for _, name in found]
    if len(names) > 2 or (len(names) == 1 and kind != "align"):
        raise UsageError("not-two", f"{len(names)} given", "Give two, such as cut/a cut/b; or one alignment")
    if len(set(names)) < len(names):
        raise UsageError("input-twice", f"{kind}/{names[0]} is given twice", "Give another")
    _require_used(asked, kind)
    given = [frame.project.input(role, kind, name) for role, name in zip("ab", names, strict=False)]
    return _alignments(frame, asked, names, given) if kind == "align" else _cuts(asked, kind, names, given)


def _require_used(asked: Asked, kind: str) -> None:
    """Raise UsageError for options given explicitly that this kind does not use."""
    uses = {"cut": {"--eigenvectors"}, "color": set(), "align": {"--from", "--layers"}}
    unused = [one for one in ("--eigenvectors", "--from", "--layers") if one in asked.explicit - uses[kind]]
    if unused:
        raise UsageError("option-unused", f"compare of {kind}/ does not use {', '.join(unused)}", "Leave it out")


def _cuts(asked: Asked, kind: str, names: Sequence[str], given: Sequence[tuple[Input, Header]]) -> Plan:
    (_, left), (_, right) = given
    images = left.axes["B"]["images"]
    if _contents(left) != _contents(right):
        raise DataError(
            "other-images", f"{kind}/{names[0]} and {kind}/{names[1]} are of different images", "Compare others"
        )
    there = {_key(slot): number for number, slot in enumerate(right.axes["S"]["slots"])}
    places = [(number, there[_key(slot)]) for number, slot in enumerate(left.axes["S"]["slots"]) if _key(slot) in there]
    if not places:
        raise DataError("no-slot-shared", f"{kind}/{names[0]} and {kind}/{names[1]} share no slot", "Compare others")
    params: dict[str, Any] = {"of": kind, "bootstrap": asked.bootstrap, "seed": asked.seed}
    if kind == "cut":
        most = min(header.params["eigenvectors"] for _, header in given)
        if asked.eigenvectors and asked.eigenvectors > most:
            raise UsageError("too-many-eigenvectors", f"--eigenvectors {asked.eigenvectors} of {most}", "Ask for fewer")
        params["eigenvectors"] = asked.eigenvectors or most
    about = tuple(left.axes["S"]["slots"][number] for number, _ in places)
    recipe = Recipe("compare", _name(asked, names), ALGORITHM, params, tuple(one for one, _ in given))
    return Plan(recipe, (left, right), tuple(names), about, images, places=tuple(places))


def _alignments(frame: Frame, asked: Asked, names: Sequence[str], given: Sequence[tuple[Input, Header]]) -> Plan:
    sources = [frame.project.parse(text, "features")[1] for text in asked.source]
    sources = sources or [one["name"] for one in given[0][1].raw["inputs"] if one["kind"] == "features"]
    inputs = [frame.project.input(f"features.{number}", "features", one) for number, one in enumerate(sources)]
    require_same_images(sources, [header for _, header in inputs])
    slots = [slot for one in sources for slot in find_slots(frame.features(one), asked.layers)]
    for slot in slots:
        slot.source.require(slot.pooled)
    images = inputs[0][1].axes["B"]["images"]
    if len(images) < FEWEST_IMAGES:
        raise DataError("few-images", f"{len(images)} images, CKA needs {FEWEST_IMAGES}", "Give features of more")
    spaces = tuple(aligned_space(frame.project, "aligned", f"align/{name}", None) for name in names)
    params = {"of": "align", "bootstrap": asked.bootstrap, "seed": asked.seed, "layers": [slot.layer for slot in slots]}
    recipe = Recipe("compare", _name(asked, names), ALGORITHM, params, tuple(one for one, _ in (*given, *inputs)))
    parents = tuple(header for _, header in (*given, *inputs))
    sides = tuple(tuple(comparable_slots(space, slots)) for space in spaces)
    about = tuple(slot.about for slot in slots)
    return Plan(recipe, parents, tuple(names), about, images, slots=sides, spaces=spaces)


def _name(asked: Asked, names: Sequence[str]) -> str:
    return check_name(asked.name or "+".join(names))


def _key(slot: Mapping[str, Any]) -> str:
    """What identifies a slot across cuts: all but the feature set that it was read from."""
    return repr(sorted((key, value) for key, value in slot.items()))


def _contents(header: Header) -> list[tuple[str, str]]:
    return [(image["path"], image["sha256"]) for image in header.axes["B"]["images"]]
