"""t-SNE of rows in two or three dimensions: affinities, initialisation by principal components, and the schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from alignedcut_cli.core.embed.on_host import host_affinities
from alignedcut_cli.core.embed.threads import Threads
from alignedcut_cli.core.numerics import NumericsError

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.core.embed.descent import Descent

__all__ = ["EXACT_NODES", "ITERATIONS", "ORDER", "REPULSIONS", "ROUND", "Keep", "State", "choose_repulsion", "tsne"]

ITERATIONS = (250, 500)
EXAGGERATION = 12.0
ROUND = 50
ORDER = "neighbours together"
"""The order of the points of a state: a run goes on only from a state in the same one."""
REPULSIONS = ("exact", "tree")
EXACT_NODES = {"cpu": 1500, "cuda": 200_000}
_START_SPREAD = 1e-4

State = Mapping[str, np.ndarray]
Keep = Callable[[Callable[[], State]], None]


def choose_repulsion(nodes: int, device: torch.device | None = None) -> str:
    """The faster repulsion for m = `nodes`: exact where all pairs are cheap (few nodes, or CUDA), else tree."""
    return "exact" if nodes <= EXACT_NODES[device.type if device else "cpu"] else "tree"


def tsne(
    rows: np.ndarray,
    dims: int,
    *,
    perplexity: float,
    seed: int,
    repulsion: str = "auto",
    device: torch.device | None = None,
    tick: Callable[[int], None] | None = None,
    keep: Keep | None = None,
    state: State | None = None,
) -> tuple[np.ndarray, float, float]:
    """t-SNE of rows (m, C), duplicates allowed: coordinates (m, dims) float32, KL divergence, perplexity used.

    Minimises KL(P | Q), q_ij = k_ij / Z, over 250 steps with P exaggerated 12 times and 500 without (see
    `descent.Descent`), from the rows' principal components. The repulsion is over all pairs or, on the CPU, by a tree. The
    perplexity is at most (m - 1) / 3. `keep` is called after every ROUND steps with a function that returns the state
    (points, updates, gains, steps done); from such a `state` the run resumes, with identical bytes for exact repulsion on
    the CPU. Raises NumericsError for fewer than dims + 2 rows, and for a tree on another device.
    """
    if len(rows) < dims + 2:
        raise NumericsError(f"t-SNE in {dims} dimensions needs at least {dims + 2} nodes, there are {len(rows)}")
    used = min(perplexity, (len(rows) - 1) / 3)
    on_host = device is None or device.type == "cpu"
    name = choose_repulsion(len(rows), device) if repulsion == "auto" else repulsion
    if name == "tree" and not on_host:
        raise NumericsError(f"the tree runs on the CPU, not on {device}")
    rows = np.ascontiguousarray(rows, np.float32)
    start = _start(rows, dims, seed)
    order = _near_together(start)
    with Threads() as threads:
        descent, order = _descent(rows, start, order, used, name, threads, None if on_host else device)
        done = 0
        if state:
            descent.load({name: np.asarray(value) for name, value in state.items()})
            done = int(state["done"][0])
        if tick and done:
            tick(done)
        while done < sum(ITERATIONS):
            descent.step(EXAGGERATION if done < ITERATIONS[0] else 1.0)
            done += 1
            if tick:
                tick(1)
            if keep and done % ROUND == 0:
                keep(partial(_state, descent, done))
        places = np.empty((len(rows), dims), np.float32)
        places[order] = descent.state()["places"][:, :dims]
        return places, descent.divergence(), used


def _state(descent: Descent, done: int) -> State:
    return {**descent.state(), "done": np.array([done])}


def _descent(
    rows: np.ndarray,
    start: np.ndarray,
    order: np.ndarray,
    perplexity: float,
    repulsion: str,
    threads: Threads,
    device: torch.device | None,
) -> tuple[Descent, np.ndarray]:
    """The descent of rows (m, C) from `start`, on the CPU without torch or on another device; and the order of its points.

    `order` is one in which near rows are adjacent; on the CPU neighbours are put together once they are known.
    """
    if device is None:
        from alignedcut_cli.core.embed.blocks import neighbours_together
        from alignedcut_cli.core.embed.descent import OnHost

        joint, moved = neighbours_together(host_affinities(rows[order], perplexity, threads))
        order = order[moved]
        return OnHost(joint, start[order], repulsion, threads), order
    import torch

    from alignedcut_cli.core.embed.affinities import affinities
    from alignedcut_cli.core.embed.device import OnDevice

    return OnDevice(affinities(torch.from_numpy(rows[order]).to(device), perplexity, threads), start[order]), order


def _near_together(start: np.ndarray) -> np.ndarray:
    """An order (m,) int32 of the rows in which neighbours are mostly adjacent, for cache locality."""
    from alignedcut_cli.core.embed.kernels import split

    order = np.arange(len(start), dtype=np.int32)
    split(start, order, max(0, (len(start) // 32).bit_length()))
    return order


def _start(rows: np.ndarray, dims: int, seed: int) -> np.ndarray:
    """Principal components at a tiny scale, with jitter to separate equal rows: (m, 3) float32, zero beyond `dims`."""
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred.T @ centred)
    axes = axes[:dims] * np.where(axes[:dims].sum(1, keepdims=True) < 0, -1, 1)
    scores = centred @ axes.T  # (m, min(dims, C))
    scores = np.pad(scores, ((0, 0), (0, dims - scores.shape[1])))
    spread = scores[:, 0].std()
    jitter = np.random.default_rng(seed).normal(size=scores.shape) * _START_SPREAD * 0.01
    found = (scores / spread * _START_SPREAD if spread > 0 else 0 * scores) + jitter
    return np.pad(found, ((0, 0), (0, 3 - dims))).astype(np.float32)
