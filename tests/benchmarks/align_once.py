"""One alignment of a made-up set in a process of its own: `python -m tests.benchmarks.align_once FOLDER DEVICE EPOCHS`.

It reads what `made_up.write_made_up` left in FOLDER and prints one JSON object: seconds and peak memory by stage, the
R^2 on the test images, and what the arithmetic alone would take. EPOCHS 0 is the ridge start alone.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.align.loss import Weights, predict
from alignedcut_cli.core.align.reduced_rank_ridge import ALPHAS
from alignedcut_cli.core.align.scores import r_squared
from alignedcut_cli.core.align.train import PLACES, Draw, Settings, fit_alignment
from tests.benchmarks.made_up import Shape, draw_from, parts, read_shape

__all__ = ["gemm_speed", "peak_bytes", "start_flop", "step_flop", "threads"]

CHOSEN_ON, SCORED = 2000, 2048
"""Images and voxels at most with which the ridge penalty is chosen."""


def threads() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gemm_speed(device: torch.device, size: int = 2048, rounds: int = 5) -> float:
    """Floating-point operations a second of a float32 matrix product (median; one run to warm up)."""
    left, right = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    times = []
    for _ in range(rounds + 1):
        wait(device)
        began = time.perf_counter()
        left @ right
        wait(device)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(times[1:])


def peak_bytes(field_name: str = "VmHWM") -> int:
    """Memory of this process in bytes from /proc/self/status: VmHWM is its peak, RssFile what is mapped from files now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field_name}:"))


def start_flop(shape: Shape, dim: int) -> float:
    """Operations of the ridge start: Gram matrices, eigenvectors (9 k^3 of k x k) and products, each as full products.

    At the least: with one round of slot factors (four solutions), and of the agreement on places only what it sets up
    and the first residual.
    """
    fit, heldout, _ = parts(shape.images)
    few = min(len(fit), CHOSEN_ON)
    penalty = _solve_flop(shape, few, min(shape.voxels, SCORED), dim) + _score_flop(shape, len(heldout), SCORED, dim)
    whole = _solve_flop(shape, len(fit), shape.voxels, dim) + _score_flop(shape, len(heldout), shape.voxels, dim)
    spectra = 2 * _spectra_flop(shape, few) + _spectra_flop(shape, len(fit))
    rows, widths = len(fit) + PLACES, shape.slots * shape.width
    agreement = 2 * rows * widths * shape.width + 4 * rows * widths * dim
    return spectra + (len(ALPHAS) + 4) * penalty + whole + agreement


def _spectra_flop(shape: Shape, images: int) -> float:
    small = min(images, shape.width)
    vectors = 2 * images * shape.width**2 if images > shape.width else 0
    return shape.slots * (2 * images * shape.width * small + 9 * small**3 + vectors)


def _solve_flop(shape: Shape, images: int, voxels: int, dim: int) -> float:
    channels, small = shape.slots * min(shape.width, images), min(images, voxels)
    smoother = 2 * images**2 * channels + 9 * images**3
    beta = 2 * images**2 * voxels + 2 * images * voxels * small + 9 * small**3 + 2 * images * voxels * dim
    return smoother + beta + 2 * images * dim * (voxels + 3 * channels)


def _score_flop(shape: Shape, images: int, voxels: int, dim: int) -> float:
    return 2 * images * dim * (shape.slots * shape.width + voxels)


def step_flop(shape: Shape, dim: int, batch: int, nodes: int) -> float:
    """Operations of one step: the brain term 2 b (sum D_i E + E N) and the nodes 2 m sum D_i E, forward and backward."""
    widths = shape.slots * shape.width
    return 3 * (2 * batch * (widths * dim + dim * shape.voxels) + 2 * nodes * widths * dim)


