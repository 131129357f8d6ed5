"""Tiles shared among threads: every row once, results in order, threads put back, errors and interrupts passed on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from alignedcut_cli.core.graph.parallel_tiles import MOST, fold_tiles, share_items, share_tiles

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


@given(total=some.integers(1, 500), tile=some.integers(1, 600))
def test_every_row_is_in_one_tile_and_workers_are_in_order(total: int, tile: int) -> None:
    shares = share_tiles(total, tile, CPU, list)
    assert 1 <= len(shares) <= min(3, MOST, max(1, total // tile))
    tiles = sorted(one for share in shares for one in share)
    assert [start for start, _ in tiles] == list(range(0, total, tile))
    assert [stop for _, stop in tiles] == [*range(tile, total, tile), total]
    assert [share[0][0] for share in shares] == [worker * tile for worker in range(len(shares))]


def test_workers_run_side_by_side_with_one_thread_each() -> None:
    """They would wait for one another for ever if they came one after another."""
    together = threading.Barrier(3, timeout=30)

    def work(tiles: Iterator[tuple[int, int]]) -> int:
        together.wait()
        return torch.get_num_threads()

    assert share_tiles(30, 10, CPU, work) == [1, 1, 1]


def test_ticks_come_in_the_order_of_tiles_whoever_ends_first() -> None:
    ticks: list[int] = []
    late = threading.Event()

    def work(tiles: Iterator[tuple[int, int]]) -> None:
        for start, _ in tiles:
            if start == 0:
                late.wait(30)  # until the last tile is in hand
            elif start == 28:
                assert ticks == []
                late.set()

    share_tiles(31, 7, CPU, work, ticks.append)
    assert ticks == [7, 7, 7, 7, 3]


@given(total=some.integers(1, 500), tile=some.integers(1, 600))
def test_what_tiles_give_is_added_in_their_order(total: int, tile: int) -> None:
    found: list[tuple[int, int]] = []
    fold_tiles(total, tile, CPU, lambda start, stop: (start, stop), found.append)
    assert [start for start, _ in found] == list(range(0, total, tile))
    assert [stop for _, stop in found] == [*range(tile, total, tile), total]


def test_a_late_tile_is_waited_for_and_each_is_computed_by_one_thread() -> None:
    late, found = threading.Event(), list[int]()

    def work(start: int, stop: int) -> int:
        if start == 0:
            late.wait(30)  # until the last tile is in hand
        elif start == 28:
            late.set()
        assert torch.get_num_threads() == 1
        return start

    fold_tiles(31, 7, CPU, work, found.append)
    assert found == [0, 7, 14, 21, 28]
    fold_tiles(10, 7, CPU, lambda start, stop: torch.get_num_threads(), found.append)
    assert found[5:] == [1, 1]


def test_an_error_stops_the_others_after_the_tile_in_hand() -> None:
    seen: list[int] = []

    def work(tiles: Iterator[tuple[int, int]]) -> None:
        for start, _ in tiles:
            if start == 1:
                raise MemoryError("tile 1")
            seen.append(start)
            stopped.wait(0.01)

    stopped = threading.Event()
    with pytest.raises(MemoryError, match="tile 1"):
        share_tiles(3000, 1, CPU, work)
    assert len(seen) < 1000


@given(some.lists(some.sets(some.integers(0, 5), min_size=1, max_size=2), max_size=60))
def test_every_item_is_done_once_and_never_beside_one_that_needs_the_same(needs: list[set[int]]) -> None:
    busy, done, lock = set[int](), list[int](), threading.Lock()

    def work(number: int) -> None:
        with lock:
            assert busy.isdisjoint(needs[number])
            busy.update(needs[number])
        with lock:
            busy.difference_update(needs[number])

    share_items(needs, work, done.append)
    assert sorted(done) == list(range(len(needs)))


def test_items_run_side_by_side_and_pass_those_that_wait() -> None:
    """Item 1 needs what item 0 has until item 2 is at work beside it."""
    together, begun = threading.Barrier(2, timeout=30), list[int]()

    def work(number: int) -> None:
        begun.append(number)
        assert torch.get_num_threads() == 1
        if number in (0, 2):
            together.wait()

    share_items([{0, 1}, {1}, {2}], work)
    assert begun[-1] == 1 and sorted(begun) == [0, 1, 2]


def test_an_error_stops_the_other_items() -> None:
    seen: list[int] = []

    def work(number: int) -> None:
        if number == 1:
            raise MemoryError("item 1")
        seen.append(number)
        threading.Event().wait(0.01)

    with pytest.raises(MemoryError, match="item 1"):
        share_items([{number} for number in range(3000)], work)
    assert len(seen) < 1000


def test_other_devices_have_one_worker() -> None:
    assert len(share_tiles(100, 10, torch.device("meta"), list)) == 1
