"""Coordinates and colours of all nodes of a cut, from what its tasks wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from alignedcut_cli.commands.color.plan import Plan
from alignedcut_cli.commands.color.sweeps import Placing
from alignedcut_cli.core.embed.colours import colour_limits, rgb_cube
from alignedcut_cli.store.artifact import open_tensors
from alignedcut_cli.store.joined import JoinedRows

if TYPE_CHECKING:
    from alignedcut_cli.frame.run import Frame

__all__ = ["coloured"]


def coloured(frame: Frame, plan: Plan, placing: Placing) -> dict[str, np.ndarray]:
    """The tensors rgb, coordinates, sampled, divergence and perplexity of a coloring; rgb and coordinates are looked up as
    they are read, range by range."""
    limits = _limits_of_base(frame, plan) if plan.base else None
    places, colours, sampled, numbers = [], [], [], []
    for graph, (start, _) in enumerate(plan.graphs):
        placed = {name: np.array(array) for name, array in placing.placed(graph).items()}
        own = [number for number, (one, _, _) in enumerate(plan.ranges) if one == graph]
        counts = sum(placing.assigned(number)["counts"].astype(np.int64) for number in own)
        ends = limits[graph] if limits else colour_limits(placed["places"], np.asarray(counts))
        places.append(placed["places"])
        colours.append(rgb_cube(placed["places"], ends))
        sampled.append(placed["sampled"] + start)
        numbers.append(placed["numbers"])
    divergence, perplexity = np.stack(numbers, 1).astype(np.float32)
    lengths = [stop - first for _, first, stop in plan.ranges]

    def looked_up(tables: list[np.ndarray]) -> np.ndarray:
        piece = lambda number: tables[plan.ranges[number][0]][placing.assigned(number)["nearest"]]  # noqa: E731
        return cast("np.ndarray", JoinedRows(piece, lengths))

    return {
        "rgb": looked_up(colours),
        "coordinates": looked_up(places),
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
