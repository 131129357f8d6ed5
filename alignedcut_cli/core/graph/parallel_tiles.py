"""Tiles shared among threads: small operations gain more from parallel tiles than from threads within each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from alignedcut_cli.core.numerics import Tick, torch_threads

__all__ = ["share_tiles"]

MOST = 4
"""Maximum number of workers: more would wait for the GIL."""
Found = TypeVar("Found")
Tiles = Iterator[tuple[int, int]]


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
    stopped, telling, waiting = threading.Event(), threading.Lock(), {}
    told = 0

    def tell(start: int, rows: int, tick: Tick) -> None:
        nonlocal told
        with telling:
            waiting[start] = rows
            while told in waiting:
                rows = waiting.pop(told)
                told += rows
                tick(rows)

    def tiles(worker: int) -> Tiles:
        for start in range(worker * tile, total, workers * tile):
            if stopped.is_set():
                return
            stop = min(start + tile, total)
            yield start, stop
            if tick:
                tell(start, stop - start, tick)

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
