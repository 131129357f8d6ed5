"""The data model of the page's script: photographs, and for each lens slots, codes, views and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alignedcut_cli.commands.report.plan import Group
from alignedcut_cli.commands.report.spaces import AlignedRows, aligned_code
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.report.page.codes import cosine_cost, pack, quantised
from alignedcut_cli.report.page.kinds.concepts import group_means
from alignedcut_cli.report.page.kinds.kind import Given
from alignedcut_cli.report.page.lens import Lens, Part, View
from alignedcut_cli.report.page.pictures import data_uri, thumbnail, thumbnail_side
from alignedcut_cli.report.page.registry import REGISTRY

__all__ = ["Built", "build_lens", "image_objects", "lens_of"]


@dataclass(frozen=True)
class Built:
    """A lens for the page, its largest errors of cosines, and the colours (n, 3) of its nodes, if any."""

    value: dict[str, Any]
    costs: Mapping[str, float]
    rgb: np.ndarray | None


def lens_of(group: Group, images: Sequence[int]) -> Lens:
    shown = tuple(sorted(images))
    return Lens(group.name, group.about, tuple(Part(cut, shown) for cut in group.cuts))


def build_lens(group: Group, images: Sequence[int], given: Mapping[str, Given], rows: AlignedRows | None) -> Built:
    """A group of cuts on some photographs, encoded for the page."""
    lens = lens_of(group, images)
    codes = [_eigenvectors(lens, group, given), *([aligned_code(lens, rows)] if rows else [])]
    views = _views(lens, given)
    colours = next((view.values for view in views if view.kind == "colours"), None)
    means = [found for one in given.values() if one.header.kind == "concepts" and (found := group_means(one))]
    value = {
        "name": lens.name,
        "about": lens.about,
        "joint": group.joint,
        "nodes": lens.nodes,
        "slots": lens.slot_objects(),
        "codes": codes,
        "views": [_view(view) for view in views if view.kind != "map"],
        "maps": [_map(view) for view in sorted(views, key=_order) if view.kind == "map"][:1],
        "groups": means[0] if means else None,
    }
    costs = {space["name"]: space["cost"] for code in codes for space in code["spaces"]}
    return Built(value, costs, colours)


def _views(lens: Lens, given: Mapping[str, Given]) -> list[View]:
    """The views of all artifacts: those of different cuts of the lens merged, others with equal titles made distinct."""
    found: list[View] = []
    for one in given.values():
        for view in REGISTRY[one.header.kind].views(one, lens):
            titles = [there.title for there in found]
            if view.title not in titles:
                found.append(view)
                continue
            place = titles.index(view.title)
            whole = found[place].joined(view)
            if whole is None:
                found.append(replace(view, title=f"{view.title} of {one.reference}"))
            else:
                found[place] = whole
    return found


def _order(view: View) -> bool:
    """Sorts two-dimensional maps, from `trace`, before the first two of three dimensions."""
    return not view.title.startswith("trace/")


def _eigenvectors(lens: Lens, group: Group, given: Mapping[str, Given]) -> dict[str, Any]:
    """The eigenvectors of the shown nodes, each column scaled within its graph."""
    count = min(part.cut.axes["C"]["size"] for part in lens.parts)
    data = np.empty((count, lens.nodes), np.int8)
    scales, costs, start = [], [], 0
    for part in lens.parts:
        rows = np.asarray(given[f"cut/{part.cut.name}"].arrays["eigenvectors"][part.rows])[:, :count]
        for block in _graphs(part, rows):
            code = quantised(block)
            data[:, start : start + len(block)] = code.data
            start += len(block)
            scales.append(code.scale)
            costs.append(cosine_cost(block, code.rows()))
    name = f"eigenvectors of {group.name}" if group.joint else "eigenvectors"
    return {
        "columns": count,
        "graphs": len(scales),
        "shared": False,
        "scale": np.concatenate(scales).tolist(),
        "data": pack(data),
        "lengths": None,
        "areas": None,
        "spaces": [{"name": name, "metric": None, "cost": round(max(costs), 4)}],
    }


def _graphs(part: Part, rows: np.ndarray) -> list[np.ndarray]:
    """The rows of each graph of a part: of each slot, or all in one."""
    if part.graphs[-1] == 0:
        return [rows]
    sizes = [len(part.images) * slot["grid"][0] * slot["grid"][1] for slot in part.slots]
    return np.split(rows, np.cumsum(sizes)[:-1])


def _view(view: View) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": view.kind, "title": view.title}
    if view.kind == "colours":
        return {**found, "data": pack(view.values.T.astype(np.uint8))}
    return {
        **found,
        "names": list(view.names),
        "palette": view.palette.tolist(),
        "data": pack(view.values.astype(np.int16)),
    }


def _map(view: View) -> dict[str, Any]:
    """Coordinates scaled to 0..1 on both axes, in 65,535 steps."""
    low, high = np.nanmin(view.values, 0), np.nanmax(view.values, 0)
    unit = (view.values - low) / np.where(high > low, high - low, 1)
    return {"title": view.title, "data": pack(np.rint(np.nan_to_num(unit.T) * 65534).astype(np.uint16))}


def image_objects(images: Sequence[Mapping[str, Any]], shown: Sequence[int], photos: Photos) -> list[dict[str, Any]]:
    """The photographs for the page: name, thumbnail and its size; an empty square for a missing one."""
    side = thumbnail_side(len(shown))
    found = []
    for number in sorted(shown):
        photo = photos(number)
        small = thumbnail(photo, side) if photo else None
        found.append(
            {
                "name": images[number]["path"],
                "number": number,
                "width": small.width if small else side,
                "height": small.height if small else side,
                "thumb": data_uri(small, "JPEG") if small else None,
            }
        )
    return found
