"""What of the ridge start is had ahead, slot by slot and penalty by penalty."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.align.loss import Weights
from alignedcut_cli.core.align.reduced_rank_ridge import ALPHAS, Spectrum, try_penalty
from alignedcut_cli.core.align.ridge_start import Ahead, selection, slot_spectrum
from alignedcut_cli.core.align.train import Settings, fit_alignment
from alignedcut_cli.core.align.units import SlotError

WIDTHS = (9, 60, 14)
FIT, HELDOUT = torch.arange(40), torch.arange(40, 52)
SETTINGS = Settings(weights=Weights(agree=0.3), epochs=0)


def study() -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Pooled features and tokens of slots, wider and narrower than there are images, and responses."""
    draws = torch.Generator().manual_seed(0)
    shown = torch.randn(52, 4, generator=draws)
    maps = [torch.randn(4, width, generator=draws) for width in WIDTHS]
    pooled = [shown @ one + 0.3 * torch.randn(52, one.shape[1], generator=draws) + 1 for one in maps]
    tokens = [torch.randn(200, one.shape[1], generator=draws) + 1 for one in maps]
    noise = 0.2 * torch.randn(52, 7, generator=draws)
    return pooled, tokens, shown @ torch.randn(4, 7, generator=draws) + noise


def by_hand(mean: Tensor) -> Tensor:
    """X X^T (40, 40) float64 of a slot: in units of its centred root mean square, without its mean direction, centred."""
    rows = mean[FIT].double()
    rows = rows / (rows - rows.mean(0)).square().mean().sqrt()
    direction = rows.mean(0) / rows.mean(0).norm()
    rows = rows - torch.outer(rows @ direction, direction)
    rows = rows - rows.mean(0)
    return rows @ rows.T


@pytest.mark.parametrize("slot", range(len(WIDTHS)))
def test_the_spectrum_of_a_slot_is_that_of_its_products(slot: int) -> None:
    mean = study()[0][slot]
    found = slot_spectrum(mean, FIT)
    made = (found.vectors * found.values) @ found.vectors.T
    torch.testing.assert_close(made.double(), by_hand(mean), atol=1e-3, rtol=1e-4)


def fitted(ahead: Ahead | None) -> dict[str, Any]:
    pooled, tokens, responses = study()

    def draw(rows: Tensor, number: int, generator: torch.Generator) -> list[Tensor]:
        chosen = torch.randperm(200, generator=generator)[:number]
        return [one[chosen] for one in tokens]

    found = fit_alignment(pooled, responses, draw, FIT, HELDOUT, SETTINGS, ahead=ahead)
    return {"transforms": torch.cat(found.transforms), "beta": found.beta, "eps": found.eps, "start": found.start}


def ahead(spectra: list[Spectrum]) -> Ahead:
    pooled, _, responses = study()
    problem, ranks = selection(iter(pooled), responses, FIT, HELDOUT, spectra, SETTINGS.dim)
    return Ahead(lambda: spectra, {alpha: try_penalty(problem, ranks, 0.3, alpha) for alpha in ALPHAS})


def test_a_start_of_parts_had_ahead_is_that_of_one_run_to_the_bit() -> None:
    before, after = fitted(None), fitted(ahead([slot_spectrum(mean, FIT) for mean in study()[0]]))
    assert before.pop("start") == after.pop("start")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_is_had_ahead_is_used() -> None:
    """Were the penalties tried anew, a table that favours another one would change nothing."""
    known = ahead([slot_spectrum(mean, FIT) for mean in study()[0]])
    other = {alpha: (float(alpha == ALPHAS[-1]), 2) for alpha in ALPHAS}
    start, wanted = fitted(Ahead(known.spectra, other))["start"], fitted(known)["start"]
    assert start.alpha > wanted.alpha


def test_a_slot_that_does_not_vary_is_refused() -> None:
    with pytest.raises(SlotError, match="same for all images"):
        slot_spectrum(torch.ones(52, 5), FIT)
    strength = torch.linspace(1, 2, 52)[:, None] * torch.ones(52, 5)
    with pytest.raises(SlotError, match="strong their mean token"):
        slot_spectrum(strength, FIT)
