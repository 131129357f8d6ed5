"""The steps of Adam against those of torch.optim, and that they import none of torch's compiler."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.align.adam import Adam
from tests.helpers.forks import fresh_python

STEPS = 40
RATES = (0.02, 0.3)


def parameters() -> list[Tensor]:
    random = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=random).requires_grad_() for shape in ((37, 11), (23,))]


def loss(both: list[Tensor], step: int) -> Tensor:
    """Another function at every step, whose gradients differ much in size."""
    wide, narrow = both
    return (wide.square().mean(1) * (1 + step % 7)).sum() + 1e-4 * (narrow - step).abs().sum()


def rates_of(step: int) -> list[float]:
    return [rate * (1 - step / STEPS) for rate in RATES]


@pytest.mark.parametrize("seen", [(0, 1), (0,)])
def test_steps_are_those_of_torch_optim_bit_for_bit(seen: tuple[int, ...]) -> None:
    ours, theirs = parameters(), parameters()
    adam = Adam(ours)
    reference = torch.optim.Adam([{"params": [one]} for one in theirs], betas=(0.9, 0.99), fused=True)
    for step in range(STEPS):
        loss([one if n in seen else one.detach() for n, one in enumerate(ours)], step).backward()
        adam.step(rates_of(step))
        for group, rate in zip(reference.param_groups, rates_of(step), strict=True):
            group["lr"] = rate
        reference.zero_grad()
        loss([one if n in seen else one.detach() for n, one in enumerate(theirs)], step).backward()
        reference.step()
    for number, (one, other, start) in enumerate(zip(ours, theirs, parameters(), strict=True)):
        assert torch.equal(one, other) and torch.equal(one, start) == (number not in seen)
        if number in seen:
            mean, square = adam.moments[number]
            state = reference.state[other]
            assert torch.equal(mean, state["exp_avg"]) and torch.equal(square, state["exp_avg_sq"])


def test_a_step_is_adams_equation() -> None:
    """One parameter in float64: m, v, their corrections for a start at 0, and the step."""
    (now, _), rate = parameters(), 0.05
    start, mean, square = now.detach().double(), torch.zeros(()), torch.zeros(())
    adam = Adam([now])
    for step in range(1, 6):
        (now.sin() * step).sum().backward()
        assert now.grad is not None
        slope = now.grad.double()
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        start = start - rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.99**step)).sqrt() + 1e-8)
        adam.step([rate])
        torch.testing.assert_close(now.detach().double(), start, rtol=1e-5, atol=1e-6)


def test_a_step_imports_no_compiler() -> None:
    code = """
import sys, torch
from alignedcut_cli.core.align.adam import Adam
one = torch.ones(3, requires_grad=True)
one.sum().backward()
Adam([one]).step([0.1])
assert not {"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)
assert one.tolist() == torch.full((3,), 0.9).tolist()
"""
    done = fresh_python(code)
    assert done.returncode == 0, done.stderr
