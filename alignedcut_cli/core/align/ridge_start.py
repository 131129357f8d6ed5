"""The closed-form start of an alignment, and those of its parts that need nothing of one another.

Of the arithmetic at the paper's scale (8,100 images to fit, 36 slots of 768 channels, 39,548 voxels, 1.3e14 operations with
20 epochs) the choice of the penalty is 1e13: 36 spectra and 14 solutions, each of which can be had ahead (`Ahead`). The
rest follows one from another: slot factors 3e12, the solution for all images 2.6e13, conjugate gradients on
places 1.4e12 a step (up to 60, each over all slots), and the descent 3.3e12 an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import eigh
from alignedcut_cli.core.align.consensus import Consensus, agree_on_places
from alignedcut_cli.core.align.reduced_rank_ridge import (
    Choice,
    Problem,
    Spectrum,
    best_rank,
    choose,
    mean_nodes,
    ranks_up_to,
    read_out,
    reduced_rank,
    smoother,
    spectra_of,
    spectrum,
    stacking_weights,
    weigh_slots,
)
from alignedcut_cli.core.align.units import SlotError, rounding, slot_scales

__all__ = ["PLACES", "Ahead", "Start", "Study", "ridge_start", "selection", "slot_spectrum"]

_CHOSEN_ON = 2000
PLACES = 8192
"""Sampled tokens per slot for the agreement of the ridge start."""
_FLAT = 1e-6
_FLAT_SLOT = "images differ in how strong their mean token is alone, and the ridge start takes it away"


@dataclass(frozen=True)
class Ahead:
    """What of a start is known already: `slot_spectrum` of each slot, and `try_penalty` of each of ALPHAS."""

    spectra: Callable[[], Sequence[Spectrum]]
    tried: Mapping[float, tuple[float, int]]


@dataclass(frozen=True)
class Start:
    """W of all slots (sum of D_i, E), beta (E, N), eps (N,), in the units of training, and the ridge choice."""

    parameters: tuple[Tensor, Tensor, Tensor]
    choice: Choice | None


@dataclass(frozen=True)
class Study:
    """The inputs of a start: pooled features, sampled tokens, responses, the split of the rows, and what is known ahead."""

    pooled_of: Callable[[Tensor], list[Tensor]]
    nodes_of: Callable[..., list[Tensor]]
    responses: Tensor
    fit: Tensor
    heldout: Tensor
    places: list[int]
    ahead: Ahead | None = None


@dataclass(frozen=True)
class _Centred:
    """Pooled features of training and held-out images, without each slot's mean token, centred by the training mean.

    `directions` (n of (D_i,)) were projected out, `eps` is the mean response; `known` and `aim` are responses minus `eps`.
    """

    features: list[Tensor]
    seen: list[Tensor]
    known: Tensor
    aim: Tensor
    eps: Tensor
    directions: list[Tensor]

    @classmethod
    def of(cls, study: Study) -> _Centred:
        """Raises SlotError for slots of which only rounding errors remain."""
        features, seen = study.pooled_of(study.fit), study.pooled_of(study.heldout)
        found = [_centre(block, other) for block, other in zip(features, seen, strict=True)]
        directions = [direction for direction, _ in found]
        if flat := [number for number, (_, varies) in enumerate(found) if not varies]:
            raise SlotError(flat, _FLAT_SLOT)
        eps = study.responses[study.fit].mean(0)
        known = study.responses[study.fit].sub_(eps)
        return cls(features, seen, known, study.responses[study.heldout] - eps, eps, directions)

    def scale(self, factors: Sequence[float]) -> None:
        """Multiply each slot's features, in place."""
        for block, other, factor in zip(self.features, self.seen, factors, strict=True):
            block *= factor
            other *= factor


def _centre(features: Tensor, seen: Tensor) -> tuple[Tensor, bool]:
    """One slot's mean direction (D,), projected out of fitted and held-out features, which are then centred, in place;
    and whether more than rounding errors are left."""
    direction = torch.nn.functional.normalize(features.mean(0), dim=0)
    least = rounding(features)
    _remove(features, direction)
    _remove(seen, direction)
    centre = features.mean(0)
    features -= centre
    seen -= centre
    return direction, float(features.abs().max()) > least


def _few(fit: Tensor) -> Tensor:
    """Places among the fitted images of those with which penalties are chosen: 2000 at most, evenly spaced."""
    return torch.linspace(0, len(fit) - 1, min(len(fit), _CHOSEN_ON), device=fit.device).long()


def _ranks(widths: Sequence[int], voxels: int, dim: int | None) -> list[int]:
    """The ranks that are tried: `dim` alone, or up to the widest slot's width."""
    return [dim] if dim else ranks_up_to(min(max(widths), voxels))


def slot_spectrum(mean: Tensor, fit: Tensor) -> Spectrum:
    """The spectrum of one slot (pooled features (B, D)) over the images with which penalties are chosen.

    Raises SlotError if its features do not vary.
    """
    features, _ = _slot(mean, fit, fit[:0])
    return spectrum(features[_few(fit)])


