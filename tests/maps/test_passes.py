"""Plans of passes: every map once, never over the budget, and as little of the network as can be."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignedcut_cli.core.maps.block import padded
from alignedcut_cli.core.maps.passes import (
    Group,
    Limits,
    Need,
    Sizes,
    begun_group,
    fitting,
    plan_groups,
    smallest_budget,
)

MAPS = st.lists(st.tuples(st.integers(1, 9000), st.booleans()), min_size=1, max_size=6)
EACH = 50_000_000


def needs_of(maps: list[tuple[int, bool]]) -> list[Need]:
    return [Need(units, 50 * large, 10**9 * (place + 1)) for place, (units, large) in enumerate(maps)]


@settings(max_examples=60, deadline=None)
@given(MAPS, st.integers(1, 90), st.integers(1, 16), st.floats(1, 20), st.integers(0, 4_000_000), st.booleans())
def test_every_pair_of_images_meets_once_for_every_map_within_the_limits(
    maps: list[tuple[int, bool]], images: int, batch: int, more: float, disk: int, whole: bool
) -> None:
    needs, sizes = needs_of(maps), Sizes(images, batch, 2)
    least = smallest_budget(needs, sizes, Limits(0, disk, whole=whole))
    limits = Limits(int(least * more), disk, whole=whole)
    assert fitting(needs, sizes, limits) and not fitting(needs, sizes, Limits(least - 1, disk, whole=whole))
    groups = plan_groups(needs, sizes, limits)
    assert [number for group in groups for number in range(group.first, group.stop)] == list(range(len(needs)))
    for group in groups:
        chosen = needs[group.first : group.stop]
        assert group.bytes <= limits.memory and group.disk <= disk
        assert [image for first, stop in group.blocks for image in range(first, stop)] == list(range(images))
        assert group.block % batch == 0 and group.reads >= images
        assert (group.way == "disk") == (group.disk > 0) and not (whole and group.way == "passes")
        assert group.way == "passes" or (len(group.blocks) == 1 and group.reads == images)
        held = {"memory": images, "passes": min(group.block, images), "disk": 0}[group.way]
        assert 4 * held * sum(padded(one.units) for one in chosen) <= group.bytes
        again = begun_group(chosen, sizes, limits, group.way, group.block)
        assert again == Group(0, len(chosen), group.block, group.bytes, sizes, group.way, group.workers, group.disk)


def test_no_other_way_to_part_the_maps_takes_less_of_the_network() -> None:
    needs = [Need(units, 0, cost * 10**9) for units, cost in ((8000, 1), (8000, 2), (900, 9), (900, 10), (100, 40))]
    sizes = Sizes(64, 4)
    limits = Limits(12 * smallest_budget(needs, sizes, Limits(0)) // 5)

    def cost(bounds: tuple[int, ...]) -> float:
        """That of groups that begin at these maps, whose blocks are as large as fits."""
        total = 0.0
        for first, stop in zip((0, *bounds), (*bounds, len(needs)), strict=True):
            chosen = needs[first:stop]
            blocks = range(sizes.batches * sizes.batch, 0, -sizes.batch)
            found = [begun_group(chosen, sizes, limits, way, block) for block in blocks for way in ("memory", "passes")]
            reads = [group.reads for group in found if group]
            total += min(reads, default=float("inf")) * (chosen[-1].cost + EACH)
        return total

    ways = [bounds for size in range(len(needs)) for bounds in combinations(range(1, len(needs)), size)]
    found = plan_groups(needs, sizes, limits)
    assert len(found) > 1 and "passes" in {group.way for group in found}
    assert cost(tuple(group.first for group in found[1:])) == min(map(cost, ways))


def test_rows_go_to_disk_where_reading_the_images_again_would_take_longer() -> None:
    needs, sizes = needs_of([(300_000, True), (200_000, True)]), Sizes(64, 4)
    memory = 2 * smallest_budget(needs, sizes, Limits(0))
    passes = plan_groups(needs, sizes, Limits(memory))
    assert {group.way for group in passes} == {"passes"} and sum(len(group.blocks) for group in passes) > 4
    rows = 4 * 64 * 500_000
    (whole,) = plan_groups(needs, sizes, Limits(memory, rows))
    assert (whole.way, whole.disk, whole.reads) == ("disk", rows, 64)
    parted = plan_groups(needs, sizes, Limits(memory, rows - 1))
    assert [group.disk for group in parted] == [4 * 64 * 300_000, 4 * 64 * 200_000]
    slow = Limits(memory, rows, byte=10**9)
    assert {group.way for group in plan_groups(needs, sizes, slow)} == {"passes"}
    assert [group.way for group in plan_groups(needs, sizes, Limits(10 * rows, rows))] == ["memory"]


def test_a_map_that_does_not_fit_is_an_error() -> None:
    needs, sizes = needs_of([(100, False), (5000, True)]), Sizes(10, 5)
    with pytest.raises(ValueError, match="map 1 does not fit"):
        plan_groups(needs, sizes, Limits(smallest_budget(needs, sizes, Limits(0)) - 1))
