"""Maps: summaries of every module's output, one shard per map, and the reader of maps from any feature set.

A set of maps is stored in `features/NAME` as every feature set; its `params.tap` is `maps`, or `captions` for the hidden
states of a language model. The index's axis B holds the images; its axis S one slot per map, in the order in which
modules finish, with

    model, layer (the map's number), tap, name (as in `named_modules`; `NAME@2` for a second call in one forward pass,
    `NAME-1` for the second of several outputs), kind (the module's class), shape (of one image's map), units (D, their
    product), projected (d, or 0 where the map is stored whole), duplicates (names of maps with exactly its values)

Shard `NNNNN-of-MMMMM.safetensors` holds, with the map's number in three or more digits,

    gram.NNN    (n, n) float64   G = F F^T over the images, F (n, D) the map with one row per image
    sums.NNN    (n,)   float64   F 1
    matrix.NNN  (n, d) float32   X = F P^T, the sparse random projection of Li et al. 2006; F itself where D <= d
    raw.NNN     (n, D) float32   F, only with `--keep raw`

From G, sums and D follow the Pearson, cosine and Euclidean distances of the whole map, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.features import FeatureSet

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MAP_TAPS", "Map", "MapSet", "map_meanings", "map_tensors", "read_maps"]

MAP_TAPS = ("maps", "captions")
"""The taps of feature sets that hold maps: vision models' modules, language models' layers."""


@dataclass(frozen=True)
class Map:
    """The description of a map. `depth` is its position in the model, from 0 (first) to 1 (last)."""

    number: int
    model: str
    name: str
    kind: str
    shape: tuple[int, ...]
    units: int
    projected: int
    duplicates: tuple[str, ...]
    depth: float


class MapSet:
    """The maps of a feature set, read one at a time from mapped shards, which are verified before the first read."""

    def __init__(self, features: FeatureSet) -> None:
        self.features = features
        slots = features.slots
        last = max(1, len(slots) - 1)
        self.maps = tuple(_map_of(number, slot, number / last) for number, slot in enumerate(slots))

    @property
    def images(self) -> Sequence[Mapping[str, Any]]:
        """The images in the order of all rows: each has a `path`, most a `sha256`."""
        return self.features.images

    def gram(self, number: int) -> np.ndarray:
        """G = F F^T of a whole map: (n, n) float64."""
        return self._tensor("gram", number)

    def sums(self, number: int) -> np.ndarray:
        """The sum over the D units of a map, per image: (n,) float64."""
        return self._tensor("sums", number)

    def matrix(self, number: int) -> np.ndarray:
        """X, the map projected to d dimensions, or the map itself where D <= d: (n, d) float32, mapped read-only."""
        return self._tensor("matrix", number)

    def raw(self, number: int) -> np.ndarray:
        """F, the map itself: (n, D) float32, mapped read-only. Raises DataError unless it was kept."""
        return self._tensor("matrix" if not self.maps[number].projected else "raw", number)

    def _tensor(self, what: str, number: int) -> np.ndarray:
        name = f"{what}.{number:03d}"
        self.features.require(name)
        (block,) = self.features.blocks(name)
        return block


class _PooledSet(MapSet):
    """An ordinary feature set read as maps: the mean over tokens of each layer, D = its channels."""

    def gram(self, number: int) -> np.ndarray:
        import torch  # numpy's own threads would wait for work at full speed beside torch's

        rows = torch.from_numpy(self.matrix(number)).double()
        return (rows @ rows.T).numpy()

    def sums(self, number: int) -> np.ndarray:
        return self.matrix(number).sum(1, dtype="<f8")

    def matrix(self, number: int) -> np.ndarray:
        import numpy as np

        return np.concatenate(self.features.blocks(f"pooled.{self.features.slots[number]['layer']:02d}"))


def read_maps(features: FeatureSet) -> MapSet:
    """The maps of a feature set of any tap; for a set of tokens, each layer's mean over tokens.

    Raises DataError for an index whose slots lack the fields of maps.
    """
    try:
        return (MapSet if features.header.params.get("tap") in MAP_TAPS else _PooledSet)(features)
    except (KeyError, TypeError, ValueError):
        told = f"{features.folder} has slots that are no maps"
        raise DataError("artifact-corrupt", told, "Make the feature set again") from None


def _map_of(number: int, slot: Mapping[str, Any], depth: float) -> Map:
    if "name" in slot:
        shape, units = tuple(int(side) for side in slot["shape"]), int(slot["units"])
        known = {"name": str(slot["name"]), "kind": str(slot["kind"]), "projected": int(slot["projected"])}
        duplicates = tuple(map(str, slot["duplicates"]))
    else:
        shape, units = (int(slot["width"]),), int(slot["width"])
        known = {"name": f"{slot['tap']}.{slot['layer']:02d}", "kind": "mean over tokens", "projected": 0}
        duplicates = ()
    return Map(number, str(slot["model"]), shape=shape, units=units, duplicates=duplicates, depth=depth, **known)


def map_tensors(
    number: int, gram: np.ndarray, sums: np.ndarray, matrix: np.ndarray, raw: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The tensors of a map's shard, by name."""
    parts = {"gram": gram, "sums": sums, "matrix": matrix, **({} if raw is None else {"raw": raw})}
    return {f"{what}.{number:03d}": array for what, array in parts.items()}


def map_meanings(number: int, name: str) -> dict[str, tuple[str, str]]:
    """(shape axes, meaning) of every tensor of a map's shard."""
    told = {
        "gram": ("B B", f"products over the units of {name} between images, F F^T"),
        "sums": ("B", f"sum over the units of {name}"),
        "matrix": ("B d", f"{name} after sparse random projection, or as it is where that is no larger"),
        "raw": ("B D", f"{name}, one row an image"),
    }
    return {f"{what}.{number:03d}": meaning for what, meaning in told.items()}
