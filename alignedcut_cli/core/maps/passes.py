"""Which maps are read in which pass over the images: least computation within the limits of memory and disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

from alignedcut_cli.core.maps.block import padded
from alignedcut_cli.core.maps.projection import Projection
from alignedcut_cli.core.maps.strips import strip_bytes

__all__ = [
    "Group",
    "Limits",
    "Need",
    "Sizes",
    "begun_group",
    "fitting",
    "plan_groups",
    "products_between",
    "smallest_budget",
]

_EACH_IMAGE = 50_000_000
"""The cost of loading one image, in multiply-adds of the network."""


@dataclass(frozen=True)
class Need:
    """The needs of a map: D units, d dimensions to project them to (0: none), and the multiply-adds per image of the network
    up to the last output that is read with it."""

    units: int
    projected: int
    cost: int


@dataclass(frozen=True)
class Sizes:
    """n images in batches of at most `batch`, and the threads per map."""

    images: int
    batch: int
    workers: int = 1

    @property
    def batches(self) -> int:
        return -(-self.images // self.batch)


@dataclass(frozen=True)
class Limits:
    """Bytes of memory and of disk that a pass may take, and the cost of a byte written and read back, in multiply-adds.

    With `whole`, a map needs all of its rows at once: no pass may hold only some of them.
    """

    memory: int
    disk: int = 0
    byte: int = 50
    whole: bool = False


@dataclass(frozen=True)
class Group:
    """Maps `first` to `stop` of a list, read together in one of three ways.

    memory  one pass holds the rows of all images
    disk    one pass writes the rows of all images to `disk` bytes of scratch
    passes  each holds a block of images and reads these and all later ones, so that each pair of images is covered once

    `bytes` are of main memory, `workers` the threads per map.
    """

    first: int
    stop: int
    block: int
    bytes: int
    sizes: Sizes
    way: str = "passes"
    workers: int = 1
    disk: int = 0

    @cached_property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """The images [first, stop) that each pass holds."""
        n, step = self.sizes.images, self.block
        return tuple((start, min(start + step, n)) for start in range(0, n, step))

    @property
    def reads(self) -> int:
        """The number of images run through the network, repeats counted."""
        return sum(self.sizes.images - first for first, _ in self.blocks)


def products_between(needs: Sequence[Need], images: int) -> int:
    """Multiply-adds of Gram matrices and projections: D for each pair of images, d sqrt(D) for each projected image."""
    pairs = images * (images + 1) // 2
    return sum(one.units * pairs + int(images * one.projected * one.units**0.5) for one in needs)


@dataclass(frozen=True)
class _Total:
    """The resources that some maps take together.

    rows, each    bytes of a batch's rows, alone and with their results while they are held
    making        bytes of a batch of the largest projection while it is computed
    drawn         bytes of the slices of P drawn at once
    strips        bytes of the results of a map whose rows are all stored, with one worker, two, ...
    disk, cost    bytes of all rows; multiply-adds of the network up to the last output that is read
    """

    rows: int
    each: int
    making: int
    drawn: int
    strips: tuple[int, ...]
    disk: int
    cost: int

    @classmethod
    def of(cls, need: Need, sizes: Sizes) -> _Total:
        """The resources of one map."""
        n, batch, d = sizes.images, sizes.batch, need.projected
        rows = batch * 4 * padded(need.units)
        return _Total(
            rows,
            rows + batch * (8 * n + 8 + 4 * d),
            batch * 4 * d * (sizes.workers + 3),
            sizes.workers * Projection.slice_bytes(need.units, d) if d else 0,
            tuple(strip_bytes(need.units, d, n, batch, count + 1) for count in range(sizes.workers)),
            4 * n * need.units,
            need.cost,
        )

    def plus(self, other: _Total) -> _Total:
        return _Total(
            self.rows + other.rows,
            self.each + other.each,
            max(self.making, other.making),
            max(self.drawn, other.drawn),
            tuple(map(max, self.strips, other.strips)),
            self.disk + other.disk,
            max(self.cost, other.cost),
        )

    def held(self, batches: int) -> int:
        """Bytes of memory of passes that hold `batches` batches."""
        return self.drawn + batches * (self.each + self.making)


def fitting(needs: Sequence[Need], sizes: Sizes, limits: Limits) -> bool:
    """Whether there is a plan within the limits."""
    return all(_ways(0, 1, _Total.of(need, sizes), sizes, limits) for need in needs)


def smallest_budget(needs: Sequence[Need], sizes: Sizes, limits: Limits) -> int:
    """The least memory in bytes with which there is a plan: that of the largest map, given the limit of disk."""
    return max(_smallest(_Total.of(need, sizes), sizes, limits) for need in needs)


def _smallest(total: _Total, sizes: Sizes, limits: Limits) -> int:
    ways = [sizes.batches * total.rows + total.strips[0]]
    if total.disk <= limits.disk:
        ways.append(total.strips[0])
    if not limits.whole:
        ways.append(total.held(1))
    return min(ways)


def plan_groups(needs: Sequence[Need], sizes: Sizes, limits: Limits) -> list[Group]:
    """The consecutive groups of maps with the least computation, each within the limits.

    A pass stops at its group's last map, so early maps, which are large, are read without computing late layers. Dynamic
    programming over the ends of groups: quadratic in the number of maps. Raises ValueError if one map exceeds the limits.
    """
    alone = [_Total.of(need, sizes) for need in needs]
    best: list[tuple[float, list[Group]]] = [(0.0, [])]
    for stop in range(1, len(needs) + 1):
        options: list[tuple[float, int, Group]] = []
        total = alone[stop - 1]
        for first in range(stop - 1, -1, -1):
            total = total if first == stop - 1 else alone[first].plus(total)
            ways = _ways(first, stop, total, sizes, limits)
            for group in ways:
                network = group.reads * (total.cost + _EACH_IMAGE)
                options.append((best[first][0] + network + group.disk * limits.byte, first, group))
            if not ways:
                break
        if not options:
            raise ValueError(f"map {stop - 1} does not fit {limits.memory} bytes")
        found, first, group = min(options, key=lambda one: one[:2])
        best.append((found, [*best[first][1], group]))
    return best[-1][1]


def _ways(first: int, stop: int, total: _Total, sizes: Sizes, limits: Limits) -> list[Group]:
    """The ways to read some maps together within the limits, possibly none."""
    found, every = [], sizes.batches * sizes.batch
    for way, rows, disk in (("memory", sizes.batches * total.rows, 0), ("disk", 0, total.disk)):
        counts = [count for count, taken in enumerate(total.strips, 1) if rows + taken <= limits.memory]
        if counts and disk <= limits.disk:
            taken = rows + total.strips[counts[-1] - 1]
            found.append(Group(first, stop, every, taken, sizes, way, counts[-1], disk))
    batches = (limits.memory - total.drawn) // (total.each + total.making)
    if batches >= 1 and not limits.whole:
        step = min(batches, sizes.batches)
        found.append(Group(first, stop, step * sizes.batch, total.held(step), sizes, "passes", sizes.workers))
    return found


def begun_group(needs: Sequence[Need], sizes: Sizes, limits: Limits, way: str, block: int) -> Group | None:
    """The group of these maps read in a given way by passes that hold `block` images; None if it exceeds the limits."""
    total = reduce(_Total.plus, [_Total.of(need, sizes) for need in needs])
    for group in _ways(0, len(needs), total, sizes, limits):
        if group.way == way != "passes":
            return group if group.block == block else None
    taken = total.held(-(-block // sizes.batch))
    if way != "passes" or limits.whole or taken > limits.memory:
        return None
    return Group(0, len(needs), block, taken, sizes, way, sizes.workers)
