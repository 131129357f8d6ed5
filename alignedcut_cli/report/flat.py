"""Values of voxels on the flattened cortex of fsaverage5, both hemispheres, with the outlines of regions."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from alignedcut_cli.brain.rois import GROUPS
from alignedcut_cli.report.figures import INK

__all__ = ["Flat", "Panel", "flat_figure", "flat_of", "has_surface"]

NODES = 10_242
"""Vertices per hemisphere of fsaverage5: the first of fsaverage's 163,842."""
STEP = 1.0
"""Millimetres of the flat surface per pixel."""
MARGIN = 15
HEMISPHERES = ("left", "right")


def has_surface() -> bool:
    """Whether nilearn is installed, which ships the surface."""
    return importlib.util.find_spec("nilearn") is not None


@dataclass(frozen=True)
class _Sheet:
    """One hemisphere as pixels: for each, the three vertices of its triangle (h, w, 3), -1 off the cortex, their weights
    (h, w, 3), and the sulcal depth (h, w), NaN off the cortex."""

    corners: np.ndarray
    weights: np.ndarray
    folds: np.ndarray

    def draw(self, values: np.ndarray) -> np.ndarray:
        """Values of vertices (NODES,), NaN where unknown, as pixels (h, w): known where all three of the triangle are."""
        there = self.corners[..., 0] >= 0
        found = np.full(there.shape, np.nan)
        found[there] = (values[self.corners[there]] * self.weights[there]).sum(-1)
        return found


@functools.cache
def _sheets() -> tuple[_Sheet, ...]:
    """Both hemispheres, left first, on grids of the same height."""
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    meshes = load_fsaverage("fsaverage5")["flat"].parts
    folds = load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts
    places = {side: np.asarray(meshes[side].coordinates[:, :2], np.float64) for side in HEMISPHERES}
    used = {side: np.unique(meshes[side].faces) for side in HEMISPHERES}
    low = min(places[side][used[side], 1].min() for side in HEMISPHERES)
    high = max(places[side][used[side], 1].max() for side in HEMISPHERES)
    return tuple(
        _sheet(places[side], np.asarray(meshes[side].faces), np.asarray(folds[side]), used[side], (low, high))
        for side in HEMISPHERES
    )


def _sheet(
    places: np.ndarray, faces: np.ndarray, folds: np.ndarray, used: np.ndarray, span: tuple[float, float]
) -> _Sheet:
    left, right = places[used, 0].min(), places[used, 0].max()
    x, y = np.meshgrid(np.arange(left, right, STEP), np.arange(span[1], span[0], -STEP))
    triangle = np.asarray(Triangulation(places[:, 0], places[:, 1], faces).get_trifinder()(x, y))
    corners = np.where((triangle >= 0)[..., None], faces[triangle], -1)
    weights = _barycentric(np.stack([x, y], -1), places[faces[triangle]])
    sheet = _Sheet(corners, weights, np.zeros(0))
    return _Sheet(corners, weights, sheet.draw(folds))


def _barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric weights (…, 3) of points (…, 2) in triangles with corners (…, 3, 2)."""
    first, second = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    away = points - corners[..., 0, :]
    area = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    one = (away[..., 0] * second[..., 1] - away[..., 1] * second[..., 0]) / area
    two = (first[..., 0] * away[..., 1] - first[..., 1] * away[..., 0]) / area
    return np.stack([1 - one - two, one, two], -1)


@dataclass(frozen=True)
class Flat:
    """Positions of voxels: the fsaverage vertex of each (N,), how many of them, the first, are of the left hemisphere, and
    `regions` (R, N) of 0 and 1 with `names`, of which those of GROUPS are outlined.

    Voxels whose vertex is not in fsaverage5, 15 in 16, are not shown.
    """

    vertices: np.ndarray
    left: int
    regions: np.ndarray
    names: Sequence[str]

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """Values of voxels (N,) as a picture (h, w) of both hemispheres side by side, NaN where there is none."""
        sides = np.arange(len(self.vertices)) >= self.left
        shown = self.vertices < NODES
        found = []
        for side, sheet in enumerate(_sheets()):
            mine = shown & (sides == bool(side))
            nodes = np.full(NODES, np.nan)
            nodes[self.vertices[mine]] = values[mine]
            found.append(sheet.draw(nodes))
        return np.hstack(found)

    @functools.cached_property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of that picture that hold voxels, with a margin; all if none do."""
        there = np.isfinite(self.pixels(np.ones(len(self.vertices))))
        if not there.any():
            return slice(None), slice(None)
        lines = [np.flatnonzero(there.any(axis)) for axis in (1, 0)]
        rows, columns = (slice(max(0, int(line[0]) - MARGIN), int(line[-1]) + MARGIN + 1) for line in lines)
        return rows, columns

    @functools.cached_property
    def outlines(self) -> dict[str, np.ndarray]:
        """Each outlined region as a picture (h, w): the share of a pixel's triangle that is in it."""
        found = {}
        for name, mask in zip(self.names, self.regions, strict=True):
            if name in GROUPS:
                share = np.nan_to_num(self.pixels(mask.astype(np.float64)))
                if (share > 0.5).any():
                    found[name] = share
        return found


