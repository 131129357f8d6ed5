"""Plans of passes: every map once, never over the budget, and as little of the network as can be."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignedcut_cli.core.maps.block import padded
from alignedcut_cli.core.maps.passes import Need, Sizes, begun_group, plan_groups, smallest_budget

MAPS = st.lists(st.tuples(st.integers(1, 9000), st.booleans()), min_size=1, max_size=6)
EACH = 50_000_000


def needs_of(maps: list[tuple[int, bool]]) -> list[Need]:
    return [Need(units, 50 * large, 10**9 * (place + 1)) for place, (units, large) in enumerate(maps)]


@settings(max_examples=60, deadline=None)
@given(MAPS, st.integers(1, 90), st.integers(1, 16), st.floats(1, 20))
def test_every_pair_of_images_meets_once_for_every_map_within_the_budget(
    maps: list[tuple[int, bool]], images: int, batch: int, more: float
) -> None:
    needs, sizes = needs_of(maps), Sizes(images, batch)
    budget = int(smallest_budget(needs, sizes) * more)
    groups = plan_groups(needs, sizes, budget)
    assert [number for group in groups for number in range(group.first, group.stop)] == list(range(len(needs)))
    for group in groups:
        assert group.bytes <= budget
        assert [image for first, stop in group.blocks for image in range(first, stop)] == list(range(images))
        assert group.block % batch == 0
        rows = group.block * sum(4 * padded(one.units) + 8 * images for one in needs[group.first : group.stop])
        assert rows <= group.bytes
        again = begun_group(needs[group.first : group.stop], sizes, group.block)
        assert (again.bytes, again.blocks) == (group.bytes, group.blocks)


def test_no_other_way_to_part_the_maps_takes_less_of_the_network() -> None:
    needs = [Need(units, 0, cost * 10**9) for units, cost in ((8000, 1), (8000, 2), (900, 9), (900, 10), (100, 40))]
    sizes = Sizes(64, 4)
    budget = 12 * smallest_budget(needs, sizes) // 5

    def cost(bounds: tuple[int, ...]) -> float:
        total = 0.0
        for first, stop in zip((0, *bounds), (*bounds, len(needs)), strict=True):
            chosen = needs[first:stop]
            fitting = budget // begun_group(chosen, sizes, sizes.batch).bytes
            if fitting < 1:
                return float("inf")
            group = begun_group(chosen, sizes, -(-sizes.batches // -(-sizes.batches // fitting)) * sizes.batch)
            total += group.reads * (chosen[-1].cost + EACH)
        return total

    ways = [bounds for size in range(len(needs)) for bounds in combinations(range(1, len(needs)), size)]
    found = plan_groups(needs, sizes, budget)
    assert cost(tuple(group.first for group in found[1:])) == min(map(cost, ways))


def test_a_map_that_does_not_fit_is_an_error() -> None:
    needs, sizes = needs_of([(100, False), (5000, True)]), Sizes(10, 5)
    with pytest.raises(ValueError, match="map 1 does not fit"):
        plan_groups(needs, sizes, smallest_budget(needs, sizes) - 1)
