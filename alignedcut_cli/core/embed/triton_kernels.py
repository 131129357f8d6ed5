"""Distances and forces of t-SNE as Triton kernels, used by `affinities` and `device` on a GPU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["pull_all", "push_all", "squares_of"]

_TARGETS, _SOURCES, _WARPS = 64, 32, 4
_ENTRIES = 128
_SIDE = 64


@triton.jit
def _squares(columns, found, first, last, total, width, TARGETS: tl.constexpr, SOURCES: tl.constexpr):
    row = tl.program_id(0) * TARGETS + tl.arange(0, TARGETS)
    j = tl.program_id(1) * SOURCES + tl.arange(0, SOURCES)
    i = first + row
    summed = tl.zeros((TARGETS, SOURCES), tl.float32)
    for column in range(width):
        start = columns + column * total
        along = tl.load(start + i, i < last, 0.0)[:, None] - tl.load(start + j, j < total, 0.0)[None, :]
        summed += along * along
    summed = tl.where(i[:, None] == j[None, :], float("inf"), summed)
    place = row.to(tl.int64)[:, None] * total + j[None, :]
    tl.store(found + place, summed, (i < last)[:, None] & (j < total)[None, :])


def squares_of(columns: Tensor, first: int, last: int) -> Tensor:
    """Squared distances (last - first, m) of rows first to last - 1 to all m, infinite to themselves: columns (C, m)."""
    width, total = columns.shape
    found = torch.empty(last - first, total, device=columns.device)
    grid = (triton.cdiv(last - first, _SIDE), triton.cdiv(total, _SIDE))
    _squares[grid](columns, found, first, last, total, width, _SIDE, _SIDE)  # pyright: ignore[reportArgumentType]
    return found


@triton.jit
def _push(places, forces, sums, total, TARGETS: tl.constexpr, SOURCES: tl.constexpr):
    i = tl.program_id(0) * TARGETS + tl.arange(0, TARGETS)
    here = i < total
    x = tl.load(places + i, here, 0.0)[:, None]
    y = tl.load(places + total + i, here, 0.0)[:, None]
    z = tl.load(places + 2 * total + i, here, 0.0)[:, None]
    fx = tl.zeros((TARGETS, SOURCES), tl.float32)
    fy = tl.zeros((TARGETS, SOURCES), tl.float32)
    fz = tl.zeros((TARGETS, SOURCES), tl.float32)
    summed = tl.zeros((TARGETS, SOURCES), tl.float32)
    for start in range(0, total, SOURCES):
        j = start + tl.arange(0, SOURCES)
        there = j < total
        # Padding points lie so far away that they push nothing
        dx = x - tl.load(places + j, there, 1e18)[None, :]
        dy = y - tl.load(places + total + j, there, 0.0)[None, :]
        dz = z - tl.load(places + 2 * total + j, there, 0.0)[None, :]
        root = tl.rsqrt(1.0 + dx * dx + dy * dy + dz * dz)  # one instruction; a division takes several
        kernel = root * root
        summed += kernel
        kernel *= kernel
        fx += kernel * dx
        fy += kernel * dy
        fz += kernel * dz
    tl.store(forces + 3 * i, tl.sum(fx, 1), here)
    tl.store(forces + 3 * i + 1, tl.sum(fy, 1), here)
    tl.store(forces + 3 * i + 2, tl.sum(fz, 1), here)
    tl.store(sums + i, tl.sum(summed, 1), here)


def push_all(
    places: Tensor, targets: int = _TARGETS, sources: int = _SOURCES, warps: int = _WARPS
) -> tuple[Tensor, Tensor]:
    """Forces (m, 3) and sums (m,) of all pairs: see `device.push_all`; tiles of targets x sources, for `warps` warps."""
    total = len(places)
    columns = places.T.contiguous()
    forces, sums = torch.empty_like(places), torch.empty_like(columns[0])
    grid = (triton.cdiv(total, _TARGETS),)
    _push[grid](columns, forces, sums, total, _TARGETS, _SOURCES, num_warps=_WARPS)  # pyright: ignore[reportCallIssue]
    return forces, sums


@triton.jit
def _pull(values, columns, bounds, places, forces, told, ENTRIES: tl.constexpr):
    i = tl.program_id(0)
    begin, end = tl.load(bounds + i), tl.load(bounds + i + 1)
    x, y, z = tl.load(places + 3 * i), tl.load(places + 3 * i + 1), tl.load(places + 3 * i + 2)
    fx = tl.zeros((ENTRIES,), tl.float32)
    fy = tl.zeros((ENTRIES,), tl.float32)
    fz = tl.zeros((ENTRIES,), tl.float32)
    summed = tl.zeros((ENTRIES,), tl.float32)
    for start in range(begin, end, ENTRIES):
        entry = start + tl.arange(0, ENTRIES)
        there = entry < end
        value = tl.load(values + entry, there, 0.0)
        j = tl.load(columns + entry, there, 0)
        dx = x - tl.load(places + 3 * j)
        dy = y - tl.load(places + 3 * j + 1)
        dz = z - tl.load(places + 3 * j + 2)
        inverse = 1.0 + dx * dx + dy * dy + dz * dz
        pulled = value / inverse
        fx += pulled * dx
        fy += pulled * dy
        fz += pulled * dz
        summed += tl.where(value > 0, value * tl.log(tl.where(value > 0, value * inverse, 1.0)), 0.0)
    tl.store(forces + 3 * i, tl.sum(fx, 0))
    tl.store(forces + 3 * i + 1, tl.sum(fy, 0))
    tl.store(forces + 3 * i + 2, tl.sum(fz, 0))
    tl.store(told + i, tl.sum(summed, 0))


def pull_all(values: Tensor, columns: Tensor, bounds: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Forces (m, 3) and mismatches (m,) of sparse affinities: see `device.pull_all`."""
    places = places.contiguous()
    forces, told = torch.empty_like(places), torch.empty_like(places[:, 0].contiguous())
    _pull[(len(places),)](values, columns, bounds, places, forces, told, _ENTRIES)  # pyright: ignore[reportArgumentType]
    return forces, told
