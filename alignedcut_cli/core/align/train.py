"""Channel align: one linear map per slot into a shared space, fitted in closed form and then by gradient (Sec. 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import mean_square
from alignedcut_cli.core.align.descent import LOGGED, Descent, State
from alignedcut_cli.core.align.loss import Losses, Weights, predict, total_loss
from alignedcut_cli.core.align.reduced_rank_ridge import Choice
from alignedcut_cli.core.align.ridge_start import PLACES, Ahead, Start, Study, ridge_start
from alignedcut_cli.core.align.scores import mean_r_squared
from alignedcut_cli.core.align.units import slot_scales
from alignedcut_cli.core.numerics import Tick, stream

__all__ = ["PLACES", "STARTS", "Alignment", "Draw", "Settings", "choice_of", "fit_alignment", "start_numbers"]

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
    ahead: Ahead | None = None,
) -> Alignment:
    """W_i, beta and eps that minimise Eq. 10 on the images `fit`, with early stopping on the images `heldout`.

    `pooled` are the mean tokens (B, D_i) of n slots and `responses` (B, N), float32 on one device, and are not altered;
    `fit` and `heldout` are disjoint rows (int64). `draw` returns sampled tokens for the regularisers. Each slot is scaled
    by the root mean square of its centred pooled features; voxels come standardised (`Units`), as the L1 of Eq. 9 and the
    ridge start sum their errors. `tick` counts steps. `places` has a number for each slot, the same for slots whose tokens
    are drawn from the same positions (default: all). `keep` is called with the state of the fit before the first epoch and
    after each; with it as `kept` the same fit resumes from there. `ahead` are parts of the ridge start computed before.
    The result has the dtype and device of `responses`. Raises SlotError for slots whose features do not vary.
    """
    places = [0] * len(pooled) if places is None else list(places)
    scales = slot_scales([mean[fit] for mean in pooled])
    generator = torch.Generator().manual_seed(stream(settings.seed, "align"))

    def nodes_of(rows: Tensor, count: int = settings.nodes) -> list[Tensor]:
        drawn = draw(rows, count, generator)
        return [node / scale for node, scale in zip(drawn, scales, strict=True)]

    def pooled_of(rows: Tensor) -> list[Tensor]:
        return [mean[rows] / scale for mean, scale in zip(pooled, scales, strict=True)]

    study = Study(pooled_of, nodes_of, responses, fit, heldout, places, ahead)
    started = _restored(kept) if kept else STARTS[settings.init](study, settings)
    parameters = list(started.parameters)
    objective = _Objective(study, settings.weights, parameters, [mean.shape[1] for mean in pooled])

    def keep_with_start(state: dict[str, Tensor]) -> None:
        if keep:
            keep({**state, "start": start_numbers(started.choice)})

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
        return mean_r_squared(made, study.responses[study.heldout])


def start_numbers(choice: Choice | None) -> Tensor:
    """Penalty, rank and held-out R^2 of the start, (3,) float64; (0,) if it was random."""
    return torch.tensor([choice.alpha, choice.rank, choice.score] if choice else [], dtype=torch.float64)


def choice_of(numbers: Tensor) -> Choice | None:
    """The choice of `start_numbers`; None of a random start."""
    if not len(numbers):
        return None
    alpha, rank, score = numbers.tolist()
    return Choice(alpha, int(rank), score, {})


def _restored(kept: State) -> Start:
    """The start of a resumed fit: its choice, and parameters of the stored shapes."""
    weights, beta, eps = (kept[f"now.{number}"].clone() for number in range(3))
    return Start((weights, beta, eps), choice_of(kept["start"]))


def _start_random(study: Study, settings: Settings) -> Start:
    """Gaussian W_i and beta, eps the mean response: the paper's initialisation."""
    generator = torch.Generator().manual_seed(stream(settings.seed, "align", "start"))
    fit, responses = study.fit, study.responses
    widths = [block.shape[1] for block in study.pooled_of(fit[:1])]
    dim = settings.dim or max(widths)
    drawn = [torch.randn(width, dim, generator=generator) * width**-0.5 for width in widths]
    beta = (torch.randn(dim, responses.shape[1], generator=generator) * dim**-0.5).to(responses)
    transforms = torch.cat(drawn).to(responses)
    return Start((_unit_scale(transforms, study.nodes_of(fit)), beta, responses[fit].mean(0)), None)


def _start_ridge(study: Study, settings: Settings) -> Start:
    """The closed-form solution (`ridge_start`)."""
    return ridge_start(study, settings.dim, settings.weights.agree)


STARTS = {"ridge": _start_ridge, "random": _start_random}


def _unit_scale(transforms: Tensor, nodes: Sequence[Tensor]) -> Tensor:
    """W c with c such that aligned nodes have mean square 1 over nodes and channels."""
    split = transforms.split([node.shape[1] for node in nodes])
    squares = torch.stack([mean_square(node @ matrix) for node, matrix in zip(nodes, split, strict=True)])
    scale = squares.mean().sqrt().clamp_min(torch.finfo(squares.dtype).tiny)
    return transforms / scale
