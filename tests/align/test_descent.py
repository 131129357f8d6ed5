"""A fit that goes on from the state after any of its epochs ends as if it had not been interrupted, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.align.train import STARTS, Alignment, Settings, fit_alignment
from tests.align.test_loss_and_training import FIT, HELDOUT, draw_from, make_tokens

EPOCHS = 6


def run(
    init: str, states: list[dict[str, Tensor]] | None = None, kept: Mapping[str, Tensor] | None = None
) -> tuple[Alignment, int]:
    """The alignment, and how many steps were told of; copies of its states go to `states`."""
    tokens, responses = make_tokens()
    settings = Settings(dim=8, epochs=EPOCHS, batch=40, nodes=40, init=init, patience=1)
    ticks: list[int] = []
    found = fit_alignment(
        [block.mean(1) for block in tokens],
        responses,
        draw_from(tokens),
        FIT,
        HELDOUT,
        settings,
        ticks.append,
        keep=lambda state: (states if states is not None else []).append(
            {name: tensor.clone() for name, tensor in state.items()}
        ),
        kept=kept,
    )
    return found, sum(ticks)


@pytest.mark.parametrize("init", sorted(STARTS))
def test_going_on_after_any_epoch_ends_the_same(init: str) -> None:
    states: list[dict[str, Tensor]] = []
    whole, steps = run(init, states)
    assert len(states) == len(whole.heldout) > 3
    assert (len(whole.heldout) <= EPOCHS) == (init == "ridge")  # which stops early: no epoch may follow its last state
    for state in (states[0], states[2], states[-1]):
        found, told = run(init, kept=state)
        assert told == steps == len(whole.losses)
        for name in ("beta", "eps", "losses", "heldout", "transforms"):
            torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=0, atol=0)
        assert found.best == whole.best
        if whole.start:
            assert found.start is not None
            assert (found.start.alpha, found.start.rank, found.start.score) == (
                whole.start.alpha,
                whole.start.rank,
                whole.start.score,
            )
        else:
            assert found.start is None
