"""Channel align: one linear map per slot into a shared space, fitted in closed form and then by gradient (Sec. 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from alignedcut_cli.core.align.consensus import Consensus, agree_on_places
from alignedcut_cli.core.align.descent import LOGGED, Descent, State
from alignedcut_cli.core.align.loss import Losses, Weights, predict, total_loss
from alignedcut_cli.core.align.reduced_rank_ridge import (
    Choice,
    Problem,
    best_rank,
    choose,
    mean_nodes,
    ranks_up_to,
    read_out,
    reduced_rank,
    smoother,
    spectrum,
    stacking_weights,
    weigh_slots,
)
from alignedcut_cli.core.align.scores import r_squared
from alignedcut_cli.core.align.units import SlotError, rounding, slot_scales
from alignedcut_cli.core.numerics import Tick, stream

__all__ = ["PLACES", "STARTS", "Alignment", "Draw", "Settings", "fit_alignment"]

_CHOSEN_ON = 2000
PLACES = 8192
"""Sampled tokens per slot for the agreement of the ridge start."""
_FLAT = 1e-6
Draw = Callable[[Tensor, int, torch.Generator], Sequence[Tensor]]
"""(image rows (b,), m, generator) -> for each slot m tokens (m, D_i) drawn from those images."""


@dataclass(frozen=True)
class Settings:
    """How an alignment is fitted.

    dim       E aligned channels; None: the ridge start's best rank on held-out images, or the widest slot's width
    weights   those of the loss; `agree` is also the weight of each slot's own prediction in the ridge start
    init      a key of STARTS
    epochs    at most; early stopping after `patience` without a better held-out R^2
    batch     images per step
    nodes     m~ tokens per slot and step for the regularisers
    rate      Adam's first step, relative to each tensor's root mean square
    """

    dim: int | None = None
    weights: Weights = field(default_factory=Weights)
    init: str = "ridge"
    epochs: int = 20
    patience: int = 4
    batch: int = 128
    nodes: int = 100
    rate: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class Alignment:
    """transforms W_i (D_i, E), beta (E, N), eps (N,), and how they were fitted.

    `losses` (steps, 7) holds LOGGED for each step, `heldout` (epochs + 1,) mean held-out R^2 from the start on, `best`
    the epoch that was kept, `start` the ridge solution's penalty and rank (None for a random start).
    """

    transforms: list[Tensor]
    beta: Tensor
    eps: Tensor
    losses: Tensor
    heldout: Tensor
    best: int
    start: Choice | None


def fit_alignment(
    pooled: Sequence[Tensor],
    responses: Tensor,
    draw: Draw,
    fit: Tensor,
    heldout: Tensor,
    settings: Settings,
    tick: Tick | None = None,
    places: Sequence[int] | None = None,
    keep: Callable[[State], None] | None = None,
    kept: State | None = None,
) -> Alignment:
    """W_i, beta and eps that minimise Eq. 10 on the images `fit`, with early stopping on the images `heldout`.

    `pooled` are the mean tokens (B, D_i) of n slots and `responses` (B, N), float32 on one device, and are not altered;
    `fit` and `heldout` are disjoint rows (int64). `draw` returns sampled tokens for the regularisers. Each slot is scaled
    by the root mean square of its centred pooled features; voxels come standardised (`Units`), as the L1 of Eq. 9 and the
    ridge start sum their errors. `tick` counts steps. `places` has a number for each slot, the same for slots whose tokens
    are drawn from the same positions (default: all). `keep` is called with the state of the fit before the first epoch and
    after each; with it as `kept` the same fit resumes from there. The result has the dtype and device of `responses`.
    Raises SlotError for slots whose features do not vary.
    """
    places = [0] * len(pooled) if places is None else list(places)
    scales = slot_scales([mean[fit] for mean in pooled])
    generator = torch.Generator().manual_seed(stream(settings.seed, "align"))

    def nodes_of(rows: Tensor, count: int = settings.nodes) -> list[Tensor]:
        drawn = draw(rows, count, generator)
        return [node / scale for node, scale in zip(drawn, scales, strict=True)]

    def pooled_of(rows: Tensor) -> list[Tensor]:
        return [mean[rows] / scale for mean, scale in zip(pooled, scales, strict=True)]

    study = Study(pooled_of, nodes_of, responses, fit, heldout, places)
    started = _restored(kept) if kept else STARTS[settings.init](study, settings)
    parameters = list(started.parameters)
    objective = _Objective(study, settings.weights, parameters, [mean.shape[1] for mean in pooled])

    def keep_with_start(state: dict[str, Tensor]) -> None:
        if keep:
            keep({**state, "start": _start_numbers(started.choice)})

    descent = Descent(parameters, settings.rate, generator)
    if kept:
        descent.restore(kept)
        if tick:
            tick(len(descent.losses))
    descent.run(
        objective.losses,
        objective.score,
        fit,
        epochs=settings.epochs,
        batch=settings.batch,
        patience=settings.patience,
        tick=tick,
        keep=keep_with_start,
    )
    fitted = [matrix / scale for matrix, scale in zip(objective.transforms(), scales, strict=True)]
    losses = torch.tensor(descent.losses).reshape(-1, len(LOGGED))
    return Alignment(
        fitted, parameters[1], parameters[2], losses, torch.tensor(descent.curve), descent.best, started.choice
    )


@dataclass(frozen=True)
class _Objective:
    """The loss and the held-out score of `parameters`: W of all slots (sum of D_i, E), beta (E, N), eps (N,)."""

    study: Study
    weights: Weights
    parameters: list[Tensor]
    widths: list[int]

    def transforms(self) -> Sequence[Tensor]:
        """W_i (D_i, E) of each slot."""
        return self.parameters[0].split(self.widths)

    def losses(self, rows: Tensor) -> Losses:
        """The loss of one step over images `rows` (b,)."""
        study, (_, beta, eps) = self.study, self.parameters
        pooled, nodes, aim = study.pooled_of(rows), study.nodes_of(rows), study.responses[rows]
        return total_loss(pooled, nodes, aim, self.transforms(), beta, eps, self.weights, study.places)

    def score(self) -> float:
        """Mean R^2 of the prediction for the held-out images."""
        study, (_, beta, eps) = self.study, self.parameters
        made = predict(study.pooled_of(study.heldout), self.transforms(), beta, eps)
        return float(r_squared(made, study.responses[study.heldout]).mean())


@dataclass(frozen=True)
class _Start:
    """W of all slots (sum of D_i, E), beta (E, N), eps (N,), in the units of training, and the ridge choice."""

    parameters: tuple[Tensor, Tensor, Tensor]
    choice: Choice | None


def _start_numbers(choice: Choice | None) -> Tensor:
    """Penalty, rank and held-out R^2 of the start, (3,) float64; (0,) if it was random."""
    return torch.tensor([choice.alpha, choice.rank, choice.score] if choice else [], dtype=torch.float64)


def _restored(kept: State) -> _Start:
    """The start of a resumed fit: its choice, and parameters of the stored shapes."""
    weights, beta, eps = (kept[f"now.{number}"].clone() for number in range(3))
    if not len(kept["start"]):
        return _Start((weights, beta, eps), None)
    alpha, rank, score = kept["start"].tolist()
    return _Start((weights, beta, eps), Choice(alpha, int(rank), score, {}))


@dataclass(frozen=True)
class Study:
    """The inputs of a start: pooled features, sampled tokens, responses, and the split of the rows."""

    pooled_of: Callable[[Tensor], list[Tensor]]
    nodes_of: Callable[..., list[Tensor]]
    responses: Tensor
    fit: Tensor
    heldout: Tensor
    places: list[int]


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
        directions = [torch.nn.functional.normalize(block.mean(0), dim=0) for block in features]
        made_up = [rounding(block) for block in features]
        for block, other, direction in zip(features, seen, directions, strict=True):
            _remove(block, direction)
            _remove(other, direction)
            centre = block.mean(0)
            block -= centre
            other -= centre
        left = [float(block.abs().max()) for block in features]
        if flat := [number for number, (one, least) in enumerate(zip(left, made_up, strict=True)) if one <= least]:
            raise SlotError(
                flat, "images differ in how strong their mean token is alone, and the ridge start takes it away"
            )
        eps = study.responses[study.fit].mean(0)
        known = study.responses[study.fit].sub_(eps)
        return cls(features, seen, known, study.responses[study.heldout] - eps, eps, directions)

    def scale(self, factors: Sequence[float]) -> None:
        """Multiply each slot's features, in place."""
        for block, other, factor in zip(self.features, self.seen, factors, strict=True):
            block *= factor
            other *= factor


