"""Run a planned alignment: pooled features in memory, sampled tokens read from memory-mapped shards."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.brain.words import few
from alignedcut_cli.core.align.descent import State
from alignedcut_cli.core.align.ridge_start import Ahead
from alignedcut_cli.core.align.train import Alignment, choice_of, fit_alignment, start_numbers
from alignedcut_cli.core.align.units import LARGEST, SlotError, Units
from alignedcut_cli.core.numerics import NumericsError, Tick
from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.pairs import FIT, HELDOUT, TEST
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.slots import Slot
from alignedcut_cli.store.canonical import tensor_digest

if TYPE_CHECKING:
    from alignedcut_cli.commands.align.plan import Plan
    from alignedcut_cli.frame.keep import Keeper

__all__ = ["Fitted", "alignment_of", "fit", "fitted_arrays", "load", "load_slot", "rows_of", "standardised", "telling"]


@dataclass(frozen=True)
class Fitted:
    """A fitted alignment, on the CPU, with its data: pooled features (B, D_i) of each slot, responses (B, N).

    Its beta and eps predict these responses, which are standardised by `units`: mean 0, standard deviation 1.
    """

    alignment: Alignment
    pooled: list[Tensor]
    responses: Tensor
    units: Units


def load(plan: Plan) -> tuple[list[Tensor], Tensor, Units]:
    """The data of a fit: pooled features (B, D_i) of each slot, standardised responses (B, N), their units."""
    return [load_slot(plan, slot) for slot in range(len(plan.slots))], *standardised(plan)


def fit(
    frame: Frame,
    plan: Plan,
    device: torch.device,
    advance: Tick,
    keeper: Keeper | None = None,
    ahead: Ahead | None = None,
) -> Fitted:
    """Fit the planned alignment on `device`; all its steps are counted, even those that it stops short of.

    Raises DataError for unusable features or responses.
    """
    pooled, responses, units = load(plan)
    tokens = Tokens(plan.slots, plan.set_of, plan.pairs.places, device)
    if plan.settings.weights.agree and (apart := len(set(tokens.places))) > 1:
        frame.output.note(
            f"the slots hold tokens of {apart} sets of places, and agree on places only within a set: for one set, extract "
            "with the same grid, --tokens and --seed"
        )
    frame.output.detail(f"{len(pooled)} slots, {len(responses)} images, {responses.shape[1]} voxels on {device}")
    kept = keeper.read() if keeper else None
    with telling(plan):
        found = fit_alignment(
            [mean.to(device) for mean in pooled],
            responses.to(device),
            tokens.draw,
            *rows_of(plan, device),
            plan.settings,
            advance,
            tokens.places,
            _keeping(keeper),
            None if kept is None else {name: torch.from_numpy(array).to(device) for name, array in kept.items()},
            ahead,
        )
    advance(plan.steps - len(found.losses))
    parts = [*found.transforms, found.beta, found.eps, found.losses, found.heldout]
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise DataError(
            "diverged",
            "the weights grew beyond all bounds",
            "Give a smaller --rate, or --epochs 0",
        )
    on_cpu = Alignment(
        [matrix.cpu() for matrix in found.transforms], found.beta.cpu(), found.eps.cpu(),
        found.losses, found.heldout, found.best, found.start,
    )  # fmt: skip
    return Fitted(on_cpu, pooled, responses, units)


def _keeping(keeper: Keeper | None) -> Callable[[State], None] | None:
    """What gives the state of a fit to its keeper."""
    if keeper is None:
        return None
    return lambda state: keeper(lambda: {name: tensor.cpu().numpy() for name, tensor in state.items()})


@contextmanager
def telling(plan: Plan, slots: Sequence[int] | None = None) -> Iterator[None]:
    """Errors of the numbers in the block as DataError, which names the slots; `slots` are those of the block (all)."""
    try:
        yield
    except SlotError as error:
        named = few([plan.slots[slots[number] if slots else number].name for number in error.slots])
        raise DataError(
            "cannot-align", f"{named}: {error}", "Leave these layers out with --layers, or extract them again"
        ) from None
    except NumericsError as error:
        raise DataError("cannot-align", str(error), "Check the features with alignedcut check --deep") from None
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        raise DataError(
            "cannot-align",
            "the features of the slots are too far apart in size, or too alike, for float32",
            "Leave layers out with --layers, or check the features with alignedcut check --deep",
        ) from None


def fitted_arrays(found: Alignment) -> dict[str, np.ndarray]:
    """An alignment on the CPU as arrays."""
    kept = {f"transform.{number:03d}": matrix for number, matrix in enumerate(found.transforms)}
    kept |= {"beta": found.beta, "eps": found.eps, "losses": found.losses, "heldout": found.heldout}
    kept |= {"best": torch.tensor([found.best]), "start": start_numbers(found.start)}
    return {name: tensor.detach().numpy() for name, tensor in kept.items()}


def alignment_of(arrays: Mapping[str, np.ndarray]) -> Alignment:
    """The alignment of `fitted_arrays`."""
    kept = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    transforms = [kept[name] for name in sorted(kept) if name.startswith("transform.")]
    start = choice_of(kept["start"])
    return Alignment(transforms, kept["beta"], kept["eps"], kept["losses"], kept["heldout"], int(kept["best"]), start)


def rows_of(plan: Plan, device: torch.device) -> tuple[Tensor, Tensor]:
    """The rows of images to fit to, and of those held out."""
    fitted, heldout = (torch.from_numpy(np.flatnonzero(plan.split == part)).to(device) for part in (FIT, HELDOUT))
    return fitted, heldout


def standardised(plan: Plan) -> tuple[Tensor, Units]:
    """Responses (B, N) of the paired images, standardised, and their units."""
    responses = torch.from_numpy(plan.responses.values[plan.pairs.rows])
    units = _units(plan, responses)
    units.standardise(responses)
    return responses, units


def _units(plan: Plan, responses: Tensor) -> Units:
    """Mean and standard deviation of each voxel over training images. Raises DataError where float32 overflows."""
    units = Units.of(responses, torch.from_numpy(np.flatnonzero(plan.split != TEST)))
    if len(beyond := units.beyond()):
        columns = plan.responses.voxels[beyond.numpy()].tolist()
        raise DataError(
            "bad-units",
            f"{len(columns)} columns of the responses vary by less than {1 / LARGEST:g} or more than {LARGEST:g}, such as "
            f"column {columns[0]} by {float(units.scale[beyond[0]]):.2g}",
            "Give them in units in which they vary by about 1",
        )
    return units


def load_slot(plan: Plan, number: int) -> Tensor:
    """The pooled features (B, D) float32 of one slot, in the order of the paired images.

    Raises DataError if some are not finite.
    """
    slot, rows = plan.slots[number], plan.pairs.places[plan.set_of[number]]
    chosen = np.concatenate(slot.source.blocks(slot.pooled))[rows].astype(np.float32, copy=False)
    if bad := np.flatnonzero(~np.isfinite(chosen).all(1)).tolist():
        raise _not_finite(slot, "pooled features", [int(rows[row]) for row in bad])
    return torch.from_numpy(chosen)


class Tokens:
    """Random tokens of given images for each slot, from all its tokens or the stored sample of them.

    `places` has a number for each slot, equal for slots whose stored tokens are at the same positions.
    """

    def __init__(
        self, slots: Sequence[Slot], set_of: Sequence[int], places: Sequence[np.ndarray], device: torch.device
    ) -> None:
        self._slots = slots
        self._blocks = [_token_blocks(slot) for slot in slots]
        self._set_of = list(set_of)
        self._places = places
        self._device = device
        starts = {}
        for number, blocks in zip(set_of, self._blocks, strict=True):
            starts[number] = np.cumsum([0, *(len(block) for block in blocks)]).tolist()
        self._starts = starts
        keys = [_places_key(slot, places[number]) for slot, number in zip(slots, set_of, strict=True)]
        self.places = [keys.index(key) for key in keys]

    def draw(self, rows: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
        """`count` tokens (m, D_i) float32 of each slot from the paired images `rows` (b,): distinct (image, token)
        pairs, the same for all slots that store as many tokens; where a feature set has fewer, all of them, and as many of
        the others. Raises DataError if some are not finite."""
        images = rows.cpu().numpy()
        count = min(count, *(len(images) * blocks[0].shape[1] for blocks in self._blocks))
        picks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        drawn = []
        for slot, number, blocks in zip(self._slots, self._set_of, self._blocks, strict=True):
            each = blocks[0].shape[1]
            if each not in picks:
                flat = torch.randperm(len(images) * each, generator=generator)[:count].numpy()
                picks[each] = (images[flat // each], flat % each)
            image, token = picks[each]
            chosen = self._places[number][image]
            found = self._gather(blocks, self._starts[number], chosen, token)
            if bad := np.flatnonzero(~np.isfinite(found).all(1)).tolist():
                raise _not_finite(slot, "tokens", sorted({int(chosen[row]) for row in bad}))
            drawn.append(torch.from_numpy(found).to(self._device))
        return drawn

    def _gather(
        self, blocks: Sequence[np.ndarray], starts: Sequence[int], images: np.ndarray, tokens: np.ndarray
    ) -> np.ndarray:
        shards = np.array([bisect_right(starts, int(image)) - 1 for image in images])
        rows = np.empty((len(images), blocks[0].shape[2]), np.float32)
        for shard in np.unique(shards):
            mine = shards == shard
            rows[mine] = blocks[shard][images[mine] - starts[shard], tokens[mine]]
        return rows


def _not_finite(slot: Slot, what: str, images: Sequence[int]) -> DataError:
    names = [slot.source.images[image]["path"] for image in images]
    return DataError(
        "not-finite",
        f"{slot.name}: the {what} of {len(names)} images hold NaN or infinity, such as {few(names, 3)}",
        "Extract again, with --dtype float32 where numbers are large",
    )


def _has_sample(slot: Slot) -> bool:
    return f"sampled.{slot.layer:02d}" in slot.source.header.raw["tensors"]


def _token_blocks(slot: Slot) -> list[np.ndarray]:
    return slot.source.blocks(f"{'sampled' if _has_sample(slot) else 'tokens'}.{slot.layer:02d}")


def _places_key(slot: Slot, rows: np.ndarray) -> tuple[object, ...]:
    """A key that is equal for slots whose stored tokens of the images `rows` are at the same positions."""
    grid = (*slot.about["grid"], slot.about["class_token"])
    if not _has_sample(slot):
        return grid
    drawn = np.concatenate(slot.source.blocks(f"drawn.{slot.layer:02d}"))[rows]
    return (*grid, tensor_digest({"drawn": drawn}))
