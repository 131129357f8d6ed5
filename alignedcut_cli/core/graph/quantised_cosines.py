"""Columns of the affinity at fixed landmarks, in float32, bfloat16 or int8 products."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import LOG2_E, affinity
from alignedcut_cli.core.graph.parallel_tiles import torch_threads

__all__ = [
    "MOST_BLUR",
    "PRECISIONS",
    "Columns",
    "blur",
    "columns_at",
    "cosines_at",
    "error_at",
    "product_speed",
    "quick_precisions",
]

PRECISIONS = ("float32", "bfloat16", "int8")
"""Precisions of the products, from the exact one to the coarsest."""
MOST_BLUR = 0.01
"""The largest acceptable `blur`: beyond, rounding adds as much to a cut's error as 1,000 landmarks leave."""
_WORTH_IT = 1.3
_TURNS = 9
_EMULATED = 4
_LEVELS = 127
_int8_product = torch._int_mm  # pyright: ignore[reportPrivateImportUsage]
"""(n, k) by (k, m) of int8 to int32: the only such product in torch, used by its own quantisation library."""
Columns = Callable[[Tensor], Tensor]
"""From unit rows (t, D) to A (t, m), float32, with m landmarks."""


def columns_at(landmarks: Tensor, gamma: float, precision: str) -> Columns:
    """A = exp((u z - 1) / gamma) with unit rows Z (m, D), its cosines computed in `precision`, one of PRECISIONS.

    Low precision: with c the mean of Z, u z = (u - c)(z - c) + u c + z c - c c. Only the first term is rounded; the part
    common to all nodes, such as channels that are large everywhere, is in the others, in float32. int8 quantises each row
    to 127 steps of its largest entry, and its products are exact integers.
    """
    if precision == "float32":
        return lambda units: affinity(units, landmarks, gamma)
    scale = LOG2_E / gamma
    exponents = _scaled_cosines(landmarks, scale, -scale, precision)
    return lambda units: exponents(units).exp2_()


def cosines_at(landmarks: Tensor, precision: str) -> Columns:
    """The cosines u z with unit rows Z (m, D), computed in `precision` as in `columns_at`."""
    if precision == "float32":
        turned = landmarks.T
        return lambda units: units @ turned
    return _scaled_cosines(landmarks, 1.0, 0.0, precision)


def error_at(landmarks: Tensor, precision: str) -> Callable[[Tensor], float]:
    """The most by which what `cosines_at` gives for some rows (t, D) may be off, beyond the rounding of float32.

    With u + e for u and z + f for z, (u + e)(z + f) - u z <= |e| |z| + |u| |f| + |e| |f|, and bfloat16 rounds products.
    """
    if precision == "float32":
        return lambda _: 0.0
    centre = landmarks.mean(0)
    theirs, their_loss = _lost(landmarks - centre, precision)
    of_product = 2.0**-8 if precision == "bfloat16" else 0.0

    def error(units: Tensor) -> float:
        own, loss = _lost(units - centre, precision)
        return loss * theirs + own * their_loss + loss * their_loss + of_product * (own + loss) * (theirs + their_loss)

    return error


def _lost(rows: Tensor, precision: str) -> tuple[float, float]:
    """The greatest length of rows (t, D), and that of what a low precision takes from one."""
    if precision == "bfloat16":
        rounded = rows.bfloat16().float()
    else:
        codes, steps = _codes(rows.clone())
        rounded = codes.float() * steps
    return float(rows.norm(dim=1).max()), float((rows - rounded).norm(dim=1).max())


def _scaled_cosines(landmarks: Tensor, scale: float, shift: float, precision: str) -> Columns:
    """From rows u to scale u z + shift, its first term around the landmarks' mean in low `precision`."""
    centre = landmarks.mean(0)  # (D,)
    products = _PRODUCTS[precision]((landmarks - centre).mul_(scale))
    offsets = torch.mv(landmarks, centre).sub_(centre @ centre).mul_(scale).add_(shift)  # (m,)

    def columns(units: Tensor) -> Tensor:
        shared = torch.mv(units, centre).mul_(scale)  # (t,)
        return products(units - centre).add_(shared[:, None]).add_(offsets)

    return columns


def _bfloat16_products(landmarks: Tensor) -> Columns:
    turned = landmarks.bfloat16().T
    return lambda rows: (rows.bfloat16() @ turned).float()


def _int8_products(landmarks: Tensor) -> Columns:
    codes, own = _codes(landmarks)
    turned, own = codes.T, own.T

    def products(rows: Tensor) -> Tensor:
        codes, steps = _codes(rows)
        return _int8_product(codes, turned).float().mul_(steps).mul_(own)  # (t, m)

    return products


_PRODUCTS = {"bfloat16": _bfloat16_products, "int8": _int8_products}


def _codes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (t, D), overwritten, as int8 codes times a step per row (t, 1)."""
    steps = rows.abs().amax(1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny).div_(_LEVELS)
    return rows.div_(steps).round_().to(torch.int8), steps


def blur(units: Tensor, gamma: float, precision: str) -> float:
    """The rms error of affinities among unit rows (n, D) in `precision`, relative to their standard deviation."""
    exact = columns_at(units, gamma, "float32")(units)
    return float((columns_at(units, gamma, precision)(units) - exact).norm() / (exact - exact.mean()).norm())


def quick_precisions(device: torch.device) -> list[str]:
    """Those of PRECISIONS that are at least 1.3 times as fast as the ones before; float32 is the first.

    Machines with bfloat16 or int8 instructions gain a factor of two or more at each step, others lose: the margin is wide.
    So that a busy machine decides as an idle one, all are timed alternately, the best of nine counts, and on a CPU only the
    processor time of this thread. What emulates such instructions takes 8 to 30 times as long, and is left out after the
    best of five smaller products.
    """
    able = PRECISIONS[: 3 if device.type == "cpu" else 2]
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    with torch_threads(1):
        small = {kind: min(_product_seconds(device, kind, clock, rows=32) for _ in range(5)) for kind in able}
        able = [kind for kind in able if small[kind] < _EMULATED * small["float32"]]
        turns = [[_product_seconds(device, kind, clock) for kind in able] for _ in range(_TURNS if able[1:] else 1)]
    best: dict[str, float] = dict(zip(able, map(min, zip(*turns, strict=True)), strict=True))
    found = ["float32"]
    for coarser in PRECISIONS[1:]:
        if coarser in best and best[found[-1]] > _WORTH_IT * best[coarser]:
            found.append(coarser)
    return found


def product_speed(device: torch.device, precision: str = "float32") -> float:
    """Operations per second of a (512, 768) by (768, 512) product: the best of four."""
    return 2 * 512 * 768 * 512 / min(_product_seconds(device, precision, time.perf_counter) for _ in range(4))


def _product_seconds(device: torch.device, precision: str, clock: Callable[[], float], rows: int = 512) -> float:
    """Seconds, by a clock, of a (rows, 768) by (768, 512) product."""
    kind = getattr(torch, precision)
    left, right = (torch.ones(count, 768, dtype=kind, device=device) for count in (rows, 512))
    multiply = _int8_product if precision == "int8" else torch.mm
    began = clock()
    multiply(left, right.T)[0, 0].item()
    return clock() - began