def _start_ridge(study: Study, settings: Settings) -> _Start:
    """The ridge solution of `reduced_rank`, with transforms that map each slot's mean token to 0, in balanced channels.

    With agreement, slots are then refitted to agree on positions too (`_agreeing`).
    The penalty and the slots' factors are chosen on at most 2000 of the images, the rank (if `dim` is None) on all.
    """
    data, agree = _Centred.of(study), settings.weights.agree
    images = len(study.fit)
    few = torch.linspace(0, images - 1, min(images, _CHOSEN_ON), device=study.fit.device).long()
    most = min(max(block.shape[1] for block in data.features), data.known.shape[1])
    ranks = [settings.dim] if settings.dim else ranks_up_to(most)
    problem = Problem.of([block[few] for block in data.features], data.known[few], data.seen, data.aim)
    factors, choice = weigh_slots(problem, choose(problem, ranks, agree), agree)
    del problem
    data.scale(factors)
    spectra = [spectrum(block) for block in data.features]
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
    return _Start((torch.cat(transforms), beta, data.eps), replace(choice, rank=rank, score=score))


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
    values, vectors = torch.linalg.eigh((after.T @ after).double() / len(after))
    values = values.clamp_min(_FLAT * float(values[-1]))
    scale = values.sqrt().mean().sqrt()
    turn = ((vectors * (values**-0.25 / scale)) @ vectors.T).to(beta.dtype)
    back = ((vectors * (values**0.25 * scale)) @ vectors.T).to(beta.dtype)
    return [matrix @ turn for matrix in transforms], back @ beta


