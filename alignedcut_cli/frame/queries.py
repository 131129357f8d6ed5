"""Text queries, their unit vectors, and the layer of a feature set in the same embedding space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.encoding import read_lines
from alignedcut_cli.brain.tables import json_list
from alignedcut_cli.brain.words import few
from alignedcut_cli.core.groups.unit_rows import unit_rows
from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.store.artifact import map_tensor, read_layout
from alignedcut_cli.store.canonical import digest, file_digest, tensor_digest
from alignedcut_cli.store.files import disk_errors
from alignedcut_cli.store.maps import Map

__all__ = ["Queries", "Reader", "find_layer", "read_queries", "require_fits", "text_reader", "unit"]

Reader = Callable[[list[str]], np.ndarray]
"""From texts to vectors (q, D)."""


@dataclass(frozen=True)
class Queries:
    """Texts and unit vectors (q, D) float32."""

    texts: tuple[str, ...]
    vectors: np.ndarray

    @property
    def identity(self) -> str:
        """The hash of texts and vectors."""
        return digest([list(self.texts), tensor_digest({"vectors": self.vectors})])


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32; zero rows are unchanged."""
    return unit_rows(rows).astype("f4")


def read_queries(option: str, path: Path, reader: Reader | None) -> Queries:
    """The queries of a file: lines of text for `reader`, or safetensors `vectors` with the metadata `queries`.

    Raises InputMissingError, DataError for repeated or no queries, UsageError for lines of text without a text tower.
    """
    with disk_errors(path):
        if not path.is_file():
            raise InputMissingError("queries-missing", f"{option} {path}: there is no such file", "Check the path")
    if path.suffix.lower() == ".safetensors":
        layout = read_layout(path)
        if "vectors" not in layout.offsets or "queries" not in layout.metadata:
            told = f"{path} has no tensor `vectors` with the metadata `queries`"
            raise DataError("queries-unreadable", told, "Save both, or give text with one query a line")
        texts = json_list(path, "queries", layout.metadata["queries"])
        vectors = np.array(map_tensor(layout, "vectors"), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            told = f"{path}: `vectors` {vectors.shape} must be finite, one row for each of {len(texts)} queries"
            raise DataError("queries-unreadable", told, "Save one vector a query")
    else:
        texts = [line.strip() for line in read_lines(path)[0] if line.strip() and not line.lstrip().startswith("#")]
        if reader is None:
            raise UsageError(
                "model-missing",
                f"{option} {path} is text, and --model does not say who reads it",
                "Give the CLIP whose embedding it is, such as --model open_clip:ViT-B-32/openai",
            )
        vectors = reader(texts) if texts else np.zeros((0, 1), "f4")
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice or not texts:
        told = f"{path} has {few(twice)} twice" if twice else f"{path} has no query"
        raise DataError("queries-unreadable", told, "Give each query once, one a line")
    return Queries(tuple(texts), unit(vectors))


def text_reader(
    model: str, weights: Path | None, seed: int, device: str, say: Callable[[str], None]
) -> tuple[Reader, str]:
    """The text tower of a CLIP, and the sha256 of its weights (or `random`). Raises UsageError or UnavailableError."""
    import torch

    from alignedcut_cli.backbones.text import find_text_files, load_language, parse_language

    named = parse_language(model)
    if named.source != "open_clip":
        raise UsageError("no-text-model", f"--model {model!r} is no CLIP", "Give open_clip:ARCH/TAG")
    found = find_text_files(named, weights, seed, say)
    language = load_language(found, seed, torch.device(device))
    identity = file_digest(found.files[0]) if found.files else "random"
    return lambda texts: language.means(texts)[-1].numpy(), identity


def find_layer(name: str, maps: Sequence[Map], wanted: str | None) -> Map:
    """The layer of features/`name` called `wanted`, the last for None. Raises UsageError."""
    if wanted is None:
        return maps[-1]
    found = [one for one in maps if one.name == wanted or wanted in one.duplicates]
    if not found:
        told = ", ".join(one.name for one in maps[-6:])
        raise UsageError("bad-layer", f"features/{name} has no layer {wanted!r}", f"Its last are {told}")
    return found[0]


def require_fits(option: str, queries: Queries, name: str, layer: Map, which: str) -> None:
    """Raise DataError unless vectors have a layer's dimension; `which` is the option that chooses another layer."""
    if layer.projected or queries.vectors.shape[1] != layer.units:
        raise DataError(
            "other-space",
            f"{option} are vectors of {queries.vectors.shape[1]} numbers, {layer.name} of features/{name} has {layer.units}",
            f"Give with {which} the one that shares a space with the text, and with --model its own text tower",
        )
