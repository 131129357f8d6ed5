"""The slots of a cut: layers of feature sets, and their nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.config import parse_layers
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.maps import MAP_TAPS

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Slot",
    "find_slots",
    "joined",
    "layer_name",
    "node_table",
    "node_tables",
    "require_same_images",
    "tokens_of",
]

TABLE_NODES = 1 << 20
"""Nodes whose places are made at a time."""


@dataclass(frozen=True)
class Slot:
    """One slot of one feature set; `transform` names the tensor of its transform, unless the cut is in raw space."""

    source: FeatureSet
    layer: int
    about: dict[str, Any]
    transform: str | None = None

    @property
    def name(self) -> str:
        return f"features/{self.source.folder.name}, layer {self.layer}"

    @property
    def tokens(self) -> int:
        """Number of nodes per image."""
        return tokens_of(self.about)

    @property
    def nodes(self) -> int:
        return len(self.source.images) * self.tokens

    @property
    def tensor(self) -> str:
        """The name of the tensor that holds all its tokens."""
        return f"tokens.{self.layer:02d}"

    @property
    def pooled(self) -> str:
        """The name of the tensor that holds the mean of each image's tokens."""
        return f"pooled.{self.layer:02d}"

    def require_tokens(self) -> None:
        """Raise DataError unless all tokens are stored, by the headers."""
        self.source.require(self.tensor)

    def blocks(self) -> list[np.ndarray]:
        return self.source.blocks(self.tensor)


def tokens_of(about: Mapping[str, Any]) -> int:
    """The nodes per image of what is said of a slot."""
    rows, columns = about["grid"]
    return rows * columns + about["class_token"]


def find_slots(features: FeatureSet, layers: str) -> list[Slot]:
    """The slots of a feature set selected by `--layers`. Raises DataError for a set of maps, which has no tokens."""
    if features.header.params.get("tap") in MAP_TAPS:
        features.require("tokens")
    there = {slot["layer"]: slot for slot in features.slots}
    wanted = list(there) if layers == "all" else parse_layers(layers, max(there) + 1)
    for layer in wanted:
        if layer not in there:
            told = ", ".join(map(str, there))
            raise UsageError("bad-layers", f"{features.folder.name} has no layer {layer}", f"It has layers {told}")
    return [Slot(features, layer, dict(there[layer])) for layer in wanted]


def layer_name(slot: Mapping[str, Any]) -> str:
    """A slot's layer, or the layers that it joins: `3`, `0-11`, `0,2,5`."""
    layers = slot.get("layers") or [slot["layer"]]
    whole = len(layers) > 1 and list(range(layers[0], layers[-1] + 1)) == layers
    return f"{layers[0]}-{layers[-1]}" if whole else ",".join(map(str, layers))


def require_same_images(names: Sequence[str], parents: Sequence[Header]) -> None:
    """Raise DataError unless all feature sets were extracted from the same images in the same order."""
    for name, header in zip(names[1:], parents[1:], strict=True):
        if header.raw["external"]["manifest"] != parents[0].raw["external"]["manifest"]:
            raise DataError(
                "other-images",
                f"features/{name} and features/{names[0]} were extracted from different images",
                "Extract both from the same images in the same order",
            )


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The concatenated arrays, without a copy if there is only one; read as they are needed if one is `JoinedRows`."""
    import numpy as np

    from alignedcut_cli.store.joined import JoinedRows

    if len(parts) == 1:
        return parts[0]
    if any(isinstance(part, JoinedRows) for part in parts):
        return cast("np.ndarray", JoinedRows(parts.__getitem__, [len(part) for part in parts]))
    return np.concatenate(parts)


def node_tables(slots: Sequence[Mapping[str, Any]], images: int) -> np.ndarray:
    """The concatenated node tables of several slots, each made for some images as they are read."""
    from alignedcut_cli.store.joined import JoinedRows

    pieces = [
        (about, number, first, min(first + step, images))
        for number, about in enumerate(slots)
        for step in [max(1, TABLE_NODES // tokens_of(about))]
        for first in range(0, images, step)
    ]
    lengths = [tokens_of(about) * (stop - first) for about, _, first, stop in pieces]

    def piece(place: int) -> np.ndarray:
        about, number, first, stop = pieces[place]
        return node_table(about, number, stop - first, first)

    return cast("np.ndarray", JoinedRows(piece, lengths))


def node_table(slot: Mapping[str, Any], number: int, images: int, first: int = 0) -> np.ndarray:
    """(image, slot, row, col) of the nodes of one slot, of some images from `first`: (images * P, 4) int32."""
    import numpy as np

    rows, columns = slot["grid"]
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    places = np.array(([(-1, -1)] if slot["class_token"] else []) + cells, np.int32)  # (P, 2)
    image = np.repeat(np.arange(first, first + images, dtype=np.int32), len(places))[:, None]
    return np.hstack([image, np.full_like(image, number), np.tile(places, (images, 1))])
