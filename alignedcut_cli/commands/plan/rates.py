"""The rates of this machine, measured with the functions that the commands run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from alignedcut_cli.core.embed.colours import ITERATIONS, nearest_rows
from alignedcut_cli.core.embed.tsne import tsne
from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.landmarks import Extension
from alignedcut_cli.core.graph.lowrank import landmark_count, pilot_lowrank, pilot_nodes
from alignedcut_cli.core.graph.one_pass import (
    Projected,
    degree_map,
    degrees_of,
    gram_of,
    project,
    rotate,
    top_rotation,
)
from alignedcut_cli.core.graph.quantised_cosines import quick_precisions
from alignedcut_cli.store.files import disk_errors, remove

if TYPE_CHECKING:
    from alignedcut_cli.backbones.load import Backbone
    from alignedcut_cli.backbones.pipeline import TokenChoice

__all__ = ["Rates", "images_per_second", "measure"]

STREAMED = 65_536
"""Nodes of which the pass is timed."""
DISK_BYTES = 256 << 20
TRIED = 20
"""Iterations of t-SNE that are timed, of `sum(ITERATIONS)`."""


class _EnoughError(Exception):
    """Raised to end a t-SNE once its rate is known."""


@dataclass(frozen=True)
class Rates:
    """Seconds and rates of one machine, with every core, or of its GPU.

    pilot      s: landmarks and the sample's Gram matrix, for any number of nodes
    passed     nodes/s of the pass of `cut`, transforms included
    embedded   nodes/s by a cut's out-of-sample map
    placed     s: t-SNE of the `sample` nodes
    assigned   nodes/s that take the coordinates of their nearest node
    read, written  bytes/s of the project's disk
    """

    pilot: float
    passed: float
    embedded: float
    placed: float
    assigned: float
    read: float
    written: float
    precision: str

    def as_object(self) -> dict[str, Any]:
        return asdict(self)


def measure(width: int, channels: int | None, count: int, sample: int, device: torch.device, folder: Path) -> Rates:
    """The rates for nodes of D = `width` channels, transformed to E = `channels` (None: raw space), C = `count`.

    Takes some 20 seconds, and temporarily DISK_BYTES of disk. Raises DiskError or PermissionDeniedError.
    """
    pilot, passed, precision = _cut_rates(width, channels, count, device)
    placed, assigned = _colour_rates(count, sample, device)
    read, written = _disk_rates(folder)
    embedded = _embedding_rate(width, channels, count, device)
    return Rates(pilot, passed, embedded, placed, assigned, read, written, precision)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _rows(total: int, width: int) -> np.ndarray:
    """Stored features (M, D) float16 in 40 clusters, as wide as the study's."""
    random = np.random.default_rng(0)
    kinds = random.standard_normal((40, width), np.float32) * 1.5
    noise = random.standard_normal((4096, width), np.float32)
    chosen = random.integers(40, size=total)
    return np.concatenate(
        [(kinds[part] + noise[: len(part)]).astype(np.float16) for part in np.split(chosen, range(4096, total, 4096))]
    )


def _reader(
    stored: np.ndarray, channels: int | None, products: str, device: torch.device
) -> Callable[[slice | np.ndarray], torch.Tensor]:
    """A reader of rows from memory as `cut` reads them from disk: moved to the device and transformed to E channels."""
    width, kind = stored.shape[1], getattr(torch, products)
    moved = None if channels is None else (torch.randn(width, channels) / width**0.5).to(device, kind)

    def read(which: slice | np.ndarray) -> torch.Tensor:
        rows = torch.from_numpy(stored[which]).to(device)
        return rows.float() if moved is None else (rows.to(kind) @ moved).float()

    return read


