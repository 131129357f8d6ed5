"""The plan of `extract --onto cut/NAME`: the base's models, layers and taps for new images, none of whose features stay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.backbones.libraries import import_libraries
from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.images import checked_images
from alignedcut_cli.commands.extract.plan import (
    HEADED,
    images_checked_once,
    listed_images,
    one_per_model,
    open_model,
    weights_digest,
)
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.config import parse_layers
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.onto import other_slots, require_extensible, space_of
from alignedcut_cli.nodes.slots import tokens_of
from alignedcut_cli.nodes.spaces import Space, transform_name
from alignedcut_cli.store.canonical import canonical_json
from alignedcut_cli.store.features import shard_ranges
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    from alignedcut_cli.backbones.load import Backbone, WeightsFile
    from alignedcut_cli.datasets.images import Manifest

__all__ = ["NewSlot", "OntoPlan", "Source", "plan_onto"]

ALGORITHM = 1
_OWN = ("model", "tap", "dtype", "preprocess", "heads")
"""Parameters of a feature set that are no choice of the model's."""


@dataclass(frozen=True)
class NewSlot:
    """A slot of the base cut, for new images.

    `graph` is the number of the base's graph that it is in, `transform` the name of its transform in the align artifact,
    `dtype` that of the base's stored features, by which its features are rounded.
    """

    number: int
    graph: int
    about: Mapping[str, Any]
    transform: str | None
    dtype: str

    @property
    def tap(self) -> str:
        return self.about["tap"]

    @property
    def layer(self) -> int:
        return self.about["layer"]


@dataclass(frozen=True)
class Source:
    """One model of the base cut, with its slots; `known` identifies its weights."""

    backbone: Backbone
    weights: WeightsFile
    known: str
    slots: tuple[NewSlot, ...]

    @property
    def taps(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(slot.tap for slot in self.slots))

    @property
    def layers(self) -> list[int]:
        return sorted({slot.layer for slot in self.slots})


@dataclass(frozen=True)
class OntoPlan:
    """A cut of new images to be made: `ranges` of them are embedded by one task, for one of the `sources`."""

    recipe: Recipe
    parents: tuple[Header, ...]
    base: Header
    path: Path
    space: Space
    sources: tuple[Source, ...]
    manifest: Manifest
    ranges: tuple[tuple[int, int], ...]

    @cached_property
    def slots(self) -> list[NewSlot]:
        found = [slot for source in self.sources for slot in source.slots]
        return sorted(found, key=lambda slot: slot.number)

    @property
    def groups(self) -> list[list[Mapping[str, Any]]]:
        """What is said of each slot, graph by graph."""
        count = self.base.axes["G"]["size"]
        return [[slot.about for slot in self.slots if slot.graph == graph] for graph in range(count)]

    @property
    def columns(self) -> int:
        return self.base.axes["C"]["size"]

    @property
    def nodes(self) -> int:
        return len(self.manifest.images) * sum(tokens_of(slot.about) for slot in self.slots)

    @property
    def bytes(self) -> int:
        return self.nodes * (4 * self.columns + 16)

    @property
    def held(self) -> int:
        """Bytes of main memory besides a model: maps and transforms, and the rows of the tasks that are in the making."""
        maps = sum(
            math.prod(entry["shape"]) * 4
            for name, entry in self.base.raw["tensors"].items()
            if name.startswith(("landmarks.", "maps."))
        )
        width = self.space.alignment.channels if self.space.alignment else 0
        transforms = 4 * width * sum(slot.about["width"] for slot in self.slots)
        parts = 3 * self.ranges[0][1] * _bytes_per_image(self.base, self.sources)
        return maps + transforms + self.space.opening_bytes() + parts


