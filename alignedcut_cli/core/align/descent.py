"""Adam on the loss of channel align, with early stopping, resumable after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from alignedcut_cli.core.align.adam import Adam
from alignedcut_cli.core.align.any_threads import mean_square
from alignedcut_cli.core.align.loss import Losses
from alignedcut_cli.core.numerics import Tick

__all__ = ["LOGGED", "Descent", "State"]

LOGGED = ("total", "brain", "eigen", "zero", "cov", "agree", "closed")
_MOMENTS = ("exp_avg", "exp_avg_sq")
State = Mapping[str, Tensor]
"""The state from which a descent resumes to the same result as without interruption, bit for bit on a CPU."""


class Descent:
    """The descent from `parameters`, which are altered in place. Use: `restore` if there is a state, then `run`.

    `curve` is mean held-out R^2 of the start and after each epoch, `losses` holds LOGGED for each step, `best` is the
    epoch whose parameters are `kept`. `rate` is Adam's first step relative to each tensor's root mean square.
    """

    def __init__(self, parameters: Sequence[Tensor], rate: float, generator: torch.Generator) -> None:
        self.parameters = [tensor.requires_grad_() for tensor in parameters]
        self.kept = [tensor.detach().clone() for tensor in parameters]
        self.losses: list[list[float]] = []
        self.curve: list[float] = []
        self.best = 0
        self._generator = generator
        weights, beta, eps = self.kept
        self._rates = [rate * float(mean_square(size).sqrt()) for size in (weights, beta, torch.ones_like(eps))]
        self._adam = Adam(self.parameters)

    def state(self) -> dict[str, Tensor]:
        """The state after an epoch. The tensors are shared with the descent: write or copy them before it continues."""
        found = {
            "best": torch.tensor([self.best]),
            "curve": torch.tensor(self.curve, dtype=torch.float64),
            "losses": torch.tensor(self.losses, dtype=torch.float64).reshape(-1, len(LOGGED)),
            "rates": torch.tensor(self._rates, dtype=torch.float64),
            "generator": self._generator.get_state(),
        }
        for number, (now, kept) in enumerate(zip(self.parameters, self.kept, strict=True)):
            found |= {f"now.{number}": now.detach(), f"kept.{number}": kept}
            found |= {f"{name}.{number}": one for name, one in zip(_MOMENTS, self._adam.moments[number], strict=True)}
        return found

    def restore(self, state: State) -> None:
        """Continue from `state`, replacing the current parameters."""
        self.best, self.curve, self.losses = int(state["best"]), state["curve"].tolist(), state["losses"].tolist()
        self._rates = state["rates"].tolist()
        self._generator.set_state(state["generator"].cpu())
        for number, (now, kept) in enumerate(zip(self.parameters, self.kept, strict=True)):
            now.detach().copy_(state[f"now.{number}"])
            kept.copy_(state[f"kept.{number}"])
            if self.losses:
                for name, one in zip(_MOMENTS, self._adam.moments[number], strict=True):
                    one.copy_(state[f"{name}.{number}"])
        self._adam.steps = len(self.losses)

    def run(
        self,
        losses_of: Callable[[Tensor], Losses],
        score: Callable[[], float],
        fit: Tensor,
        *,
        epochs: int,
        batch: int,
        patience: int,
        tick: Tick | None = None,
        keep: Callable[[dict[str, Tensor]], None] | None = None,
    ) -> None:
        """At most `epochs` over the rows `fit`, with early stopping after `patience` epochs; ends at the best epoch.

        `keep` is called with the state before the first epoch and after each.
        """
        total = max(1, epochs * -(-len(fit) // batch))
        if not self.curve:
            self._judge(score, keep)
        for _ in range(len(self.curve), epochs + 1):
            if self._has_stalled(patience):
                break
            order = fit[torch.randperm(len(fit), generator=self._generator).to(fit.device)]
            for rows in order.split(batch):
                self._step(losses_of(rows), len(self.losses) / total)
                if tick:
                    tick(1)
            self._judge(score, keep)
        for there, now in zip(self.kept, self.parameters, strict=True):
            now.detach_().copy_(there)

    def _step(self, found: Losses, done: float) -> None:
        """One step of Adam, with cosine decay from `done` = 0 to 1."""
        found.total.backward()
        self._adam.step([rate * (1 + math.cos(math.pi * done)) / 2 for rate in self._rates])
        terms = (getattr(found, name) for name in LOGGED)
        self.losses.append([float(one.detach() if isinstance(one, Tensor) else one) for one in terms])

    def _judge(self, score: Callable[[], float], keep: Callable[[dict[str, Tensor]], None] | None) -> None:
        """Score the current parameters, and keep them if they are the best so far."""
        with torch.no_grad():
            self.curve.append(score())
        if self.curve[-1] > self.curve[self.best]:
            self.best = len(self.curve) - 1
            for there, now in zip(self.kept, self.parameters, strict=True):
                there.copy_(now.detach())
        if keep:
            keep(self.state())

    def _has_stalled(self, patience: int) -> bool:
        epochs = len(self.curve) - 1
        return epochs > 0 and epochs - max(range(1, epochs + 1), key=self.curve.__getitem__) >= patience
