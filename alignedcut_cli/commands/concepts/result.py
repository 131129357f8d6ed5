"""The content of a concepts artifact: tensors with their meanings and axes, and tables made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.commands.concepts.pixels import SCORES
from alignedcut_cli.core.groups.concept_names import LARGEST_P
from alignedcut_cli.nodes.slots import node_table
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.concepts.data import Readout
    from alignedcut_cli.commands.concepts.groups import Groups
    from alignedcut_cli.commands.concepts.plan import Plan
    from alignedcut_cli.commands.concepts.spheres import Spheres

__all__ = ["MEANINGS", "UNNAMED", "axes", "defined", "name_of", "read", "rows_of", "tables", "tensors"]

UNDEFINED = -2.0
"""Stored for an undefined error, deviation, correlation or score, so that all stored values are finite."""
UNNAMED = "unnamed"
CORRELATIONS = ("as they are", "in units of the slot", "z-scored over the slot")
STABILITY = ("images drawn again", "other first centres")
MEANINGS = {
    "nodes": ("n T", "image, slot, row, col of each node; row = col = -1 for the class token"),
    "concept": ("n", "concept of the slot in whose sphere each node lies, or -1"),
    "centres": ("S K", "node at the centre of each concept, the farthest from those before it; -1 where there is none"),
    "radius": ("S", "radius of the spheres, in the units of the colour space"),
    "members": ("S K", "nodes in each sphere"),
    "examples": ("S K P", "nodes to show of each concept, or -1: nearest to the centre, one an image first"),
    "concept.mean": (
        "S K R",
        "mean over the nodes of a sphere of their brain-space activation, averaged over each ROI",
    ),
    "concept.sd": ("S K R", "its standard deviation over the nodes; -2 for fewer than two"),
    "voxel.mean": ("S K N", "mean over the nodes of a sphere of their brain-space activation v W beta"),
    "voxel.sd": ("S K N", "its standard deviation over the nodes; -2 for fewer than two"),
    "total": ("S Y N", "mean and standard deviation of the same over all patches of a slot"),
    "correlation": ("S K H", "Pearson r over voxels of |mean| with standard deviation; -2 where undefined"),
    "stability": ("S K Z", "mean overlap (IoU) of a concept with its best match; -2 where there is none"),
    "group.mean": ("S G R", "mean over the nodes of a group of their brain-space activation, averaged over each ROI"),
    "group.se": ("S G R", "its standard error over images; -2 for fewer than two"),
    "group.nodes": ("S G", "nodes of each group"),
    "group.images": ("S G", "images that hold the group"),
    "contrast": ("S R", "mean of the foreground - mean of the background"),
    "contrast.se": ("S R", "its standard error over images; -2 for fewer than two"),
    "contrast.voxel": ("S N", "the same contrast for each voxel"),
    "name.word": ("S K", "word that each concept is nearest to, or -1 where it is in all images alike"),
    "name.cosine": ("S K W", "cosine of each concept with each word, in the space of axis W; -2 where undefined"),
    "name.p": (
        "S K",
        "how often the nearest word is as near with the concept permuted over images; -2: undefined",
    ),
    "name.p.holm": ("S K", "the same after Holm over all concepts"),
    "name.same": ("S K", "share of draws of images in which the same word is nearest; -2 where there are none"),
    "vertices": ("N", "vertex of fsaverage of each voxel; those of the left hemisphere come first"),
    "regions": ("R N", "1 where a voxel belongs to an ROI"),
    "similarity": ("Q n", "cosine of each reference patch with every node of the same slot"),
    "separation": (
        "Q S F",
        "how the similarity to a patch tells its side (figure or ground) from the other; -2: undefined",
    ),
}


def tensors(
    plan: Plan,
    readout: Readout,
    groups: Sequence[Groups],
    spheres: Sequence[Spheres],
    pixels: Sequence[Sequence[Any]],
    named: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The arrays of the artifact. `groups` is empty without masks, `named` without words; `pixels` holds (similarity,
    scores) by pixel and slot."""
    tables = [node_table(slot.about, number, len(plan.images)) for number, slot in enumerate(plan.slots)]
    starts = np.cumsum([0, *map(len, tables)])[:-1]
    count = plan.recipe.params["concepts"]
    found = {"nodes": np.concatenate(tables), **_sphere_tensors(spheres, starts, count), **named}
    if groups:
        found |= {
            "group.mean": np.stack([one.mean.float().numpy() for one in groups]),
            "group.se": np.stack([one.se.float().numpy() for one in groups]),
            "group.nodes": np.array([one.nodes for one in groups], np.int64),
            "group.images": np.array([one.images for one in groups], np.int64),
            "contrast": np.stack([one.contrast.float().numpy() for one in groups]),
            "contrast.se": np.stack([one.contrast_se.float().numpy() for one in groups]),
        }
    if readout.vertices is not None:
        found |= {"vertices": readout.vertices, "regions": readout.membership.numpy().astype(np.uint8)}
        by_voxel = [one.by_voxel.numpy() for one in groups if one.by_voxel is not None]
        found |= {"contrast.voxel": np.stack(by_voxel)} if by_voxel else {}
    if pixels:
        found["similarity"] = np.stack([np.concatenate([one for one, _ in row]) for row in pixels]).astype(np.float16)
        if groups:
            found["separation"] = np.array([[scores for _, scores in row] for row in pixels], np.float32)
    filled = {name: 0.0 if name in _MEANS else UNDEFINED for name, array in found.items() if array.dtype.kind == "f"}
    return {name: np.nan_to_num(array, nan=filled[name]) if name in filled else array for name, array in found.items()}