def plan_onto(frame: Frame, asked: Asked, onto: str) -> OntoPlan:
    """The plan of an embedding. Images are checked; no weights are loaded.

    Raises UsageError, DataError or InputMissingError; DataError where a model differs from what the base was made of.
    """
    import_libraries()
    project = frame.project
    found = project.parse(onto, "cut")[1]
    given, base = project.input("onto", "cut", found)
    _require_features(base)
    require_extensible(base)
    space, align = space_of(project, base)
    sets = _sets_of(base, space)
    sources, external = _sources(frame, asked, base, sets)
    with images_checked_once(frame, asked):
        paths = listed_images(frame, asked)
        manifest = checked_images(frame, paths, asked.on_bad_image, write=not asked.dry_run)
    params = {**base.params, "onto": True, "sources": [one.told for one in sets]}
    if [source.known for source in sources] != [of.weights for of in _first_of_each(sets)]:
        params["other_weights"] = True
    models = "+".join(source.backbone.id.artifact_name for source in sources)
    if len(asked.name) > 1:
        raise UsageError("count-mismatch", f"{len(asked.name)} --name for one cut", "Give --name once")
    everything = [*align, (given, base)]
    recipe = Recipe(
        "cut",
        check_name(asked.name[0] if asked.name else f"{models}-onto-{found}"),
        ALGORITHM,
        params,
        tuple(one for one, _ in everything),
        {"manifest": manifest.identity, **external},
    )
    return OntoPlan(
        recipe=recipe,
        parents=tuple(header for _, header in everything),
        base=base,
        path=project.path("cut", found),
        space=space,
        sources=sources,
        manifest=manifest,
        ranges=tuple(shard_ranges(len(manifest.images), _bytes_per_image(base, sources))),
    )


def _bytes_per_image(base: Header, sources: Sequence[Source]) -> int:
    """Bytes of the rows that the largest model gives an image."""
    return max(sum(4 * base.axes["C"]["size"] * tokens_of(slot.about) for slot in source.slots) for source in sources)


def _require_features(base: Header) -> None:
    if base.params.get("graph"):
        raise UsageError(
            "not-extensible",
            f"cut/{base.name} is of graphs of {base.params['graph']}: new places are compared with its stored features",
            f"Extract these images, and give alignedcut cut --onto cut/{base.name}",
        )


@dataclass(frozen=True)
class _Set:
    """One feature set of the base cut: the parameters that it was extracted with, its weights, and its slots in the cut."""

    name: str
    params: Mapping[str, Any]
    weights: str
    slots: tuple[NewSlot, ...]

    @property
    def told(self) -> dict[str, Any]:
        """What a recipe says of it."""
        return {**self.model, "tap": self.params["tap"], "dtype": self.params["dtype"]} | {
            "layers": [slot.layer for slot in self.slots]
        }

    @property
    def model(self) -> dict[str, Any]:
        """What tells its model from others, but for the weights."""
        rest = {key: value for key, value in self.params.items() if key not in (*_OWN, "layers", "tokens", "seed")}
        return {"model": self.params["model"], "preprocess": self.params["preprocess"], **rest}

    @property
    def key(self) -> str:
        return canonical_json([self.model, self.weights])


def _sets_of(base: Header, space: Space) -> list[_Set]:
    """The feature sets of the base cut, in its order."""
    nodes = {node["recipe"]: node for node in base.history}
    abouts = iter(enumerate(base.axes["S"]["slots"]))
    sets = []
    wanted = [given for given in base.inputs if given.kind == "features"]
    for given, layers in zip(wanted, base.params["layers"], strict=True):
        node = nodes[given.recipe]
        weights, dtype = node["external"].get("weights", ""), node["params"]["dtype"]
        slots = []
        for number, about in (next(abouts) for _ in layers):
            graph = number if base.params["per_slot"] else 0
            transform = transform_name(space, weights, about)
            slots.append(NewSlot(number, graph, about, transform, dtype))
        sets.append(_Set(given.name, node["params"], weights, tuple(slots)))
    return sets


def _first_of_each(sets: Sequence[_Set]) -> list[_Set]:
    """The first set of each model, in the base's order."""
    first: dict[str, _Set] = {}
    for one in sets:
        first.setdefault(one.key, one)
    return list(first.values())


