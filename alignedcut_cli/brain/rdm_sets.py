"""Ready-made RDMs: npz or safetensors files of symmetric matrices, one per subject, in place of responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alignedcut_cli.brain.npz import open_npz
from alignedcut_cli.brain.tables import json_list
from alignedcut_cli.brain.words import few
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.artifact import map_tensor, read_layout
from alignedcut_cli.store.canonical import digest, tensor_digest

__all__ = ["Rdms", "holds_rdms", "read_rdms"]

RDMS = "rdms"
_ROUNDING = 1e-5
_MOST = 4096
Shapes = Mapping[str, tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class Rdms:
    """Representational dissimilarities between n images in subjects' brains.

    regions    {name: (subjects' names, (s, n, n) float64 symmetric, 0 on the diagonal)}
    images     the image of each row; None where the file does not name them
    files      their paths, none of which is known
    notes      what is missing or unusual, one line each
    identity   64 hex digits: the content
    """

    regions: Mapping[str, tuple[tuple[str, ...], np.ndarray]]
    images: tuple[str, ...] | None
    notes: tuple[str, ...]
    identity: str

    @property
    def size(self) -> int:
        """n, the number of images."""
        return next(iter(self.regions.values()))[1].shape[-1]

    @property
    def files(self) -> tuple[Path | None, ...]:
        return (None,) * self.size


def holds_rdms(path: Path) -> bool:
    """Whether a file holds RDMs, not responses, by its headers: `rdms`, or no responses and some (…, n, n)."""
    if path.suffix.lower() == ".npz":
        with open_npz(path) as archive:
            shapes = {name: (header.shape, header.dtype.kind) for name, header in archive.headers.items()}
    elif path.suffix.lower() == ".safetensors":
        shapes = {name: (shape, dtype[1]) for name, (dtype, shape, _) in read_layout(path).offsets.items()}
    else:
        return False
    return RDMS in shapes or (not shapes.keys() & {"responses", "repeats"} and bool(_matrices(shapes)))


def _matrices(shapes: Shapes) -> list[str]:
    """The arrays of three or more axes whose last two are equal, or `rdms`."""
    return [
        name
        for name, (shape, kind) in shapes.items()
        if kind == "f" and len(shape) >= (2 if name == RDMS else 3) and shape[-1] == shape[-2] > 2
    ]


def read_rdms(path: Path) -> Rdms:
    """The RDMs of a file: every array (subjects, n, n) is a region; more axes, such as sessions, are regions NAME.1, ...

    `images` name the rows; `names`, or `PART_names` for `PART_...`, the subjects. Raises DataError for matrices that
    are not RDMs, or of different images.
    """
    arrays, names = _read_npz(path) if path.suffix.lower() == ".npz" else _read_safetensors(path)
    notes: list[str] = []
    regions: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for key, array in arrays.items():
        found = _checked(path, key, array)
        subjects = found.shape[0] if found.ndim > 2 else 1
        middle = math.prod(found.shape[1:-2])
        if subjects * middle > _MOST:
            raise DataError("rdms-many", f"{path}: {key} holds {subjects * middle} RDMs", f"Give at most {_MOST}")
        parts = found.reshape(subjects, middle, *found.shape[-2:])
        called = _subject_names(key, subjects, names)
        for part in range(middle):
            regions[key if middle == 1 else f"{key}.{part + 1}"] = called, parts[:, part]
    sizes = {rdms.shape[-1] for _, rdms in regions.values()}
    if len(sizes) != 1:
        raise DataError(
            "rdms-sizes", f"{path} holds RDMs of {few(sorted(sizes))} images", "Give those of one image set"
        )
    images = names.get("images")
    if images is not None and (len(images) != min(sizes) or len(set(images)) < len(images)):
        raise DataError("image-count", f"{path} names {len(set(images))} images for {min(sizes)}", "Name each once")
    tensors = {name: rdms for name, (_, rdms) in regions.items()}
    called = {name: list(subjects) for name, (subjects, _) in regions.items()}
    return Rdms(
        regions,
        None if images is None else tuple(images),
        tuple(notes),
        digest([images, called, tensor_digest(tensors)]),
    )


def _subject_names(key: str, count: int, names: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """`names` for `rdms`, PART_names for PART_...; else numbers from 1."""
    for known in ("names", f"{key}_names", f"{key.split('_')[0]}_names"):
        if len(names.get(known, ())) == count == len(set(names[known])):
            return tuple(names[known])
    return tuple(str(number + 1) for number in range(count))


def _checked(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """The RDMs as float64, exactly symmetric and 0 on the diagonal."""
    found = np.array(array, np.float64)
    size = np.nanmax(np.abs(found), initial=0.0)
    turned = np.swapaxes(found, -1, -2)
    diagonal = np.diagonal(found, axis1=-2, axis2=-1)
    if np.isinf(found).any() or not np.isfinite(size):
        fault = "are infinite"
    elif not np.allclose(found, turned, rtol=0, atol=_ROUNDING * size, equal_nan=True):
        fault = "are not symmetric"
    elif not (np.nan_to_num(np.abs(diagonal)) <= _ROUNDING * size).all():
        fault = "are not 0 on the diagonal"
    else:
        found = (found + turned) / 2
        places = np.arange(found.shape[-1])
        found[..., places, places] = 0
        return found
    raise DataError("rdms-invalid", f"{path}: {key} {found.shape} holds matrices that {fault}", "Give distances")


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    with open_npz(path) as archive:
        shapes = {name: (header.shape, header.dtype.kind) for name, header in archive.headers.items()}
        texts = [name for name, (shape, kind) in shapes.items() if kind in "US" and len(shape) == 1]
        return _only(shapes, archive.numbers), {name: archive.text(name) for name in texts}


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    layout = read_layout(path)
    shapes = {name: (shape, dtype[1]) for name, (dtype, shape, _) in layout.offsets.items()}
    texts = [key for key in layout.metadata if key in ("names", "images") or key.endswith("_names")]
    return (
        _only(shapes, lambda name: map_tensor(layout, name)),
        {key: json_list(path, key, layout.metadata[key]) for key in texts},
    )


def _only(shapes: Shapes, read: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    """`rdms` alone if present, else all arrays that may be RDMs."""
    return {name: read(name) for name in ([RDMS] if RDMS in _matrices(shapes) else _matrices(shapes))}
