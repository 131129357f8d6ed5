"""Gradient descent of t-SNE, on the CPU or another device."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from alignedcut_cli.core.embed.blocks import blocks_of
from alignedcut_cli.core.embed.forces import AllPairs, Repulsion, Tree
from alignedcut_cli.core.embed.on_host import Affinities
from alignedcut_cli.core.embed.threads import Threads

__all__ = ["LEAST_GAIN", "LONGEST_STEP", "MOMENTUM", "Descent", "OnHost"]

MOMENTUM, LEAST_GAIN, LONGEST_STEP = 0.8, 0.01, 5.0
EXACT_DIVERGENCE = 20_000
_LARGE_STEP = 100_000


class Descent(Protocol):
    """Gradient descent on KL(P | Q), q_ij = k_ij / Z, with momentum and gains (van der Maaten and Hinton 2008).

    Points, updates and gains are (m, 3) float32.
    """

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Load points, updates and gains from a state."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Copies of points, updates and gains."""
        ...

    def step(self, exaggeration: float) -> None:
        """One step: Y += U, U = .8 U - (m / e) g G, G = e sum_j p_ij k_ij (y_i - y_j) - F_i / Z, for exaggeration e.

        A gain g grows by .2 where the gradient and U differ in sign, and else falls to .8 g + .01. Rows of U are clipped to
        length 5. The points are then centred. (The schedule and rules of openTSNE 1.0.)
        """
        ...

    def divergence(self) -> float:
        """KL(P | Q) = sum p_ij log(p_ij Z / k_ij); beyond 20,000 points on the CPU, Z is Barnes-Hut's with theta = 0.2.

        (Relative error of Z below 1e-3.)
        """
        ...


class OnHost:
    """Descent in compiled loops on the CPU; `repulsion` is "exact" or "tree"."""

    def __init__(self, joint: Affinities, start: np.ndarray, repulsion: str, threads: Threads) -> None:
        self._joint = tuple(np.asarray(one) for one in (joint.values, joint.columns, joint.bounds))
        blocks = blocks_of(Affinities(*self._joint))
        self._blocks = (blocks.values, blocks.columns, blocks.starts, blocks.height)
        self._threads = threads
        self._repulsion: Repulsion = (AllPairs if repulsion == "exact" else Tree)(threads)
        self._places, self._moved = start, np.empty_like(start)
        self._updates, self._gains = np.zeros_like(start), np.ones_like(start)

    def load(self, state: dict[str, np.ndarray]) -> None:
        self._places, self._updates, self._gains = (state[name].copy() for name in ("places", "updates", "gains"))

    def state(self) -> dict[str, np.ndarray]:
        now = {"places": self._places, "updates": self._updates, "gains": self._gains}
        return {name: value.copy() for name, value in now.items()}

    def step(self, exaggeration: float) -> None:
        from alignedcut_cli.core.embed.kernels import step

        forces, total = self._repulsion(self._places)
        share = 1 / max(total, float(np.finfo(np.float32).tiny))
        rate = len(self._places) / exaggeration
        numbers = np.array([exaggeration, share, rate, MOMENTUM, LEAST_GAIN, LONGEST_STEP], np.float32)
        known: tuple[Any, ...] = (self._places, forces, numbers, self._updates, self._gains, self._moved)
        work = lambda a, b: step(*self._blocks, *known, a, b)  # noqa: E731
        self._threads.share(len(self._blocks[2]) - 1, work, large=len(self._joint[0]) > _LARGE_STEP)
        self._places, self._moved = self._moved, self._places
        self._places -= self._places.mean(0, dtype=np.float64).astype(np.float32)

    def divergence(self) -> float:
        from alignedcut_cli.core.embed.kernels import mismatch

        few = len(self._places) <= EXACT_DIVERGENCE
        _, total = (AllPairs(self._threads) if few else Tree(self._threads, theta=0.2))(self._places)
        found = np.empty(len(self._places))
        self._threads.share(len(found), lambda a, b: mismatch(*self._joint, self._places, a, b, found))
        mass = self._joint[0].sum(dtype=np.float64)
        return float(found.sum() + mass * np.log(max(total, np.finfo(float).tiny)))