@dataclass(frozen=True)
class Panel:
    """Values of voxels (N,), a title, and whether they are signed (red above 0, blue below)."""

    values: np.ndarray
    title: str
    signed: bool = True


def flat_figure(title: str, flat: Flat, panels: Sequence[Sequence[Panel | None]]) -> Figure:
    """A grid of flat maps, each with its own colour range, given in its title; rows may lack a panel."""
    rows, columns = len(panels), max(map(len, panels))
    folds = np.hstack([sheet.folds for sheet in _sheets()])[flat.window]
    height = 3.3 * folds.shape[0] / folds.shape[1]
    figure = Figure(figsize=(max(5.0, 3.4 * columns), (height + 0.22) * rows + 0.4))
    axes = figure.subplots(rows, columns, squeeze=False)
    tall = figure.get_figheight()
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.04 / tall, top=1 - 0.58 / tall, wspace=0.02, hspace=0.22 / height
    )
    for row, line in zip(axes, panels, strict=True):
        for number, axis in enumerate(row):
            axis.set_axis_off()
            panel = line[number] if number < len(line) else None
            if panel is not None:
                _draw(axis, flat, panel, folds)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", y=1 - 0.08 / tall, va="top")
    return figure


def _draw(axis: Axes, flat: Flat, panel: Panel, folds: np.ndarray) -> None:
    picture = flat.pixels(panel.values)[flat.window]
    known = picture[np.isfinite(picture)]
    top = float(np.percentile(np.abs(known), 99)) if len(known) else 1.0
    colours: dict[str, Any] = (
        {"cmap": "RdBu_r", "vmin": -top, "vmax": top} if panel.signed else {"cmap": "viridis", "vmin": 0, "vmax": top}
    )
    axis.imshow(folds, cmap="gray_r", vmin=-2, vmax=6)
    axis.imshow(picture, interpolation="nearest", **{**colours, "vmax": top or 1.0})
    for name, share in flat.outlines.items():
        axis.contour(share[flat.window], levels=[0.5], colors=INK, linewidths=0.4)
        for x, y in _halves(share):
            place = x - (flat.window[1].start or 0), y - (flat.window[0].start or 0)
            axis.text(*place, name, fontsize=5, color=INK, ha="center", va="center")
    axis.set_title(f"{panel.title} ({'±' if panel.signed else '0 to '}{top:.2g})", fontsize=8, pad=2)


def _halves(share: np.ndarray) -> list[tuple[float, float]]:
    """The centre (x, y) of a region in each hemisphere that has it."""
    middle = _sheets()[0].folds.shape[1]
    found = []
    for start, part in ((0, share[:, :middle]), (middle, share[:, middle:])):
        rows, columns = np.nonzero(part > 0.5)
        if len(rows):
            found.append((start + float(columns.mean()), float(rows.mean())))
    return found


def flat_of(arrays: Mapping[str, np.ndarray], axes: Mapping[str, Any]) -> Flat:
    """The voxel positions and regions of a concepts artifact."""
    return Flat(arrays["vertices"], axes["N"]["left"], arrays["regions"], axes["R"]["labels"])