@dataclass
class Watch:
    """When each stage ended, and the process's peak by then."""

    device: torch.device
    steps: int
    marks: list[tuple[str, float, int]] = field(default_factory=list)
    done: int = 0

    def mark(self, name: str) -> None:
        wait(self.device)
        self.marks.append((name, time.perf_counter(), peak_bytes()))
        passed = self.marks[-1][1] - self.marks[0][1]
        print(f"{name}: {passed:.0f} s, at most {self.marks[-1][2] / 1e9:.2f} GB", file=sys.stderr, flush=True)

    def tick(self, count: int) -> None:
        self.done += count
        if self.done % self.steps == 0:
            self.mark("epoch")

    def around(self, draw: Draw, images: int) -> Draw:
        """`draw` that marks the end of the start: the first draw that is not for all `images` is that of a step."""

        def drawn(rows: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
            if len(rows) < images and self.marks[-1][0] == "load":
                self.mark("start")
            return list(draw(rows, count, generator))

        return drawn

    def seconds(self, name: str) -> list[float]:
        """The length of each stage of that name."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return [after[1] - before[1] for before, after in pairs if after[0] == name]

    def peak(self, name: str) -> int:
        """The peak up to the end of the last stage of that name."""
        return max(bytes_ for called, _, bytes_ in self.marks if called == name)


def read(folder: Path, shape: Shape, device: torch.device) -> tuple[list[Tensor], Tensor, list[np.ndarray]]:
    """Mean tokens (B, D) and responses (known images, N) on `device`, and the tokens mapped from their files."""
    names = [f"{number:02d}.npy" for number in range(shape.slots)]
    pooled = [torch.from_numpy(np.load(folder / f"pooled-{name}")).to(device) for name in names]
    responses = torch.from_numpy(np.load(folder / "known.npy")).to(device)
    return pooled, responses, [np.load(folder / f"tokens-{name}", mmap_mode="r") for name in names]


def run(folder: Path, device: torch.device, epochs: int) -> dict[str, object]:
    """Fit, test and measure."""
    shape, best = read_shape(folder)
    fit, heldout, test = parts(shape.images)
    settings = Settings(dim=shape.width, weights=Weights(agree=0.3), epochs=epochs)
    speed = gemm_speed(device)
    watch, libraries = Watch(device, -(-len(fit) // settings.batch)), peak_bytes("RssFile")
    watch.mark("begin")
    pooled, responses, tokens = read(folder, shape, device)
    watch.mark("load")
    known = [mean[: test.start] for mean in pooled]
    draw = watch.around(draw_from(tokens, device), len(fit))
    found = fit_alignment(known, responses, draw, fit.to(device), heldout.to(device), settings, watch.tick)
    watch.mark("end")
    memory = {name: watch.peak(name) for name in dict.fromkeys(mark[0] for mark in watch.marks)}
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    mapped = peak_bytes("RssFile") - libraries
    predicted = predict([mean[test] for mean in pooled], found.transforms, found.beta, found.eps)
    score = float(r_squared(predicted, torch.from_numpy(np.load(folder / "test.npy")).to(device)).mean())
    start = watch.seconds("start") or watch.seconds("end")
    return {
        "load_s": sum(watch.seconds("load")),
        "start_s": sum(start),
        "epochs_s": watch.seconds("epoch"),
        "total_s": watch.marks[-1][1] - watch.marks[0][1],
        "peak": memory,
        "mapped": mapped,
        "device_peak": on_device,
        "threads": torch.get_num_threads(),
        "r2": score,
        "best_r2": best,
        "heldout": found.heldout.tolist(),
        "kept_epoch": found.best,
        "penalty": found.start.alpha if found.start else None,
        "speed": [speed, gemm_speed(device)],
        "start_flop": start_flop(shape, settings.dim),
        "step_flop": step_flop(shape, settings.dim, settings.batch, settings.nodes),
        "steps": watch.steps,
        "batch": settings.batch,
    }


if __name__ == "__main__":
    torch.set_num_threads(threads())
    print(json.dumps(run(Path(sys.argv[1]), torch.device(sys.argv[2]), int(sys.argv[3]))))
