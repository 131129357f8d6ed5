"""Figures of a trace: paths through the map (Fig. 9, 18-22), and step lengths over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from alignedcut_cli.report.transitions import dots_of, path_colour
from alignedcut_cli.store.header import Header

__all__ = ["GROUP_COLOURS", "pace_figure", "paths_figure"]

INK, PALE = "#333333", "#e2e8f0"
GROUP_COLOURS = {"all": "#4a5568", "foreground": "#dd6b20", "background": "#2b6cb0"}
_DARK, _BRIGHT = 0.05, 0.85
_CORNER = 0.7
Tensors = Mapping[str, np.ndarray]


def paths_figure(header: Header, tensors: Tensors, photos: Mapping[int, Image.Image | None]) -> Figure:
    """A column per model: its nodes with the layer as brightness and the example paths as arrows; below, the groups.

    Dots are at most 4000 patches per layer; `photos` (by image number) show where the example pixels lie.
    """
    tracks = _tracks(header)
    labelled = "labels" in tensors
    strip = len(photos) > 0
    heights = [1.0, *([1.0] if labelled else []), *([0.36] if strip else [])]
    figure = Figure(figsize=(max(6.0, 4.6 * len(tracks)), 4.4 * sum(heights) + 0.5), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    panels = parts[0].subplots(1, len(tracks), squeeze=False)[0]
    for axis, (model, slots) in zip(panels, tracks.items(), strict=True):
        _draw_layers(axis, header, model, slots, tensors)
        _draw_paths(axis, slots, tensors)
    if labelled:
        below = parts[1].subplots(1, len(tracks), squeeze=False)[0]
        for axis, (model, slots) in zip(below, tracks.items(), strict=True):
            _draw_groups(axis, model, slots, tensors)
    if strip:
        _draw_photos(parts[-1], header, tensors, photos)
    dims = header.axes["d"]["size"]
    shown = "" if dims == 2 else f" (first two of {dims} axes)"
    figure.suptitle(f"spectral t-SNE of all models and layers{shown}; arrows follow pixels from layer to layer")
    return figure


def pace_figure(header: Header, tensors: Tensors) -> Figure:
    """Left: mean step length of each model and group. Right: how far foreground and background diverge."""
    names = list(dict.fromkeys(pair["model"] for pair in header.axes["K"]["pairs"]))
    parted = "p" in tensors
    rows = 2 if parted else 1
    figure = Figure(figsize=(max(5.0, 3.7 * len(names)), 3.1 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, len(names), squeeze=False, sharey="row")
    for column, model in enumerate(names):
        mine = [number for number, pair in enumerate(header.axes["K"]["pairs"]) if pair["model"] == model]
        ticks = [
            f"{header.axes['K']['pairs'][number]['from']}→{header.axes['K']['pairs'][number]['to']}" for number in mine
        ]
        _draw_steps(panels[0, column], header, tensors, mine)
        panels[0, column].set_title(f"{model}: how far a node moves", y=1, fontsize=10)
        if parted:
            _draw_divergence(panels[1, column], tensors, mine)
            panels[1, column].set_title(f"{model}: foreground diverges from background", y=1, fontsize=10)
        for axis in panels[:, column]:
            axis.set_xticks(range(len(mine)), ticks)
            axis.set_xlabel("layers")
            axis.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylim(bottom=0)  # after all are drawn, as they share the axis
    unit = "map units" if header.params["measure"] == "map" else "scaled eigenvectors"
    panels[0, 0].set_ylabel(f"mean length ({unit})")
    panels[0, -1].legend(frameon=False, fontsize=8)
    if parted:
        panels[1, 0].set_ylabel("total variation")
        panels[1, -1].legend(frameon=False, fontsize=8)
    return figure


def _tracks(header: Header) -> dict[str, list[int]]:
    """The positions along axis L of each model, in order of layer."""
    found: dict[str, list[int]] = {}
    for number, about in enumerate(header.axes["L"]["slots"]):
        found.setdefault(about["model"], []).append(number)
    return found


def _shade(number: int, count: int) -> Any:
    """The colour of a layer: later layers are brighter."""
    return matplotlib.colormaps["inferno"](_DARK + (_BRIGHT - _DARK) * number / max(1, count - 1))


def _slot_of(tensors: Tensors, number: int) -> int:
    return int(tensors["nodes"][tensors["centres"][number, 0], 1])


def _frame_map(axis: Axes, tensors: Tensors) -> None:
    places = tensors["coordinates"][:, :2]
    low, high = places.min(0), places.max(0)
    margin = 0.04 * (high - low).max()
    axis.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin), aspect="equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_color(PALE)


def _draw_everything(axis: Axes, tensors: Tensors) -> None:
    """All nodes that t-SNE embedded, pale, to show where the other models and layers lie."""
    places = tensors["coordinates"][tensors["sampled"], :2]
    axis.scatter(*places.T, s=3, color=PALE, linewidths=0, rasterized=True)
    _frame_map(axis, tensors)


def _scatter_mixed(axis: Axes, places: Sequence[np.ndarray], colours: Sequence[Any], names: Sequence[str]) -> None:
    """Dots of several kinds in random order: many coincide, and the visible shares match the true ones."""
    kinds = np.repeat(np.arange(len(places)), [len(one) for one in places])
    order = np.random.default_rng(0).permutation(len(kinds))
    shades = np.array([matplotlib.colors.to_rgba(colour) for colour in colours])
    axis.scatter(*np.concatenate(places)[order].T, s=7, color=shades[kinds[order]], linewidths=0)
    for colour, name in zip(colours, names, strict=True):
        axis.scatter([], [], s=20, color=[colour], linewidths=0, label=name)


def _draw_layers(axis: Axes, header: Header, model: str, numbers: Sequence[int], tensors: Tensors) -> None:
    _draw_everything(axis, tensors)
    places = [tensors["coordinates"][dots_of(tensors, _slot_of(tensors, number)), :2] for number in numbers]
    colours = [_shade(order, len(numbers)) for order in range(len(numbers))]
    names = [str(header.axes["L"]["slots"][number]["layer"]) for number in numbers]
    _scatter_mixed(axis, places, colours, names)
    axis.set_title(f"{model}: brighter is later", y=1, fontsize=10)
    _legend(axis, np.concatenate(places), title="layer", title_fontsize=7, ncols=-(-len(numbers) // 6))


def _legend(axis: Axes, places: np.ndarray, **options: Any) -> None:
    """A legend in the corner with the fewest points (n, 2), inside the axes, whose size it does not change."""
    low, high = np.array([axis.get_xlim(), axis.get_ylim()]).T
    across, up = ((places - low) / (high - low)).T
    sides = {"right": across > _CORNER, "left": across < 1 - _CORNER}
    levels = {"upper": up > _CORNER, "lower": up < 1 - _CORNER}
    held = {f"{level} {side}": int((levels[level] & sides[side]).sum()) for level in levels for side in sides}
    emptiest: Any = min(held, key=lambda name: held[name])
    axis.legend(loc=emptiest, fontsize=7, handletextpad=0.1, **options).set_in_layout(False)


def _shade_of(number: int) -> str:
    red, green, blue = path_colour(number)
    return matplotlib.colors.to_hex((red / 255, green / 255, blue / 255))


def _draw_paths(axis: Axes, numbers: Sequence[int], tensors: Tensors) -> None:
    for pixel, nodes in enumerate(tensors["paths"][:, numbers]):
        places = tensors["coordinates"][nodes, :2]
        style = {"arrowstyle": "-|>", "color": _shade_of(pixel), "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
        for start, stop in pairwise(places):
            if not np.array_equal(start, stop):
                axis.annotate("", xy=tuple(stop), xytext=tuple(start), arrowprops=style).set_in_layout(False)
        axis.plot(*places[0], marker="o", markersize=4, color=_shade_of(pixel), markeredgecolor="white")
        axis.annotate(
            str(pixel),
            tuple(places[-1]),
            fontsize=7,
            color="white",
            ha="center",
            va="center",
            bbox={"boxstyle": "circle,pad=0.15", "color": _shade_of(pixel)},
        ).set_in_layout(False)


def _draw_groups(axis: Axes, model: str, numbers: Sequence[int], tensors: Tensors) -> None:
    """Foreground and background nodes of all layers, in equal numbers, so that neither hides the other."""
    _draw_everything(axis, tensors)
    ids = np.concatenate([dots_of(tensors, _slot_of(tensors, number)) for number in numbers])
    by_group = [ids[tensors["labels"][ids] == kind] for kind in (1, 0)]
    fewest = max(1, min(len(group) for group in by_group))
    kept = [group[:: max(1, len(group) // fewest)] for group in by_group]
    names = ("foreground", "background")
    places = [tensors["coordinates"][group, :2] for group in kept]
    _scatter_mixed(axis, places, [GROUP_COLOURS[name] for name in names], names)
    axis.set_title(f"{model}: foreground, background", y=1, fontsize=10)
    _legend(axis, np.concatenate(places))


def _draw_photos(part: Any, header: Header, tensors: Tensors, photos: Mapping[int, Image.Image | None]) -> None:
    """Each image with the example pixels that lie in it, numbered like their arrows."""
    rows, columns = header.axes["S"]["slots"][header.axes["L"]["slots"][0]["slot"]]["grid"]
    panels = part.subplots(1, max(8, len(photos)), squeeze=False)[0]
    for axis in panels:
        axis.axis("off")
    for axis, (image, photo) in zip(panels, photos.items(), strict=False):
        shown = np.asarray(photo) if photo else np.full((rows, columns, 3), 225, np.uint8)
        proportion = shown.shape[0] / shown.shape[1] * columns / rows
        axis.imshow(shown, extent=(0, columns, rows, 0), aspect=proportion)
        axis.set_title(str(header.axes["B"]["images"][image]["path"]).rsplit("/", 1)[-1][-22:], y=1, fontsize=6)
        for number, (_, row, column) in enumerate(tensors["pixels"].tolist()):
            if tensors["pixels"][number, 0] == image:
                axis.text(
                    column + 0.5,
                    row + 0.5,
                    str(number),
                    fontsize=6,
                    color="white",
                    ha="center",
                    va="center",
                    bbox={"boxstyle": "circle,pad=0.15", "color": _shade_of(number)},
                )


def _draw_steps(axis: Axes, header: Header, tensors: Tensors, numbers: Sequence[int]) -> None:
    for place, group in enumerate(header.axes["H"]["labels"]):
        lengths, errors = tensors["steps"][numbers, place], tensors["steps.error"][numbers, place]
        axis.errorbar(
            range(len(numbers)),
            lengths,
            yerr=1.96 * errors,
            color=GROUP_COLOURS[group],
            marker="o",
            markersize=4,
            capsize=2,
            label=f"{group} (± 1.96 s.e.)",
        )


def _draw_divergence(axis: Axes, tensors: Tensors, numbers: Sequence[int]) -> None:
    """Bars of the matched distance and its range over maps, the distance expected by chance as a line, and a star where
    p.holm is below 0.05."""
    heights, maps = tensors["matched"][numbers], tensors["maps.matched"][numbers]  # (n,), (n, Z)
    axis.bar(range(len(numbers)), heights, color="#805ad5", width=0.6, label="matched (* p < 0.05, Holm)")
    if maps.shape[1] > 1:
        label = f"least and most of {maps.shape[1]} maps"
        axis.vlines(range(len(numbers)), maps.min(1), maps.max(1), color="#44337a", linewidth=1.5, label=label)
    for place, number in enumerate(numbers):
        label = "chance" if place == 0 else "_more"
        axis.plot([place - 0.4, place + 0.4], [tensors["matched.expected"][number]] * 2, color=INK, label=label)
        if tensors["p.holm"][number] < 0.05:
            axis.text(place, maps[place].max(), "*", ha="center", va="bottom", fontsize=12)
    axis.margins(y=0.25)