def _start_random(study: Study, settings: Settings) -> _Start:
    """Gaussian W_i and beta, eps the mean response: the paper's initialisation."""
    generator = torch.Generator().manual_seed(stream(settings.seed, "align", "start"))
    fit, responses = study.fit, study.responses
    widths = [block.shape[1] for block in study.pooled_of(fit[:1])]
    dim = settings.dim or max(widths)
    drawn = [torch.randn(width, dim, generator=generator) * width**-0.5 for width in widths]
    beta = (torch.randn(dim, responses.shape[1], generator=generator) * dim**-0.5).to(responses)
    transforms = torch.cat(drawn).to(responses)
    return _Start((_unit_scale(transforms, study.nodes_of(fit)), beta, responses[fit].mean(0)), None)


STARTS = {"ridge": _start_ridge, "random": _start_random}


def _unit_scale(transforms: Tensor, nodes: Sequence[Tensor]) -> Tensor:
    """W c with c such that aligned nodes have mean square 1 over nodes and channels."""
    split = transforms.split([node.shape[1] for node in nodes])
    squares = torch.stack([(node @ matrix).square().mean() for node, matrix in zip(nodes, split, strict=True)])
    scale = squares.mean().sqrt().clamp_min(torch.finfo(squares.dtype).tiny)
    return transforms / scale