def _sources(
    frame: Frame, asked: Asked, base: Header, sets: Sequence[_Set]
) -> tuple[tuple[Source, ...], dict[str, str]]:
    """The models of the base cut, each opened without its weights, and what identifies all weights in a recipe."""
    firsts = _first_of_each(sets)
    labels = [one.slots[0].about["model"] for one in firsts]
    texts = asked.model or tuple(labels)
    if len(texts) != len(firsts):
        raise other_models(base, len(texts), labels)
    files = one_per_model("--weights", asked.weights, texts)
    sources, external = [], {}
    for number, (text, file, first) in enumerate(zip(texts, files, firsts, strict=True)):
        mine = [one for one in sets if one.key == first.key]
        slots = tuple(slot for one in mine for slot in one.slots)
        backbone, weights = _opened(frame, asked, text, file, first, slots)
        _require_alike(base, backbone, text, mine)
        digests = weights_digest(frame, asked, weights)
        if digests["weights"] != first.weights and not asked.other_weights:
            raise DataError(
                "other-weights",
                f"--model {text} has other weights than features/{first.name}, of which cut/{base.name} was made",
                "Give those with --weights FILE, or --other-weights to embed another checkpoint of the model",
            )
        sources.append(Source(backbone, weights, digests["weights"], slots))
        external |= {f"{key}.{number}": value for key, value in digests.items()}
    _require_given(asked, base, sets, sources)
    return tuple(sources), external


def other_models(base: Header, count: int, labels: Sequence[str]) -> UsageError:
    told = ", ".join(labels)
    return UsageError(
        "other-slots",
        f"cut/{base.name} joined {len(labels)} models, {count} --model were given",
        f"Give one --model for each, in its order: {told}; or none",
    )


def _opened(
    frame: Frame, asked: Asked, text: str, file: Path | None, first: _Set, slots: Sequence[NewSlot]
) -> tuple[Backbone, WeightsFile]:
    """A model built as the base's features were extracted, and the file of its weights."""
    base_size, steps = first.params["preprocess"]["size"], first.params.get("noise_step")
    taps = tuple(dict.fromkeys(slot.tap for slot in slots))
    size = asked.image_size if "--image-size" in asked.explicit else base_size
    return open_model(frame, replace(asked, image_size=size, noise_step=steps, tap=taps), text, file)


def _require_alike(base: Header, backbone: Backbone, text: str, sets: Sequence[_Set]) -> None:
    """Raise DataError unless a model is the one that sets of the base were extracted with, but for its weights."""
    for one in sets:
        layers = [slot.layer for slot in one.slots]
        if max(layers) >= len(backbone.blocks):
            raise other_slots(base, f"--model {text} has no layer {max(layers)}")
        found = {"model": backbone.resolved, "preprocess": backbone.preprocess.as_object(), **backbone.choices}
        differ = [key for key, value in one.model.items() if found.get(key) != value]
        told = [f"{key} {found.get(key)}, not {one.model[key]}" for key in differ]
        widths = backbone.widths(layers, one.params["tap"]) if not told else []
        for slot, width in zip(one.slots, widths, strict=False):
            here = {"width": width, "grid": list(backbone.grid_of(slot.layer)), "class_token": backbone.class_token}
            here |= backbone.heads(slot.layer) if slot.tap in HEADED else {}
            told += [
                f"{key} {value} at layer {slot.layer}, not {slot.about.get(key)}"
                for key, value in here.items()
                if slot.about.get(key) != value
            ]
        if told:
            raise other_slots(base, f"--model {text} has {told[0]}")


def _require_given(asked: Asked, base: Header, sets: Sequence[_Set], sources: Sequence[Source]) -> None:
    """Raise UsageError for options that were given and differ from what the base cut was made with."""
    taps = tuple(dict.fromkeys(one.params["tap"] for one in sets))
    dtypes = {one.params["dtype"] for one in sets}
    given = {
        "--tap": (set(asked.tap), set(taps), "+".join(taps)),
        "--tokens": (asked.tokens, "all", "all"),
        "--dtype": ({asked.dtype}, dtypes, "+".join(sorted(dtypes))),
    }
    for option, (mine, wanted, told) in given.items():
        if option in asked.explicit and mine != wanted:
            raise _not_the_base(base, option, told)
    for source in sources if "--layers" in asked.explicit else ():
        if parse_layers(asked.layers, len(source.backbone.blocks)) != source.layers:
            raise _not_the_base(base, "--layers", ",".join(map(str, source.layers)))


def _not_the_base(base: Header, option: str, wanted: str) -> UsageError:
    return UsageError(
        "option-contradicts",
        f"{option} is another than cut/{base.name} was made with",
        f"Leave it out, or give {wanted}",
    )
