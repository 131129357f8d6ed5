"""Tiles shared among threads: small operations gain more from parallel tiles than from threads within each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from alignedcut_cli.core.numerics import Tick, keep_to_torch_threads, torch_threads

__all__ = ["fold_tiles", "share_items", "share_tiles"]

MOST, MOST_ALONE = 4, 16
"""Maximum number of workers: more would wait for the GIL. Where each keeps to one thread, tiles take long and more serve."""
Found = TypeVar("Found")
Tiles = Iterator[tuple[int, int]]


class _InOrder:
    """Gives what threads put in, each for rows start to stop, to `take` in the order of rows, one at a time."""

    def __init__(self, take: Callable[[Any], object]) -> None:
        self._take, self._lock, self._waiting, self._next = take, threading.Lock(), {}, 0

    def put(self, start: int, stop: int, found: Any) -> None:
        with self._lock:
            self._waiting[start] = stop, found
            while self._next in self._waiting:
                self._next, found = self._waiting.pop(self._next)
                self._take(found)


def share_tiles(
    total: int,
    tile: int,
    device: torch.device,
    work: Callable[[Tiles], Found],
    tick: Tick | None = None,
    *,
    alone: bool = False,
) -> list[Found]:
    """The result of `work` on its share of the tiles (start, stop) of `total` rows, one per worker.

    On a CPU each of n workers gets every n-th tile and an n-th of torch's threads, or one thread if it is to work `alone`;
    else one gets them all. Each worker's share depends only on n, not on timing. An error or Ctrl-C stops all after their
    current tile. `tick` counts rows in the order of tiles, from one thread at a time.
    """
    threads = torch.get_num_threads()
    most = MOST_ALONE if alone else MOST
    workers = min(most, threads, max(1, total // tile)) if device.type == "cpu" else 1
    each = 1 if alone and device.type == "cpu" else threads // workers
    stopped, ticks = threading.Event(), _InOrder(tick) if tick else None

    def tiles(worker: int) -> Tiles:
        for start in range(worker * tile, total, workers * tile):
            if stopped.is_set():
                return
            stop = min(start + tile, total)
            yield start, stop
            if ticks:
                ticks.put(start, stop, stop - start)

    def share(worker: int) -> Found:
        keep_to_torch_threads()
        try:
            return work(tiles(worker))
        except BaseException:
            stopped.set()
            raise

    if workers == 1:
        with torch_threads(each):
            return [work(tiles(0))]
    with torch_threads(each), ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(share, worker) for worker in range(workers)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stopped.set()
            raise


def share_items(
    needs: Sequence[Set[int]], work: Callable[[int], object], done: Callable[[int], object] | None = None
) -> None:
    """Do `work` for the number of each item; items that need the same thing are never at work at one time. For a CPU.

    Up to MOST threads share the items, and begin them in their order, but for those that have to wait. `done` gets the
    number of each that is finished, one at a time. An error or Ctrl-C stops all after their current item.
    """
    threads = torch.get_num_threads()
    workers = min(MOST, threads, max(1, len(needs)))
    waiting, busy, changed = list(range(len(needs))), set[int](), threading.Condition()

    def take() -> int | None:
        while waiting:
            for place, number in enumerate(waiting):
                if busy.isdisjoint(needs[number]):
                    busy.update(needs[number])
                    return waiting.pop(place)
            changed.wait()
        return None

    def give_back(number: int, error: BaseException | None) -> None:
        busy.difference_update(needs[number])
        if error:
            waiting.clear()
        elif done:
            done(number)
        changed.notify_all()

    def share() -> None:
        keep_to_torch_threads()
        while True:
            with changed:
                number = take()
            if number is None:
                return
            error = None
            try:
                work(number)
            except BaseException as raised:
                error = raised
                raise
            finally:
                with changed:
                    give_back(number, error)

    with torch_threads(threads // workers), ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(share) for _ in range(workers)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            with changed:
                waiting.clear()
            raise


def fold_tiles(
    total: int,
    tile: int,
    device: torch.device,
    work: Callable[[int, int], Found],
    add: Callable[[Found], object],
    tick: Tick | None = None,
) -> None:
    """Hand `work(start, stop)` of every tile to `add`, in the order of tiles and one at a time: a sum in a fixed order.

    The work is shared among threads as by `share_tiles`. Each tile is computed by one thread, however many there are, as
    the digits of a product depend on them: so what is added up depends on the tiles alone.
    """
    order = _InOrder(add)

    def share(tiles: Tiles) -> None:
        for start, stop in tiles:
            order.put(start, stop, work(start, stop))

    share_tiles(total, tile, device, share, tick, alone=True)
