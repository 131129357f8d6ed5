"""The maps of a trace: the concept of every node, by a partition of the eigenvectors or by balls in a t-SNE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.core.embed.threads import in_threads
from alignedcut_cli.core.groups.centres import ball_members, clear_radius, farthest_centres
from alignedcut_cli.core.groups.partition import nearest_centre, partition_centres
from alignedcut_cli.core.numerics import NumericsError, stream
from alignedcut_cli.errors import DataError

if TYPE_CHECKING:
    from alignedcut_cli.commands.trace.plan import Plan

__all__ = ["Map", "balls", "partitions"]

Ids = Mapping[int, np.ndarray]


@dataclass(frozen=True)
class Map:
    """`count` concepts in each slot: the concept of each node (M,) int32, -1 for none; the nodes at their centres
    (L, count); and the radius of each slot's balls (L,), None for a partition."""

    count: int
    concepts: np.ndarray
    centres: np.ndarray
    radii: np.ndarray | None


def partitions(plan: Plan, places: np.ndarray, ids: Ids) -> list[Map]:
    """A map for each number of cells, with a separate partition of each slot's points (M, C)."""

    def part(slot: int) -> list[tuple[np.ndarray, np.ndarray]]:
        mine = ids[slot].reshape(-1)
        try:
            found = partition_centres(places[mine], plan.cells, _seed(plan, slot, "partition"))
        except NumericsError as error:
            raise _too_few(plan, slot, str(error), max(plan.cells)) from None
        nearest = (nearest_centre(means, places[mine].astype(np.float64)) for means in found)
        return [(nearest_centre(places[mine], means), mine[one]) for means, one in zip(found, nearest, strict=True)]

    concepts = [np.full(len(places), -1, np.int32) for _ in plan.cells]
    centres: list[list[np.ndarray]] = [[] for _ in plan.cells]
    for slot, found in zip(plan.slots, in_threads(part, plan.slots), strict=True):
        for number, (cells, nodes) in enumerate(found):
            concepts[number][ids[slot].reshape(-1)] = cells
            centres[number].append(nodes)
    return [
        Map(count, mine, np.stack(chosen), None)
        for count, mine, chosen in zip(plan.cells, concepts, centres, strict=True)
    ]


def balls(plan: Plan, places: np.ndarray, ids: Ids) -> Map:
    """Farthest-point centres among the points (M, d) of each slot, and the nodes in the ball around each."""
    params = plan.recipe.params
    concepts = np.full(len(places), -1, np.int32)
    centres, radii = [], []
    for slot in plan.slots:
        mine = ids[slot].reshape(-1)
        chosen = mine[farthest_centres(places[mine], params["concepts"], _seed(plan, slot, "centres"))]
        if len(chosen) < params["concepts"]:
            raise _too_few(plan, slot, f"{len(chosen)} different places in the map", params["concepts"])
        radius = clear_radius(places[chosen]) if params["radius"] == "auto" else params["radius"]
        concepts[mine] = ball_members(places[mine], places[chosen], radius)
        centres.append(chosen)
        radii.append(radius)
    return Map(params["concepts"], concepts, np.stack(centres), np.array(radii, np.float64))


def _seed(plan: Plan, slot: int, kind: str) -> int:
    about: Mapping[str, Any] = plan.parent.axes["S"]["slots"][slot]
    return stream(plan.recipe.params["seed"], "trace", kind, about["model"], about["tap"], about["layer"])


def _too_few(plan: Plan, slot: int, found: str, wanted: int) -> DataError:
    about = plan.parent.axes["S"]["slots"][slot]
    asked = f"--concepts is {plan.recipe.params['concepts']}"
    asked += f", and --maps asks for up to {wanted}" if wanted > plan.recipe.params["concepts"] else ""
    return DataError(
        "too-few-places",
        f"layer {about['layer']} of {about['model']} has {found}, {asked}",
        "Ask for fewer --concepts or --maps, or more --nodes",
    )
