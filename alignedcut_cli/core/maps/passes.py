"""Which maps are read in which pass over the images, so that a memory limit is kept and the network runs least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from alignedcut_cli.core.maps.block import padded
from alignedcut_cli.core.maps.projection import Projection

__all__ = ["Group", "Need", "Sizes", "begun_group", "plan_groups", "smallest_budget"]

_EACH_IMAGE = 50_000_000
"""Products that stand for what an image takes before it is in the network."""


@dataclass(frozen=True)
class Need:
    """What a map takes: D units, d dimensions that they are projected to (0: none), and the products of the network up to
    the last output that is read with it, an image."""

    units: int
    projected: int
    cost: int


@dataclass(frozen=True)
class Sizes:
    """n images in batches of at most `batch`."""

    images: int
    batch: int

    @property
    def batches(self) -> int:
        return -(-self.images // self.batch)


@dataclass(frozen=True)
class Group:
    """Maps `first` to `stop` of a list, read together, with the rows of `block` images held at a time.

    A pass holds a block of images and reads these and all later ones, so that each pair of images meets once.
    """

    first: int
    stop: int
    block: int
    bytes: int
    sizes: Sizes

    @cached_property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """The images [first, stop) that each pass holds."""
        n, step = self.sizes.images, self.block
        return tuple((start, min(start + step, n)) for start in range(0, n, step))

    @property
    def reads(self) -> int:
        """Images that go through the network."""
        return sum(self.sizes.images - first for first, _ in self.blocks)


def _held(need: Need, sizes: Sizes) -> int:
    """Bytes of one batch of one map: its rows, its products with all images, its sums and its projection."""
    return sizes.batch * (4 * padded(need.units) + 8 * sizes.images + 8 + 4 * need.projected)


def smallest_budget(needs: Sequence[Need], sizes: Sizes) -> int:
    """The bytes that any plan takes: one batch of the map that takes most."""
    return max(_held(need, sizes) + _projection(need, set()) for need in needs)


def _projection(need: Need, there: set[int]) -> int:
    """Bytes of a map's projection, unless one of so many units is there, to which it is added."""
    if not need.projected or need.units in there:
        return 0
    there.add(need.units)
    return Projection.bytes(need.units, need.projected)


def plan_groups(needs: Sequence[Need], sizes: Sizes, budget: int) -> list[Group]:
    """The consecutive groups of maps that take the fewest products of the network, none over `budget` bytes.

    A pass ends with its group's last map, so early maps, which are large, are read without the late layers. Dynamic
    programming over where groups end: quadratic in the number of maps. Raises ValueError if one map is over the budget.
    """
    best: list[tuple[float, list[Group]]] = [(0.0, [])]
    for stop in range(1, len(needs) + 1):
        options: list[tuple[float, int, Group]] = []
        held, fixed, cost, there = 0, 0, 0, set()
        for first in range(stop - 1, -1, -1):
            need = needs[first]
            held += _held(need, sizes)
            fixed += _projection(need, there)
            cost = max(cost, need.cost)
            fitting = (budget - fixed) // held
            if fitting < 1:
                break
            passes = -(-sizes.batches // fitting)
            step = -(-sizes.batches // passes)
            group = Group(first, stop, step * sizes.batch, fixed + step * held, sizes)
            options.append((best[first][0] + group.reads * (cost + _EACH_IMAGE), first, group))
        if not options:
            raise ValueError(f"map {stop - 1} does not fit {budget} bytes")
        found, first, group = min(options, key=lambda one: one[:2])
        best.append((found, [*best[first][1], group]))
    return best[-1][1]


def begun_group(needs: Sequence[Need], sizes: Sizes, block: int) -> Group:
    """The group of these maps whose passes hold `block` images."""
    there: set[int] = set()
    fixed = 0
    for need in needs:
        fixed += _projection(need, there)
    held = sum(_held(need, sizes) for need in needs)
    return Group(0, len(needs), block, fixed + -(-block // sizes.batch) * held, sizes)