def _slot(mean: Tensor, fit: Tensor, heldout: Tensor) -> tuple[Tensor, Tensor]:
    """One slot's fitted and held-out features, as `_Centred` has them."""
    (scale,) = slot_scales([mean[fit]])
    features, seen = mean[fit] / scale, mean[heldout] / scale
    _, varies = _centre(features, seen)
    if not varies:
        raise SlotError([0], _FLAT_SLOT)
    return features, seen


def selection(
    means: Iterable[Tensor],
    responses: Tensor,
    fit: Tensor,
    heldout: Tensor,
    spectra: Sequence[Spectrum],
    dim: int | None,
) -> tuple[Problem, list[int]]:
    """The problem of `ridge_start` with which the penalty is chosen, and its ranks; slots are taken one at a time."""
    few = _few(fit)
    features, seen = [], []
    for mean in means:
        known, other = _slot(mean, fit, heldout)
        features.append(known[few])
        seen.append(other)
    eps = responses[fit].mean(0)
    problem = Problem.of(features, responses[fit[few]] - eps, seen, responses[heldout] - eps, spectra)
    return problem, _ranks([block.shape[1] for block in features], responses.shape[1], dim)


def ridge_start(study: Study, dim: int | None, agree: float) -> Start:
    """The ridge solution of `reduced_rank`, with transforms that map each slot's mean token to 0, in balanced channels.

    With agreement, slots are then refitted to agree on positions too (`_agreeing`).
    The penalty and the slots' factors are chosen on at most 2000 of the images, the rank (if `dim` is None) on all.
    """
    data, few, ahead = _Centred.of(study), _few(study.fit), study.ahead
    ranks = _ranks([block.shape[1] for block in data.features], data.known.shape[1], dim)
    chosen_on = [block[few] for block in data.features]
    spectra = ahead.spectra() if ahead else None
    problem = Problem.of(chosen_on, data.known[few], data.seen, data.aim, spectra)
    del chosen_on, spectra
    choice = choose(problem, ranks, agree, tried=ahead.tried if ahead else None)
    factors, choice = weigh_slots(problem, choice, agree)
    del problem
    data.scale(factors)
    spectra = spectra_of(data.features)
    solved = reduced_rank(data.features, spectra, smoother(spectra, choice.alpha, agree), data.known, ranks[-1])
    del spectra
    score, rank = best_rank(solved, data.seen, data.aim, ranks)
    kept, beta = [matrix[:, :rank] for matrix in solved.transforms], solved.beta[:rank]
    if agree:
        tokens = study.nodes_of(study.fit, PLACES)
        for block, direction, factor in zip(tokens, data.directions, factors, strict=True):
            _remove(block, direction)
            block *= factor
        kept, beta, score = _agreeing(
            data, Consensus(data.features, tokens, study.places), kept, beta, choice.alpha, agree
        )
    kept = [matrix * factor for matrix, factor in zip(kept, factors, strict=True)]
    transforms, beta = _balanced(kept, beta, study.nodes_of(study.fit))
    return Start((torch.cat(transforms), beta, data.eps), replace(choice, rank=rank, score=score))


def _agreeing(
    data: _Centred, consensus: Consensus, transforms: list[Tensor], beta: Tensor, alpha: float, agree: float
) -> tuple[list[Tensor], Tensor, float]:
    """Transforms that agree on positions too (`agree_on_places`), beta refitted, and its held-out R^2.

    Slots are weighted by stacking on held-out images (`stacking_weights`), and beta is that of `read_out` from their mean.
    """
    agreed = agree_on_places(consensus, data.known @ beta.T, transforms, alpha, agree)
    each = torch.stack([block @ matrix for block, matrix in zip(data.seen, agreed, strict=True)])  # (n, H, E)
    weights = stacking_weights(each, data.aim @ beta.T)
    weighted = [matrix * weight for matrix, weight in zip(agreed, weights, strict=True)]
    beta, score = read_out(mean_nodes(data.features, weighted), data.known, mean_nodes(data.seen, weighted), data.aim)
    return weighted, beta, score


def _remove(rows: Tensor, direction: Tensor) -> None:
    """Project a unit direction (D,) out of rows (B, D), in place."""
    rows -= torch.outer(rows @ direction, direction)


def _balanced(transforms: Sequence[Tensor], beta: Tensor, nodes: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """W R and R^-1 beta with R = C^(-1/4), C the second moment (E, E) of aligned nodes: W beta is unchanged.

    For orthonormal rows of beta this is the balanced factorisation, in which aligned nodes have the second moment
    beta beta^T, as gradient descent from small weights tends to. Channels are then jointly scaled to mean square 1.
    """
    after = torch.cat([node @ matrix for node, matrix in zip(nodes, transforms, strict=True)])  # (n m, E)
    values, vectors = eigh((after.T @ after).double() / len(after))
    values = values.clamp_min(_FLAT * float(values[-1]))
    scale = values.sqrt().mean().sqrt()
    turn = ((vectors * (values**-0.25 / scale)) @ vectors.T).to(beta.dtype)
    back = ((vectors * (values**0.25 * scale)) @ vectors.T).to(beta.dtype)
    return [matrix @ turn for matrix in transforms], back @ beta
