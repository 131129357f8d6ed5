"""The tasks of an alignment: spectra of slots, solutions under each penalty, and the fits, one to all and one a fold.

What one fit does after its penalty is chosen stays in one process, as each step needs the one before it and every slot:
1.2e14 of its 1.3e14 operations at the paper's scale (`core/align/ridge_start.py`). So folds, and weights to --ablate, are
shared well, and one fit alone hardly. A run in one process has the last sweep alone, and computes the same numbers in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignedcut_cli.frame.keep import Held, Keeper
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.commands.align.folds import Crossed
    from alignedcut_cli.commands.align.plan import Plan
    from alignedcut_cli.commands.align.run import Fitted
    from alignedcut_cli.core.align.reduced_rank_ridge import Problem, Spectrum
    from alignedcut_cli.core.align.ridge_start import Ahead

__all__ = ["Aligning", "numerics"]

SLOTS, PENALTIES, FITS = "slots", "penalties", "fits"
Arrays = Mapping[str, "np.ndarray"]


def numerics(device: torch.device) -> dict[str, str]:
    """The library and device with which an alignment is computed."""
    import torch

    return {"torch": torch.__version__, "device": device.type}


@dataclass(frozen=True)
class _Chosen:
    """What the penalties of one fit are tried with."""

    fit: int
    problem: Problem
    ranks: list[int]


class Aligning:
    """The tasks of an alignment, and what they wrote. With `keeps`, fits keep checkpoints and go on from them."""

    def __init__(
        self, frame: Frame, plan: Plan, parts: Parts | Held, device: torch.device, keeps: bool = False
    ) -> None:
        from alignedcut_cli.commands.align.folds import fold_plans

        self._frame, self._parts, self._device = frame, parts, device
        self._folds = fold_plans(plan)
        self._plans = [plan, *self._folds]
        self._keepers = [self._keeper(number) for number in range(len(self._plans))] if keeps else []
        self._fitted: Fitted | None = None
        self._chosen: _Chosen | None = None

    def _keeper(self, number: int) -> Keeper:
        of = f"fold {number}'s start" if number else "the start"
        recipe = self._plans[number].recipe
        return Keeper(
            self._frame, recipe, numerics(self._device), lambda state: f"{of} and {len(state['curve']) - 1} epochs"
        )

    @property
    def keeper(self) -> Keeper:
        """The checkpoint of the fit to all."""
        return self._keepers[0]

    def drop(self) -> None:
        """Remove parts and checkpoints. Not before the artifact is there: a run that is stopped goes on where it was."""
        for keeper in self._keepers:
            keeper.drop()
        self._parts.drop()

    def sweeps(self) -> list[Sweep]:
        """Those of slots and penalties, unless fits do all in this process or start at random, and that of the fits."""
        from alignedcut_cli.core.align.reduced_rank_ridge import ALPHAS

        steps = [one.steps for one in self._plans]
        found = [self._sweep(FITS, "aligning", "steps", steps, self._fit)]
        if self._keepers or self._plans[0].settings.init != "ridge":
            return found
        slots, penalties = len(self._plans[0].slots) * len(self._plans), len(ALPHAS) * len(self._plans)
        return [
            self._sweep(SLOTS, "decomposing", "slots", [1] * slots, self._decompose),
            self._sweep(PENALTIES, "choosing a penalty", "penalties", [1] * penalties, self._try),
            *found,
        ]

    def _sweep(
        self,
        name: str,
        what: str,
        unit: str,
        sizes: Sequence[int],
        one: Callable[[int, int, Callable[[int], None]], None],
    ) -> Sweep:
        """A sweep whose tasks are `one`, called with a number, of how many, and what counts units."""

        def run(numbers: Sequence[int], advance: Callable[[int], None]) -> None:
            for number in numbers:
                one(number, len(sizes), advance)

        return Sweep(name, what, unit, sizes, lambda: self._parts.missing(name, len(sizes)), run, by_threads=True)

    def _rows(self, fit: int) -> tuple[torch.Tensor, torch.Tensor]:
        from alignedcut_cli.commands.align.run import rows_of

        return rows_of(self._plans[fit], self._device)

    def _decompose(self, number: int, count: int, advance: Callable[[int], None]) -> None:
        """The spectrum of one slot of one fit. Eigenvectors are stored as they lie: products of them keep their bits."""
        from alignedcut_cli.commands.align.run import load_slot, telling
        from alignedcut_cli.core.align.ridge_start import slot_spectrum

        fit, slot = divmod(number, len(self._plans[0].slots))
        plan = self._plans[fit]
        mean = load_slot(plan, slot).to(self._device)
        with telling(plan, [slot]):
            found = slot_spectrum(mean, self._rows(fit)[0])
        lying = {"rows": found.vectors} if found.vectors.is_contiguous() else {"columns": found.vectors.T}
        arrays = {name: tensor.cpu().numpy() for name, tensor in {"values": found.values, **lying}.items()}
        self._parts.write(SLOTS, number, count, arrays)
        advance(1)

    def _spectra(self, fit: int) -> list[Spectrum]:
        import numpy as np
        import torch

        from alignedcut_cli.core.align.reduced_rank_ridge import Spectrum

        slots, found = len(self._plans[0].slots), []
        for number in range(fit * slots, (fit + 1) * slots):
            part = self._parts.read(SLOTS, number, slots * len(self._plans))
            there = {name: torch.from_numpy(np.array(array)).to(self._device) for name, array in part.items()}
            vectors = there["rows"] if "rows" in there else there["columns"].T
            found.append(Spectrum(there["values"], vectors))
        return found

    def _try(self, number: int, count: int, advance: Callable[[int], None]) -> None:
        """Held-out R^2 and best rank of one penalty of one fit."""
        import numpy as np

        from alignedcut_cli.commands.align.run import telling
        from alignedcut_cli.core.align.reduced_rank_ridge import ALPHAS, try_penalty

        fit, place = divmod(number, len(ALPHAS))
        with telling(self._plans[fit]):
            chosen = self._choice(fit)
            found = try_penalty(chosen.problem, chosen.ranks, self._plans[fit].settings.weights.agree, ALPHAS[place])
        self._parts.write(PENALTIES, number, count, {"tried": np.array(found, np.float64)})
        advance(1)

    def _choice(self, fit: int) -> _Chosen:
        """The problem with which penalties of a fit are tried, kept for the next task."""
        from alignedcut_cli.commands.align.run import load_slot, standardised
        from alignedcut_cli.core.align.ridge_start import selection

        if self._chosen is None or self._chosen.fit != fit:
            plan = self._plans[fit]
            means = (load_slot(plan, slot).to(self._device) for slot in range(len(plan.slots)))
            responses = standardised(plan)[0].to(self._device)
            self._chosen = None
            problem, ranks = selection(means, responses, *self._rows(fit), self._spectra(fit), plan.settings.dim)
            self._chosen = _Chosen(fit, problem, ranks)
        return self._chosen

    def _ahead(self, fit: int) -> Ahead | None:
        """What the first two sweeps found for a fit; None if they have not done all of it, as in a run without them."""
        from alignedcut_cli.core.align.reduced_rank_ridge import ALPHAS
        from alignedcut_cli.core.align.ridge_start import Ahead

        each = {SLOTS: len(self._plans[0].slots), PENALTIES: len(ALPHAS)}
        for sweep, size in each.items():
            missing = self._parts.missing(sweep, size * len(self._plans))
            if any(number // size == fit for number in missing):
                return None
        count, tried = len(ALPHAS) * len(self._plans), {}
        for place, alpha in enumerate(ALPHAS):
            score, rank = self._parts.read(PENALTIES, fit * len(ALPHAS) + place, count)["tried"].tolist()
            tried[alpha] = score, int(rank)
        return Ahead(lambda: self._spectra(fit), tried)

    def _fit(self, number: int, count: int, advance: Callable[[int], None]) -> None:
        """One fit, to all images but those that test it."""
        from alignedcut_cli.commands.align.folds import fold_arrays
        from alignedcut_cli.commands.align.run import fit, fitted_arrays

        plan, self._chosen = self._plans[number], None
        if number:
            self._frame.output.note(f"fold {number} of {len(self._folds)}")
        keeper = self._keepers[number] if self._keepers else None
        found = fit(self._frame, plan, self._device, advance, keeper, self._ahead(number))
        if not number:
            self._fitted = found
        self._parts.write(FITS, number, count, fold_arrays(plan, found) if number else fitted_arrays(found.alignment))

    def fitted(self) -> Fitted:
        """The fit to all, with its data."""
        from alignedcut_cli.commands.align.run import Fitted, alignment_of, load

        if self._fitted is None:
            plan = self._plans[0]
            alignment = alignment_of(self._parts.read(FITS, 0, len(self._plans)))
            self._fitted = Fitted(alignment, *load(plan))
        return self._fitted

    def crossed(self) -> Crossed | None:
        """The folds together; None without --folds."""
        from alignedcut_cli.commands.align.folds import crossed_of

        if not self._folds:
            return None
        parts = [self._parts.read(FITS, number + 1, len(self._plans)) for number in range(len(self._folds))]
        return crossed_of(self._folds, parts, self.fitted().units)
