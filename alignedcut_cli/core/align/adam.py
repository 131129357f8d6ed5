"""Adam by torch's fused kernel alone: the first optimizer of torch.optim imports torch's compiler, seconds for nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Adam"]


class Adam:
    """Steps that alter `parameters` in place by their gradients, bit for bit those of torch.optim.Adam(fused=True).

    `moments` holds the running means of gradients and of their squares for each parameter, `steps` how many were made.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.moments = [(torch.zeros_like(one), torch.zeros_like(one)) for one in parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """One step with a rate for each parameter; gradients are taken up, parameters without one stay as they are."""
        self.steps += 1
        for now, (mean, square), rate in zip(self.parameters, self.moments, rates, strict=True):
            if now.grad is not None:
                count = torch.tensor(float(self.steps), device=now.device)
                torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
                    [now], [now.grad], [mean], [square], [], [count],
                    lr=rate, beta1=0.9, beta2=0.99, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
                )  # fmt: skip
                now.grad = None
