"""The provenance header: what an artifact is, its recipe, and the commands that led to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alignedcut_cli import __version__
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.canonical import digest

__all__ = ["KEY", "SCHEMA", "Header", "Input", "Recipe", "axis_faults", "header_from", "header_object"]

KEY = "alignedcut"
SCHEMA = 1
_FIELDS = {
    "kind": str,
    "name": str,
    "tool": str,
    "algorithm": int,
    "params": dict,
    "inputs": list,
    "external": dict,
    "axes": dict,
    "tensors": dict,
    "numerics": dict,
    "history": list,
    "recipe": str,
    "content": str,
}
_PARTS = {
    "inputs": {"role": str, "kind": str, "name": str, "content": str, "recipe": str},
    "history": {"recipe": str, "kind": str, "name": str, "params": dict, "external": dict},
    "axes": {"size": int},
    "tensors": {"dtype": str, "shape": list, "axes": str, "meaning": str},
    "images": {"path": str},
    "slots": {"model": str, "layer": int},
}
"""The fields of each entry of a list, in the header and on the axes of images and slots."""


@dataclass(frozen=True)
class Input:
    """An artifact that a command read, identified by its content and its recipe."""

    role: str
    kind: str
    name: str
    content: str
    recipe: str

    @property
    def reference(self) -> str:
        return f"{self.kind}/{self.name}"

    def as_object(self) -> dict[str, str]:
        return {
            "role": self.role,
            "kind": self.kind,
            "name": self.name,
            "content": self.content,
            "recipe": self.recipe,
        }


@dataclass(frozen=True)
class Recipe:
    """Everything that determines an artifact: the same recipe gives the same artifact."""

    kind: str
    name: str
    algorithm: int
    params: Mapping[str, Any]
    inputs: tuple[Input, ...] = ()
    external: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """sha256 of kind, algorithm version, parameters, contents of inputs, and external inputs, without names."""
        return digest(
            {
                "kind": self.kind,
                "algorithm": self.algorithm,
                "params": self.params,
                "inputs": [[given.role, given.content] for given in self.inputs],
                "external": self.external,
            }
        )

    def node(self) -> dict[str, Any]:
        """This command as one node of a history."""
        return {
            "recipe": self.identity,
            "kind": self.kind,
            "name": self.name,
            "algorithm": self.algorithm,
            "params": dict(self.params),
            "inputs": [given.recipe for given in self.inputs],
            "external": dict(self.external),
        }


@dataclass(frozen=True)
class Header:
    """The parsed header of an artifact; `raw` is the checked JSON object."""

    raw: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return self.raw["kind"]

    @property
    def name(self) -> str:
        return self.raw["name"]

    @property
    def recipe(self) -> str:
        return self.raw["recipe"]

    @property
    def content(self) -> str:
        return self.raw["content"]

    @property
    def params(self) -> Mapping[str, Any]:
        return self.raw["params"]

    @property
    def axes(self) -> Mapping[str, Any]:
        return self.raw["axes"]

    @property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(Input(**{key: given[key] for key in _PARTS["inputs"]}) for given in self.raw["inputs"])

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        return self.raw["history"]


def header_object(
    recipe: Recipe,
    content: str,
    *,
    axes: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Any]],
    numerics: Mapping[str, Any],
    parents: Sequence[Header] = (),
    **more: Any,
) -> dict[str, Any]:
    """The header of an artifact as a JSON object.

    history = the commands of all `parents`, each once, oldest first, then this one. The field `check` is the digest of
    all the others, so that a flipped byte in the header itself is found.
    """
    history: dict[str, Any] = {node["recipe"]: node for parent in parents for node in parent.history}
    history[recipe.identity] = recipe.node()
    made = {
        "schema": SCHEMA,
        "kind": recipe.kind,
        "name": recipe.name,
        "tool": __version__,
        "algorithm": recipe.algorithm,
        "params": dict(recipe.params),
        "inputs": [given.as_object() for given in recipe.inputs],
        "external": dict(recipe.external),
        "axes": dict(axes),
        "tensors": {name: dict(meaning) for name, meaning in tensors.items()},
        "numerics": dict(numerics),
        "history": list(history.values()),
        "recipe": recipe.identity,
        "content": content,
        **more,
    }
    return {**made, "check": digest(made)}


def _digest_or_none(value: Any) -> str | None:
    """The digest, or None for a value without canonical JSON (a flipped byte can turn 1.05 into 1e05, or 1e999)."""
    try:
        return digest(value)
    except (ValueError, RecursionError):
        return None


def header_from(raw: Any, where: str) -> Header:
    """A checked header from parsed JSON. Raises DataError (foreign, newer schema, or damaged), naming `where`."""
    if not isinstance(raw, dict) or not isinstance(raw.get("schema"), int):
        raise DataError(
            "artifact-foreign", f"{where} has no alignedcut header", "Give an artifact that alignedcut wrote"
        )
    if raw["schema"] > SCHEMA:
        raise DataError(
            "artifact-newer",
            f"{where} has schema {raw['schema']}; this alignedcut {__version__} reads up to {SCHEMA}",
            "Upgrade alignedcut",
        )
    rest = {key: value for key, value in raw.items() if key != "check"}
    if raw.get("check") != _digest_or_none(rest):
        raise DataError(
            "artifact-corrupt", f"{where}: the header does not match its own checksum", "Make the artifact again"
        )
    if fault := _fault(rest):
        raise DataError("artifact-corrupt", f"{where}: the header's {fault} is malformed", "Make the artifact again")
    return Header(rest)


def _fault(raw: Mapping[str, Any]) -> str | None:
    """The first malformed field of a header, ignoring its checksum; None if there is none."""
    if not _has(raw, _FIELDS):
        return next(key for key, kind in _FIELDS.items() if not isinstance(raw.get(key), kind))
    lists = {
        "inputs": raw["inputs"],
        "history": raw["history"],
        "axes": [*raw["axes"].values()],
        "tensors": [*raw["tensors"].values()],
    }
    for axis in lists["axes"]:
        lists |= {key: axis[key] for key in ("images", "slots") if isinstance(axis, dict) and key in axis}
    for name, entries in lists.items():
        if not isinstance(entries, list) or not all(_has(one, _PARTS[name]) for one in entries):
            return name
    numbers = [one for entry in lists["tensors"] for one in entry["shape"]]
    return None if all(type(one) is int for one in numbers) else "tensors"


def _has(value: Any, kinds: Mapping[str, type]) -> bool:
    """Whether a value is an object with fields of these types."""
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())


def axis_faults(header: Header) -> Iterator[str]:
    """Contradictions between the shapes of an artifact's tensors and its axes."""
    sizes = {letter: axis["size"] for letter, axis in header.axes.items()}
    for name, entry in header.raw["tensors"].items():
        letters = entry["axes"].split()
        if len(letters) != len(entry["shape"]):
            yield f"{name} has {len(entry['shape'])} axes, its header names {len(letters)}"
        for letter, size in zip(letters, entry["shape"], strict=False):
            if letter in sizes and sizes[letter] != size:
                yield f"{name} has {size} along {letter}, where the artifact has {sizes[letter]}"
