"""The inputs of concept names: words and embeddings of the images in a joint space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.concepts.asked import Asked
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Header, Input

if TYPE_CHECKING:
    import numpy as np

    from alignedcut_cli.frame.queries import Queries

__all__ = ["Naming", "read_naming"]

SERVES = {"--embeddings", "--embeddings-layer", "--model", "--weights"}


@dataclass(frozen=True, eq=False)
class Naming:
    """Words, and the unit embeddings (B, D) float32 of the images in their joint space, called `space`."""

    given: Input
    parent: Header
    space: str
    words: Queries
    embeddings: np.ndarray
    params: Mapping[str, Any]
    external: Mapping[str, str]

    def need(self, concepts: int) -> int:
        """Bytes of main memory to name `concepts` concepts: embeddings, words, their products, and the null."""
        from alignedcut_cli.core.groups.concept_names import orders_needed

        (images, width), words = self.embeddings.shape, len(self.words.texts)
        null = orders_needed(concepts) * (images + concepts)
        return 8 * (3 * images * width + 3 * words * width + 3 * images * words + null)


def read_naming(frame: Frame, asked: Asked, images: Sequence[Mapping[str, Any]]) -> Naming | None:
    """The words and embeddings of --words; None without it. Raises UsageError, DataError or InputMissingError."""
    _require_used(asked)
    if asked.words is None:
        return None
    import numpy as np

    from alignedcut_cli.frame.queries import find_layer, read_queries, require_fits, text_reader, unit
    from alignedcut_cli.store.maps import read_maps

    name = frame.project.parse(str(asked.embeddings), "features")[1]
    given, parent = frame.project.input("embeddings", "features", name)
    there = read_maps(frame.features(name))
    layer = find_layer(name, there.maps, asked.embeddings_layer)
    places = _places(name, there.images, images)
    reader, weights = None, None
    if asked.model:
        reader, weights = text_reader(asked.model, asked.weights, asked.seed, "cpu", frame.output.note)
    words = read_queries("--words", asked.words, reader)
    require_fits("--words", words, name, layer, "--embeddings-layer")
    if len(words.texts) < 2:
        raise DataError("words-few", f"{asked.words} has one word, and the nearest is asked for", "Give two or more")
    external = {"words": words.identity, **({"text": weights} if weights else {})}
    params = {"embeddings": name, "layer": layer.name, "model": asked.model}
    embeddings = unit(np.array(there.matrix(layer.number), "f4")[places])
    return Naming(given, parent, f"{layer.name} of features/{name}", words, embeddings, params, external)


def _require_used(asked: Asked) -> None:
    """Raise UsageError for options given without the one that they modify, and for --words without embeddings."""
    given = sorted(asked.explicit & SERVES)
    if asked.words is None:
        if given:
            raise UsageError(
                "option-unused", f"{', '.join(given)} serves --words alone", "Give --words, or leave it out"
            )
        return
    if asked.embeddings is None:
        raise UsageError(
            "embeddings-missing",
            "--words needs --embeddings, the images' embeddings in the words' space",
            "Make them with alignedcut extract --model open_clip:ARCH/TAG --tap maps --modules visual",
        )
    if asked.model is not None and asked.words.suffix.lower() == ".safetensors":
        told = f"--words {asked.words} holds vectors, which --model does not read"
        raise UsageError("option-unused", told, "Leave out --model, or give words one a line")
    if asked.weights is not None and asked.model is None:
        raise UsageError("option-unused", "--weights are those of --model, which is not given", "Give both")


def _places(name: str, there: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]]) -> list[int]:
    """The index of each image of the coloring in a feature set: the same path and, where both are known, content."""
    by_path = {image["path"]: place for place, image in enumerate(there)}
    places = [by_path.get(image["path"], -1) for image in images]
    lacking = [
        image["path"]
        for image, place in zip(images, places, strict=True)
        if place < 0 or there[place].get("sha256", image["sha256"]) != image["sha256"]
    ]
    if lacking:
        told = f"features/{name} lacks {len(lacking)} of the {len(images)} images, such as {lacking[0]}"
        raise DataError("other-images", told, "Extract the embeddings of the same images")
    return places
