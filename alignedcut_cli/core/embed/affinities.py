"""Affinities of t-SNE on any device: a Gaussian over each row's nearest neighbours at the given perplexity, symmetrised."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.embed import on_host
from alignedcut_cli.core.embed.on_host import CLOSE, MOST_STEPS, REACH, Affinities
from alignedcut_cli.core.embed.threads import Threads

__all__ = ["affinities", "conditionals", "nearest_others", "triton_kernels"]

_TILE = 1 << 26


def affinities(rows: Tensor, perplexity: float, threads: Threads) -> Affinities:
    """P = (p_j|i + p_i|j) / 2 m of rows (m, C) float32 (van der Maaten and Hinton 2008, Eq. 1), on the rows' device.

    p_j|i is 0 except for the 3 x perplexity nearest rows.
    """
    if rows.device.type == "cpu":
        found = on_host.host_affinities(rows.numpy(), perplexity, threads)
        return Affinities(*map(torch.from_numpy, (found.values, found.columns, found.bounds)))
    total = len(rows)
    indices, squares = nearest_others(rows, min(total - 1, int(REACH * perplexity)), threads)
    return _joint(indices, conditionals(squares, perplexity) / (2 * total))


def _joint(indices: Tensor, shares: Tensor) -> Affinities:
    """S + S^T for S (m, m) with `shares` (m, k) at the columns `indices` (m, k) of its rows."""
    total = len(indices)
    mine = torch.arange(total, device=indices.device)[:, None].expand_as(indices).flatten()
    others, values = indices.flatten().long(), shares.flatten()
    # Each pair as one number, twice where it is in both rows
    pairs, order = torch.cat([mine * total + others, others * total + mine]).sort(stable=True)
    pairs, place = pairs.unique_consecutive(return_inverse=True)
    summed = torch.zeros(len(pairs), dtype=values.dtype, device=values.device)
    summed.index_add_(0, place, torch.cat([values, values])[order])
    edges = torch.arange(total + 1, device=indices.device) * total
    return Affinities(summed.float(), (pairs % total).int(), torch.searchsorted(pairs, edges))


def nearest_others(rows: Tensor, count: int, threads: Threads) -> tuple[Tensor, Tensor]:
    """The `count` nearest neighbours of each of rows (m, C) float32: indices (m, k) int32, squared distances float32.

    Brute force, from differences: in a compiled loop on the CPU, elsewhere in tiles. Neighbours are not sorted.
    """
    if rows.device.type == "cpu":
        indices, squares = on_host.nearest_among(rows.numpy(), count, threads)
        return torch.from_numpy(indices), torch.from_numpy(squares)
    columns = rows.T.contiguous()
    squares_of = compiled.squares_of if (compiled := triton_kernels(rows)) else _squares_of
    step = max(1, _TILE // len(rows))
    tiles = (squares_of(columns, start, min(start + step, len(rows))) for start in range(0, len(rows), step))
    found = [tile.topk(count, largest=False, sorted=False) for tile in tiles]
    return torch.cat([one.indices for one in found]).int(), torch.cat([one.values for one in found])


def _squares_of(columns: Tensor, first: int, last: int) -> Tensor:
    """Squared distances (last - first, m) of rows first to last - 1 to all m, infinite to themselves: columns (C, m)."""
    found = torch.zeros(last - first, columns.shape[1], device=columns.device)
    for column in columns:
        along = column[first:last, None] - column
        found.addcmul_(along, along)
    found[:, first:last].fill_diagonal_(torch.inf)
    return found


def triton_kernels(tensor: Tensor) -> Any:
    """The module of Triton kernels for a tensor: None unless it is on a CUDA or ROCm GPU and Triton is installed."""
    if not (tensor.is_cuda and torch.cuda.is_available() and find_spec("triton")):
        return None
    from alignedcut_cli.core.embed import triton_kernels

    return triton_kernels


def conditionals(squares: Tensor, perplexity: float) -> Tensor:
    """p_j|i = exp(-b_i d_ij^2) / sum_j exp(-b_i d_ij^2) of squares (m, k), with entropy log `perplexity` per row: float64.

    log b_i by safeguarded Newton. Where more neighbours than the perplexity are equally near, their p are equal.
    """
    if squares.device.type == "cpu":
        with Threads() as threads:
            return torch.from_numpy(on_host.conditionals(squares.numpy(), perplexity, threads))
    return _solve(squares.double(), float(np.log(perplexity)))


def _solve(squares: Tensor, entropy: float) -> Tensor:
    squares = squares - squares.min(1, keepdim=True).values
    tiny = torch.finfo(torch.float64).tiny
    place = -squares.mean(1, keepdim=True).clamp_min(tiny).log()  # log b
    low, high = torch.full_like(place, -torch.inf), torch.full_like(place, torch.inf)
    shares = squares
    for _ in range(MOST_STEPS):
        scale = place.exp()
        weights = (squares * -scale).exp_()
        total = weights.sum(1, keepdim=True)
        shares = weights / total
        mean = torch.linalg.vecdot(shares, squares)[:, None]
        variance = torch.linalg.vecdot(shares, (squares - mean).square_())[:, None]
        excess = scale * mean + total.log() - entropy
        close = excess.abs() < CLOSE
        if bool(close.all()):
            break
        low, high = torch.where(excess > 0, place, low), torch.where(excess > 0, high, place)
        # The entropy falls by b^2 Var(d^2) for each unit of log b
        newton = place + excess / (scale.square() * variance)
        halved = torch.where(high.isinf(), place + 1, torch.where(low.isinf(), place - 1, (low + high) / 2))
        found = torch.where((newton > low) & (newton < high) & ((newton - place).abs() < 4), newton, halved)
        place = torch.where(close, place, found.clamp(-600, 600))
    return shares
