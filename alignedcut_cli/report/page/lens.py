"""A lens: cuts of the same photographs shown side by side, and their nodes on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.store.header import Header

__all__ = ["Lens", "Part", "View"]


@dataclass(frozen=True)
class View:
    """A value per shown node of a lens, drawn on the photographs.

    kind `colours`: values (n, 3) uint8. kind `labels`: values (n,) int, -1 for none, with `names` and `palette`
    (k, 3) uint8. kind `map`: values (n, 2) float32. `there` (n,) bool are the nodes that have a value, None for all.
    """

    kind: str
    title: str
    values: np.ndarray
    names: Sequence[str] = ()
    palette: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    there: np.ndarray | None = None

    def joined(self, other: View) -> View | None:
        """One view of both, if they have the same kind and title and no node in common; else None."""
        if (self.kind, self.title) != (other.kind, other.title) or self.there is None or other.there is None:
            return None
        if (self.there & other.there).any():
            return None
        mine = self.there.reshape(-1, *[1] * (self.values.ndim - 1))
        return replace(self, values=np.where(mine, self.values, other.values), there=self.there | other.there)


@dataclass(frozen=True)
class Part:
    """One cut of a lens, with the chosen photographs (ascending indices into the cut's images)."""

    cut: Header
    images: tuple[int, ...]

    @property
    def slots(self) -> Sequence[Mapping[str, Any]]:
        return self.cut.axes["S"]["slots"]

    @property
    def total(self) -> int:
        """Number of photographs of the cut."""
        return self.cut.axes["B"]["size"]

    @property
    def graphs(self) -> list[int]:
        """The graph of each slot: only nodes of the same graph can be compared by their eigenvectors."""
        several = self.cut.axes["G"]["size"] > 1
        return [number if several else 0 for number in range(len(self.slots))]

    @cached_property
    def starts(self) -> list[int]:
        """The first node of each slot."""
        return np.cumsum([0, *(self.total * tokens(slot) for slot in self.slots)]).tolist()

    @cached_property
    def rows(self) -> np.ndarray:
        """The nodes shown: the patches of the chosen photographs, slot by slot, image by image, (n,) int64."""
        return np.concatenate(
            [start + patch_rows(slot, self.images) for start, slot in zip(self.starts, self.slots, strict=False)]
        )


def tokens(slot: Mapping[str, Any]) -> int:
    return slot["grid"][0] * slot["grid"][1] + slot["class_token"]


def patch_rows(slot: Mapping[str, Any], images: Sequence[int]) -> np.ndarray:
    """The indices of some images' patches among the nodes of their slot, without class tokens: (images * patches,) int64."""
    patches = np.arange(slot["class_token"], tokens(slot))
    return (np.asarray(images, np.int64)[:, None] * tokens(slot) + patches).reshape(-1)


@dataclass(frozen=True)
class Lens:
    """Cuts shown side by side. `about` says in words what can be compared."""

    name: str
    about: str
    parts: tuple[Part, ...]

    @property
    def images(self) -> tuple[int, ...]:
        return self.parts[0].images

    @property
    def nodes(self) -> int:
        return sum(len(part.rows) for part in self.parts)

    @property
    def nodes_an_image(self) -> int:
        return sum(slot["grid"][0] * slot["grid"][1] for part in self.parts for slot in part.slots)

    def slot_objects(self) -> list[dict[str, Any]]:
        """The slots for the page: description, grid, first shown node, and graph of each."""
        found, start, graph = [], 0, 0
        for part in self.parts:
            for slot, own in zip(part.slots, part.graphs, strict=True):
                rows, columns = slot["grid"]
                about = {"model": slot["model"], "tap": slot["tap"], "layer": layer_name(slot)}
                found.append({**about, "rows": rows, "cols": columns, "start": start, "graph": graph + own})
                start += len(part.images) * rows * columns
            graph += part.graphs[-1] + 1
        return found

    def gathered(self, values: Mapping[int, np.ndarray], fill: Any) -> np.ndarray:
        """Values of the shown nodes of some parts, by part number, and `fill` for the other parts: (n, ...)."""
        like = next(iter(values.values()))
        blank = [np.full((len(part.rows), *like.shape[1:]), fill, like.dtype) for part in self.parts]
        return np.concatenate([values.get(number, blank[number]) for number in range(len(self.parts))])
