"""Transforms under which slots agree on each image position: the ridge start, refitted with a penalty on disagreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import cholesky, cholesky_solve, side_by_side, sum_of_all
from alignedcut_cli.core.align.reduced_rank_ridge import mean_nodes

__all__ = ["SHARE", "Consensus", "agree_on_places"]

SHARE = 0.1
"""The weight of token agreement relative to image agreement. Larger: models are coupled tighter, figure and ground less
separated."""
_STEPS = 60
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Consensus:
    """What slots should agree on: centred pooled features X_i (B, D_i) of images, tokens V_i (m, D_i) of positions.

    `places` has a number for each slot; slots with equal numbers hold tokens of the same positions. float32 or float64.
    """

    pooled: Sequence[Tensor]
    tokens: Sequence[Tensor]
    places: Sequence[int]

    @property
    def scale(self) -> float:
        """k, a tenth of the sum of squares of all pooled features over that of all tokens."""
        images, places = (
            sum(float(sum_of_all(one.square())) for one in blocks) for blocks in (self.pooled, self.tokens)
        )
        return SHARE * images / max(places, torch.finfo(torch.float32).tiny)


def agree_on_places(
    data: Consensus, target: Tensor, start: Sequence[Tensor], alpha: float, agree: float, tolerance: float = _TOLERANCE
) -> list[Tensor]:
    """W_i (D_i, E) that minimise the objective of `reduced_rank` for T (B, E) and the disagreement on tokens:

    |T - 1/n sum_i X_i W_i|^2 + agree/n sum_i |T - X_i W_i|^2 + alpha/n sum_i |W_i|^2
    + agree k/n sum_i |V_i W_i - mean_j V_j W_j|^2, the last mean over the slots j that hold the same positions as i.

    The pooled loss depends only on the mean of an image: tokens of two slots may differ and still predict alike. The last
    term makes them agree at each position (the MAX-VAR criterion of generalised canonical correlation, Kettenring
    1971, added to the regression). Conjugate gradients from `start`, with the block diagonal as preconditioner, to a
    residual of `tolerance` times the right-hand side in every column, at most 60 steps.
    Work: 4 (B + m) E sum_i D_i per step, and (B + m) sum_i D_i^2 once. Memory: 2 sum_i D_i^2 and 5 E sum_i D_i numbers.
    """
    system = _System(data, alpha, agree)
    widths = [block.shape[1] for block in data.pooled]
    right = torch.cat([(1 + agree) * (block.T @ target) for block in data.pooled])  # (sum D_i, E)
    found = torch.cat(list(start))
    residual = right - system.applied(found)
    direction = towards = system.preconditioned(residual)
    slope = (residual * towards).sum(0)
    enough = tolerance * right.norm(dim=0)
    tiny = torch.finfo(right.dtype).tiny
    for _ in range(_STEPS):
        if bool((residual.norm(dim=0) <= enough).all()):
            break
        image = system.applied(direction)
        step = slope / (direction * image).sum(0).clamp_min(tiny)
        found.addcmul_(direction, step.expand_as(direction))
        residual.addcmul_(image, step.expand_as(image), value=-1)
        towards = system.preconditioned(residual)
        before, slope = slope, (residual * towards).sum(0)
        direction = towards + direction * (slope / before.clamp_min(tiny))
    return list(found.split(widths))


class _System:
    """The normal equations of the objective, times n: W_i -> own_i W_i + X_i^T mean_j X_j W_j - k' V_i^T mean_j V_j W_j.

    own_i = agree X_i^T X_i + k' V_i^T V_i + alpha; k' = agree k, or 0 for a slot without another of the same positions.
    """

    def __init__(self, data: Consensus, alpha: float, agree: float) -> None:
        self._data = data
        self._widths = [block.shape[1] for block in data.pooled]
        self._count = [list(data.places).count(place) for place in data.places]
        self._tie = [agree * data.scale if count > 1 else 0.0 for count in self._count]

        def blocks_of(slot: int) -> tuple[Tensor, Tensor]:
            block, tokens, count, tie = data.pooled[slot], data.tokens[slot], self._count[slot], self._tie[slot]
            images, places = block.T @ block, tokens.T @ tokens
            own = agree * images + tie * places
            own.diagonal().add_(alpha)
            return own, cholesky(own + images / len(self._widths) - (tie / count) * places)

        made = side_by_side(blocks_of, len(self._widths), data.pooled[0].device)
        self._own, self._factors = [own for own, _ in made], [factor for _, factor in made]

    def applied(self, weights: Tensor) -> Tensor:
        """The left-hand side for weights (sum D_i, E)."""
        split, data = weights.split(self._widths), self._data
        images = mean_nodes(data.pooled, split)
        common: dict[int, Tensor] = {}
        for place, count, tokens, one in zip(data.places, self._count, data.tokens, split, strict=True):
            if count > 1:
                said = (tokens @ one).div_(count)
                common[place] = common[place].add_(said) if place in common else said
        found = []
        for number, one in enumerate(split):
            found.append(torch.addmm(self._own[number] @ one, data.pooled[number].T, images))
            if self._tie[number]:
                found[-1].addmm_(data.tokens[number].T, common[data.places[number]], alpha=-self._tie[number])
        return torch.cat(found)

    def preconditioned(self, residual: Tensor) -> Tensor:
        """The block-diagonal preconditioner applied to residuals (sum D_i, E)."""
        parts = residual.split(self._widths)
        return torch.cat([cholesky_solve(one, factor) for one, factor in zip(parts, self._factors, strict=True)])