_MEANS = ("group.mean", "contrast", "contrast.voxel", "concept.mean", "voxel.mean")
_UNDEFINED = (
    "group.se", "contrast.se", "concept.sd", "voxel.sd", "correlation", "stability", "separation",
    "name.cosine", "name.p", "name.p.holm", "name.same",
)  # fmt: skip


def read(path: Path) -> tuple[Header, dict[str, np.ndarray]]:
    """The header and tensors of an artifact, with NaN for undefined values: means over no node, and UNDEFINED."""
    header, arrays = load_tensors(path)
    return header, defined(arrays)


def defined(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays, with NaN written into them for undefined values."""
    for name in _UNDEFINED:
        if name in arrays:
            arrays[name][arrays[name] == UNDEFINED] = np.nan
    for name in ("concept.mean", "voxel.mean"):
        arrays[name][arrays["centres"] < 0] = np.nan
    if "group.mean" in arrays:
        arrays["group.mean"][arrays["group.nodes"] == 0] = np.nan
        for name in {"contrast", "contrast.voxel"} & set(arrays):
            arrays[name][(arrays["group.nodes"][:, :2] == 0).any(1)] = np.nan
    return arrays


def _sphere_tensors(spheres: Sequence[Spheres], starts: np.ndarray, count: int) -> dict[str, np.ndarray]:
    def padded(arrays: Sequence[Any], fill: float, dtype: Any) -> np.ndarray:
        whole = [np.asarray(array).astype(dtype) for array in arrays]
        rest = [np.full((count - len(array), *array.shape[1:]), fill, dtype) for array in whole]
        return np.stack([np.concatenate(pair) for pair in zip(whole, rest, strict=True)])

    def nodes(arrays: Sequence[np.ndarray]) -> np.ndarray:
        moved = [np.where(array < 0, -1, array + start) for array, start in zip(arrays, starts, strict=True)]
        return padded(moved, -1, np.int64)

    return {
        "concept": np.concatenate([one.concept for one in spheres]).astype(np.int16),
        "centres": nodes([one.centres for one in spheres]),
        "radius": np.array([one.radius for one in spheres], np.float32),
        "members": padded([one.sizes for one in spheres], 0, np.int64),
        "examples": nodes([one.examples for one in spheres]),
        "concept.mean": padded([one.roi[0] for one in spheres], np.nan, np.float32),
        "concept.sd": padded([one.roi[1] for one in spheres], np.nan, np.float32),
        "voxel.mean": padded([one.voxel[0] for one in spheres], np.nan, np.float32),
        "voxel.sd": padded([one.voxel[1] for one in spheres], np.nan, np.float32),
        "total": np.stack([one.total.float().numpy() for one in spheres]),
        "correlation": padded([one.correlations for one in spheres], np.nan, np.float32),
        "stability": padded([one.stability for one in spheres], np.nan, np.float32),
    }


def axes(plan: Plan, arrays: Mapping[str, np.ndarray], readout: Readout, classes: Sequence[int]) -> dict[str, Any]:
    """The header's axes. n are the nodes of the chosen slots, M of other artifacts being those of the whole cut."""
    params = plan.recipe.params
    named = [params["names"].get(str(one), f"class {one}") for one in classes]
    groups = ["foreground", "background", *named] if "contrast" in arrays else []
    found = {
        "n": {"size": len(arrays["nodes"])},
        "T": {"size": 4, "labels": ["image", "slot", "row", "col"]},
        "B": {"size": len(plan.images), "images": list(plan.images)},
        "S": {"size": len(plan.slots), "slots": [slot.about for slot in plan.slots]},
        "K": {"size": params["concepts"]},
        "P": {"size": params["examples"]},
        "R": {"size": len(readout.rois), "labels": list(readout.rois)},
        "N": dict(plan.alignment.header.axes["N"]),
        "Y": {"size": 2, "labels": ["mean", "standard deviation"]},
        "H": {"size": len(CORRELATIONS), "labels": list(CORRELATIONS)},
        "Z": {"size": len(STABILITY), "labels": list(STABILITY)},
    }
    if groups:
        found["G"] = {"size": len(groups), "labels": groups}
    if plan.naming:
        words = list(plan.naming.words.texts)
        found["W"] = {"size": len(words), "labels": words, "space": plan.naming.space}
    if "separation" in arrays:
        found["F"] = {"size": len(SCORES), "labels": list(SCORES)}
    if plan.pixels:
        found["Q"] = {
            "size": len(plan.pixels),
            "pixels": [[plan.images[one.image]["path"], one.row, one.column] for one in plan.pixels],
        }
    return found


# tables


def tables(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The names of the tables that an artifact has."""
    return [name for name, (_, tensor) in _TABLES.items() if tensor in arrays]


def rows_of(table: str, header: Header, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The rows of one table, all with the same keys, None where undefined; no rows if the artifact lacks the table."""
    make, tensor = _TABLES[table]
    return list(make(header, arrays)) if tensor in arrays else []


def _slot(header: Header, number: int) -> dict[str, Any]:
    slot = header.axes["S"]["slots"][number]
    return {"model": slot["model"], "tap": slot["tap"], "layer": slot["layer"]}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _group_rows(header: Header, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for slot, group, roi in np.ndindex(arrays["group.mean"].shape):
        yield {
            **_slot(header, slot),
            "group": header.axes["G"]["labels"][group],
            "nodes": int(arrays["group.nodes"][slot, group]),
            "images": int(arrays["group.images"][slot, group]),
            "roi": header.axes["R"]["labels"][roi],
            "mean": _number(arrays["group.mean"][slot, group, roi]),
            "se": _number(arrays["group.se"][slot, group, roi]),
        }


def _contrast_rows(header: Header, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for slot, roi in np.ndindex(arrays["contrast"].shape):
        yield {
            **_slot(header, slot),
            "roi": header.axes["R"]["labels"][roi],
            "contrast": _number(arrays["contrast"][slot, roi]),
            "se": _number(arrays["contrast.se"][slot, roi]),
        }


def _there(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[int, int]]:
    """The (slot, concept) pairs that exist."""
    yield from ((int(slot), int(concept)) for slot, concept in np.argwhere(arrays["centres"] >= 0))


def _concept_rows(header: Header, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for slot, concept in _there(arrays):
        for roi, label in enumerate(header.axes["R"]["labels"]):
            yield {
                **_slot(header, slot),
                "concept": concept,
                "nodes": int(arrays["members"][slot, concept]),
                "roi": label,
                "mean": _number(arrays["concept.mean"][slot, concept, roi]),
                "sd": _number(arrays["concept.sd"][slot, concept, roi]),
            }


def _correlation_rows(header: Header, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for slot, concept in _there(arrays):
        image, _, row, column = arrays["nodes"][arrays["centres"][slot, concept]].tolist()
        own, unit, scored = arrays["correlation"][slot, concept]
        images, seeds = arrays["stability"][slot, concept]
        yield {
            **_slot(header, slot),
            "concept": concept,
            "nodes": int(arrays["members"][slot, concept]),
            "radius": float(arrays["radius"][slot]),
            "image": header.axes["B"]["images"][image]["path"],
            "row": row,
            "col": column,
            "r": _number(own),
            "r.units": _number(unit),
            "r.z": _number(scored),
            "stability.images": _number(images),
            "stability.seeds": _number(seeds),
        }


def name_of(header: Header, arrays: Mapping[str, np.ndarray], slot: int, concept: int) -> str:
    """The word that names a concept, or `unnamed` if it is not significant."""
    named = arrays["name.p.holm"][slot, concept] <= LARGEST_P
    return header.axes["W"]["labels"][arrays["name.word"][slot, concept]] if named else UNNAMED


def _name_rows(header: Header, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for slot, concept in _there(arrays):
        word = int(arrays["name.word"][slot, concept])
        yield {
            **_slot(header, slot),
            "concept": concept,
            "name": name_of(header, arrays, slot, concept),
            "word": header.axes["W"]["labels"][word] if word >= 0 else None,
            "cosine": _number(arrays["name.cosine"][slot, concept, word]) if word >= 0 else None,
            "p": _number(arrays["name.p"][slot, concept]),
            "p.holm": _number(arrays["name.p.holm"][slot, concept]),
            "same": _number(arrays["name.same"][slot, concept]),
        }


def _pixel_rows(header: Header, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for pixel, (image, row, column) in enumerate(header.axes["Q"]["pixels"]):
        for slot, scores in enumerate(arrays["separation"][pixel]):
            given = dict(zip(header.axes["F"]["labels"], map(_number, scores), strict=True))
            yield {"image": image, "row": row, "col": column, **_slot(header, slot), **given}


_TABLES: dict[str, tuple[Callable[..., Iterator[dict[str, Any]]], str]] = {
    "concepts": (_concept_rows, "concept.mean"),
    "correlations": (_correlation_rows, "correlation"),
    "names": (_name_rows, "name.word"),
    "groups": (_group_rows, "group.mean"),
    "contrasts": (_contrast_rows, "contrast"),
    "pixels": (_pixel_rows, "separation"),
}
