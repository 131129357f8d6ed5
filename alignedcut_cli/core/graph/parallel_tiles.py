"""Tiles shared among threads: small operations gain more from parallel tiles than from threads within each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypeVar

import torch

from alignedcut_cli.core.numerics import Tick, torch_threads

__all__ = ["fold_tiles", "share_tiles"]

MOST = 4
"""Maximum number of workers: more would wait for the GIL."""
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
    total: int, tile: int, device: torch.device, work: Callable[[Tiles], Found], tick: Tick | None = None
) -> list[Found]:
    """The result of `work` on its share of the tiles (start, stop) of `total` rows, one per worker.

    On a CPU each of n workers gets every n-th tile and an n-th of torch's threads; else one gets them all. Each
    worker's share depends only on n, not on timing. An error or Ctrl-C stops all after their current tile. `tick`
    counts rows in the order of tiles, from one thread at a time.
    """
    threads = torch.get_num_threads()
    workers = min(MOST, threads, max(1, total // tile)) if device.type == "cpu" else 1
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
        try:
            return work(tiles(worker))
        except BaseException:
            stopped.set()
            raise

    if workers == 1:
        return [work(tiles(0))]
    with torch_threads(threads // workers), ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(share, worker) for worker in range(workers)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stopped.set()
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

    The work is shared among threads as by `share_tiles`. Up to MOST of them compute a tile with one thread each, however
    many they are, so that what is added up depends on the tiles alone.
    """
    order = _InOrder(add)

    def share(tiles: Tiles) -> None:
        for start, stop in tiles:
            order.put(start, stop, work(start, stop))

    alone = torch_threads(1) if device.type == "cpu" and total < 2 * tile else nullcontext()
    with alone:
        share_tiles(total, tile, device, share, tick)
