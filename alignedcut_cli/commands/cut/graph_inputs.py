"""The feature sets for the graphs of a cut: those named, and those of the other taps, found by recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alignedcut_cli.errors import InputMissingError, UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.slots import Slot, find_slots
from alignedcut_cli.store.canonical import canonical_json
from alignedcut_cli.store.header import Header, Input

__all__ = ["GRAPHS", "Source", "find_sources", "source_inputs", "source_slots"]

GRAPHS = {"vv": ("v", "v"), "kk": ("k", "k"), "qk": ("q", "k"), "attn": ("q", "k")}
"""The taps whose cosines (for attn: softmax) are the edges of each kind of graph."""


@dataclass(frozen=True)
class Source:
    """The feature sets of one model for graphs: of queries and keys, the same set if the taps are equal."""

    queries: str
    keys: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.queries, self.keys)))

    @property
    def model_name(self) -> str:
        """The common name of both sets without the tap: tiny-clip of tiny-clip-q and tiny-clip-k."""
        head, _, tap = self.queries.rpartition("-")
        return head if head and tap in ("q", "k", "v") else self.queries


def find_sources(frame: Frame, graph: str, asked: Sequence[str]) -> list[Source]:
    """The source of each model that --from names, by any of its taps; without it the only one in the project.

    Raises InputMissingError for a tap that was not extracted, UsageError where several sets could be meant.
    """
    project = frame.project
    taps = GRAPHS[graph]
    names = [project.parse(text, "features")[1] for text in asked]
    headers = {name: project.header("features", name) for name in dict.fromkeys([*names, *project.names("features")])}
    families: dict[str, dict[str, list[str]]] = {}
    for name, header in headers.items():
        families.setdefault(_family(header), {}).setdefault(header.params["tap"], []).append(name)
    if not names:
        whole = [family for family in families.values() if all(tap in family for tap in taps)]
        if len(whole) != 1:
            raise _no_only_one(frame, graph, whole)
        return [_source(graph, whole[0], ())]
    wanted = dict.fromkeys(_family(headers[name]) for name in names)
    return [_source(graph, families[key], names) for key in wanted]


def _family(header: Header) -> str:
    """The identity of a feature set without its tap: equal for sets of the same model, images and options."""
    params = {key: value for key, value in header.params.items() if key not in ("tap", "heads")}
    return canonical_json({"params": params, "external": header.raw["external"]})


def _source(graph: str, family: dict[str, list[str]], named: Sequence[str]) -> Source:
    chosen = []
    for tap in GRAPHS[graph]:
        found = family.get(tap, [])
        mine = [name for name in found if name in named] or found
        if not mine:
            there = ", ".join(f"{name} ({tap})" for tap, names in sorted(family.items()) for name in names)
            raise InputMissingError(
                "tap-missing",
                f"--graph {graph} needs features of tap {tap} of the model and images of {there}",
                f"Extract them from the same images with --tap {' --tap '.join(dict.fromkeys(GRAPHS[graph]))}",
            )
        if len(mine) > 1:
            raise UsageError(
                "ambiguous-input",
                f"tap {tap} is in {len(mine)} feature sets: {', '.join(mine)}",
                "Name one with --from",
            )
        chosen.append(mine[0])
    return Source(*chosen)


def _no_only_one(frame: Frame, graph: str, whole: Sequence[dict[str, list[str]]]) -> Exception:
    frame.project.require_project()
    taps = dict.fromkeys(GRAPHS[graph])
    if not whole:
        return InputMissingError(
            "artifact-missing",
            f"no model in {frame.project.root} has features of tap {' and '.join(taps)}, which --graph {graph} needs",
            f"Make them first: alignedcut extract IMAGES --model NAME --tap {' --tap '.join(taps)}",
        )
    told = ", ".join(_source(graph, family, ()).model_name for family in whole)
    return UsageError("ambiguous-input", f"{len(whole)} models have such features: {told}", "Choose with --from")


def source_slots(frame: Frame, source: Source, layers: str) -> list[tuple[Slot, Slot]]:
    """The slots of queries and keys of each chosen layer."""
    sets = {name: frame.features(name) for name in source.names}
    pairs = list(zip(*(find_slots(sets[name], layers) for name in (source.queries, source.keys)), strict=True))
    for slot in dict.fromkeys(slot.tensor for pair in pairs for slot in pair):
        for features in sets.values():
            features.require(slot)
    return pairs


def source_inputs(frame: Frame, sources: Sequence[Source]) -> list[tuple[Input, Header]]:
    """The feature sets of all sources as inputs of a recipe, with their headers."""
    names: list[Any] = list(dict.fromkeys(name for source in sources for name in source.names))
    return [frame.project.input(f"features.{number}", "features", name) for number, name in enumerate(names)]
