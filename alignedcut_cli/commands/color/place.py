"""Coordinates and colours of all nodes of a cut, from what its tasks wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alignedcut_cli.commands.color.plan import Plan
from alignedcut_cli.commands.color.sweeps import Placing
from alignedcut_cli.core.embed.colours import colour_limits, rgb_cube
from alignedcut_cli.store.artifact import open_tensors

if TYPE_CHECKING:
    from alignedcut_cli.frame.run import Frame

__all__ = ["coloured"]


def coloured(frame: Frame, plan: Plan, placing: Placing) -> dict[str, np.ndarray]:
    """The tensors rgb, coordinates, sampled, divergence and perplexity of a coloring, range by range, in order."""
    total, dims = plan.parent.axes["M"]["size"], plan.recipe.params["dims"]
    rgb, coordinates = np.empty((total, 3), np.uint8), np.empty((total, dims), np.float32)
    limits = _limits_of_base(frame, plan) if plan.base else None
    sampled, numbers = [], []
    for graph, (start, _) in enumerate(plan.graphs):
        placed = placing.placed(graph)
        own = [number for number, (one, _, _) in enumerate(plan.ranges) if one == graph]
        counts = sum(placing.assigned(number)["counts"].astype(np.int64) for number in own)
        ends = limits[graph] if limits else colour_limits(placed["places"], np.asarray(counts))
        colours = rgb_cube(placed["places"], ends)
        for number in own:
            _, first, stop = plan.ranges[number]
            nearest = placing.assigned(number)["nearest"]
            rgb[first:stop], coordinates[first:stop] = colours[nearest], placed["places"][nearest]
        sampled.append(placed["sampled"] + start)
        numbers.append(placed["numbers"])
    divergence, perplexity = np.stack(numbers, 1).astype(np.float32)
    return {
        "rgb": rgb,
        "coordinates": coordinates,
        "sampled": np.empty(0, np.int64) if plan.base else np.concatenate(sampled),
        "divergence": divergence,
        "perplexity": perplexity,
    }


def _limits_of_base(frame: Frame, plan: Plan) -> list[np.ndarray]:
    """The colour limits of each graph of the base: those of all of its nodes."""
    assert plan.base
    before = open_tensors(frame.project.path("color", plan.base.given.name))
    solved = open_tensors(frame.project.path("cut", plan.base.cut.name))
    return [colour_limits(before["coordinates"][start:stop]) for start, stop in solved["graphs"]]