def _cut_rates(width: int, channels: int | None, count: int, device: torch.device) -> tuple[float, float, str]:
    """(seconds of the pilot, nodes/s of the pass, precision of its cosines), each timed alone, the pass the second time."""
    most = landmark_count(10**9)
    total = pilot_nodes(10**9, most) + STREAMED
    able = quick_precisions(device)
    products = [one for one in able if one != "int8"][-1]
    read = _reader(_rows(total, width), channels, products, device)
    began = time.perf_counter()
    pilot = pilot_lowrank(lambda ids: read(ids.cpu().numpy()), total, count, nodes=most)
    prepared = time.perf_counter() - began
    into = Projected.empty(STREAMED, count, len(pilot.guess), device)

    def passing() -> None:
        sums = project(pilot, lambda a, b: read(slice(a, b)), 0, STREAMED, into, precision=able[-1])
        coefficients = degree_map(pilot, sums.mass)
        degrees = degrees_of(into, coefficients)
        _, turn = top_rotation(gram_of(into, degrees), count)
        rotate(into, degrees, turn, torch.empty_like(into.first))

    passing()
    return prepared, STREAMED / _seconds(passing), able[-1]


def _embedding_rate(width: int, channels: int | None, count: int, device: torch.device) -> float:
    size, total = landmark_count(10**9), 8 * 4096
    read = _reader(_rows(total, width), channels, "float32", device)
    landmarks = unit_rows(torch.randn(size, channels or width, device=device))
    extension = Extension(landmarks, torch.randn(size + 1, count + 1, device=device).abs(), 1.0)

    def embed() -> None:
        for start in range(0, total, 4096):
            extension.rows(unit_rows(read(slice(start, start + 4096)))).cpu()

    embed()
    return total / _seconds(embed)


def _colour_rates(count: int, sample: int, device: torch.device) -> tuple[float, float]:
    """(seconds of a whole t-SNE of the sample, nodes/s of the assignment of the others)."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((sample, count)).astype(np.float32)
    rows += 4 * random.standard_normal((40, count)).astype(np.float32)[random.integers(40, size=sample)]
    began, times = time.perf_counter(), []

    def tick(_: int) -> None:
        times.append(time.perf_counter())
        if len(times) > TRIED:
            raise _EnoughError

    with suppress(_EnoughError):
        tsne(rows, 3, perplexity=30.0, seed=0, device=device, tick=tick)
    start, pace = times[0] - began, (times[-1] - times[0]) / (len(times) - 1)
    others = np.tile(rows, (max(1, 20_000 // sample), 1))
    return start + pace * sum(ITERATIONS), len(others) / _seconds(lambda: nearest_rows(others, rows))


def _disk_rates(folder: Path) -> tuple[float, float]:
    """(bytes/s read, bytes/s written) of the disk of a folder, without the page cache."""
    path = folder / f".plan.{os.getpid()}.tmp"
    block = np.random.default_rng(0).bytes(16 << 20)
    try:
        with disk_errors(path):
            began = time.perf_counter()
            with path.open("wb") as stream:
                for _ in range(DISK_BYTES // len(block)):
                    stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())
            written = DISK_BYTES / (time.perf_counter() - began)
            with path.open("rb", buffering=0) as stream:
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                began = time.perf_counter()
                while stream.read(16 << 20):
                    pass
            return DISK_BYTES / (time.perf_counter() - began), written
    finally:
        remove(path)


def images_per_second(
    loaded: Backbone,
    layers: Sequence[int],
    tap: str,
    choice: TokenChoice,
    dtype: str,
    device: torch.device,
    folder: Path,
) -> float:
    """Images/s of `extract`: a JPEG of 500 x 375 decoded, resized, run through the model and stored."""
    from PIL import Image

    from alignedcut_cli.backbones.pipeline import batch_size_for, extract_shards

    path = folder / f".plan.{os.getpid()}.jpg"
    coarse = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    batch = batch_size_for("auto", device)
    try:
        with disk_errors(path):
            Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)

        def extract(batches: int) -> None:
            shards = [(number, number * batch, (number + 1) * batch) for number in range(batches)]
            for _ in extract_shards(
                loaded, [path] * (batch * batches), shards, layers, taps=(tap,), tokens=choice, dtype=dtype,
                batch_size=batch, workers=os.cpu_count() or 1,
            ):  # fmt: skip
                pass

        extract(1)
        return 2 * batch / _seconds(lambda: extract(2))
    finally:
        remove(path)
