"""Codes of the shown patches in aligned and brain space, and the read-out of areas from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from alignedcut_cli.brain.rois import GROUPS
from alignedcut_cli.core.groups.activations import roi_readout
from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.slots import Slot, find_slots
from alignedcut_cli.nodes.spaces import Alignment, aligned_space, brain_axes, comparable_slots, open_transforms
from alignedcut_cli.report.page.codes import Code, cosine_cost, directions, pack, quantised
from alignedcut_cli.report.page.lens import Lens, Part, patch_rows
from alignedcut_cli.store.artifact import map_tensors
from alignedcut_cli.store.header import Header

__all__ = ["RANK", "AlignedRows", "aligned_code", "aligned_rows"]

RANK = 24
TILE = 1 << 14
STEPS = 255
ALL = "all"


@dataclass(frozen=True)
class AlignedRows:
    """Rows V W of a lens's nodes: the slots of each part with their transforms, and the alignment."""

    alignment: Alignment
    slots: tuple[tuple[Slot, ...], ...]

    def tiles(self, lens: Lens) -> Iterator[np.ndarray]:
        """The shown nodes' rows (t, E), in the lens's order."""
        space = aligned_space_of(self.alignment)
        transform = open_transforms(space)
        for part, slots in zip(lens.parts, self.slots, strict=True):
            for slot in slots:
                rows = GraphRows([slot], [transform(slot)], "aligned", torch.device("cpu"))
                ids = patch_rows(slot.about, part.images)
                for start in range(0, len(ids), TILE):
                    yield rows.take(torch.from_numpy(ids[start : start + TILE])).numpy()


def aligned_space_of(alignment: Alignment) -> Any:
    from alignedcut_cli.nodes.spaces import Space

    return Space("aligned", alignment)


def aligned_rows(frame: Frame, parts: Sequence[Part], aligns: Sequence[Header]) -> tuple[AlignedRows | None, str]:
    """The aligned rows of cuts; None, with the reason, without a matching alignment or features."""
    reason = ""
    for header in aligns:
        try:
            space = aligned_space(frame.project, "aligned", header.name, None)
            slots = tuple(tuple(comparable_slots(space, _slots(frame, part))) for part in parts)
        except (UsageError, DataError) as error:
            reason = f"{error.message}."
            continue
        assert space.alignment is not None
        return AlignedRows(space.alignment, slots), ""
    return None, reason


def _slots(frame: Frame, part: Part) -> list[Slot]:
    """The slots of a cut in its feature sets. Raises DataError if these have changed or are missing."""
    there: dict[tuple[str, str, int], Slot] = {}
    for given in part.cut.inputs:
        if given.kind != "features":
            continue
        if given.name not in frame.project.names("features"):
            raise DataError("features-gone", f"features/{given.name} is gone", "Extract it again")
        features = frame.features(given.name)
        if features.header.content != given.content:
            told = f"features/{given.name} has changed since cut/{part.cut.name} was made"
            raise DataError("features-changed", told, "Cut again")
        there |= {(slot.about["model"], slot.about["tap"], slot.layer): slot for slot in find_slots(features, "all")}
    wanted = [(slot["model"], slot["tap"], slot["layer"]) for slot in part.slots]
    if missing := [key for key in wanted if key not in there]:
        raise DataError(
            "features-gone", f"cut/{part.cut.name} has slots whose features are gone: {missing[0]}", "Cut again"
        )
    return [there[key] for key in wanted]


def aligned_code(lens: Lens, rows: AlignedRows) -> dict[str, Any]:
    """The code of the page: unit rows in at most RANK dimensions with their lengths, both spaces, and the areas."""
    found = directions(lambda: rows.tiles(lens), lens.nodes, RANK)
    code = quantised(found.units)
    axes = brain_axes(rows.alignment).numpy().astype(np.float64)  # (E, r)
    turned = found.basis.T @ axes  # (k, r)
    exact = np.concatenate(list(_thinned(rows.tiles(lens), lens.nodes)))
    chosen = np.flatnonzero(np.arange(lens.nodes) % _thin(lens.nodes) == 0)
    coded = Code(code.data[:, chosen], code.scale).rows()
    brain = turned @ turned.T
    spaces = [
        {"name": "aligned space", "metric": None, "cost": round(cosine_cost(exact, coded), 4)},
        {
            "name": "brain space",
            "metric": [float(f"{value:.6g}") for value in (brain / np.abs(brain).max()).reshape(-1)],
            "cost": round(cosine_cost(exact @ axes, coded @ turned), 4),
        },
    ]
    names, weights = _areas(rows.alignment)
    return {
        "columns": len(code.data),
        "graphs": 1,
        "shared": True,
        "scale": code.scale.tolist(),
        "data": pack(code.data),
        "lengths": _lengths(found.lengths),
        "spaces": spaces,
        "areas": {"names": names, "weights": [float(f"{v:.6g}") for v in (found.basis.T @ weights).reshape(-1)]},
    }


def _thin(nodes: int) -> int:
    return max(1, nodes // 2000)


def _thinned(tiles: Iterator[np.ndarray], nodes: int) -> Iterator[np.ndarray]:
    """Evenly spaced rows of tiles, about 2,000 in all."""
    step, start = _thin(nodes), 0
    for tile in tiles:
        yield tile[np.flatnonzero(np.arange(start, start + len(tile)) % step == 0)]
        start += len(tile)


def _lengths(lengths: np.ndarray) -> dict[str, Any]:
    """Lengths quantised to 256 steps of their logarithm."""
    logs = np.log(np.maximum(lengths, 1e-12))
    low, step = float(logs.min()), float(np.ptp(logs)) / STEPS or 1.0
    return {"low": low, "step": step, "data": pack(np.rint((logs - low) / step).astype(np.uint8))}


def _areas(alignment: Alignment) -> tuple[list[str], np.ndarray]:
    """The areas that have voxels, except parts of others, then all voxels, and the read-out of each: (E, R) float64."""
    tensors = map_tensors(alignment.path)
    beta = torch.from_numpy(np.array(tensors["beta"]))
    membership = torch.from_numpy(np.array(tensors["rois"]))
    labels = alignment.header.axes["R"]["labels"]
    parts = {part for group, made_of in GROUPS.items() if group in labels for part in made_of if part != group}
    there = [n for n, name in enumerate(labels) if name not in parts and bool(membership[n].any())]
    order = {name: number for number, name in enumerate(GROUPS)}
    there.sort(key=lambda n: order.get(labels[n], len(order)))
    whole = torch.cat([membership[there], torch.ones(1, beta.shape[1], dtype=membership.dtype)])
    return [*(labels[number] for number in there), ALL], roi_readout(beta, whole).numpy()
