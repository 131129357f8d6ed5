"""Which maps a set will hold, from a first batch, and the passes that memory and disk allow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from alignedcut_cli.commands.extract.map_plan import MapPlan
from alignedcut_cli.commands.extract.map_rows import scratch_files
from alignedcut_cli.errors import OutOfMemoryError, UnavailableError, UsageError
from alignedcut_cli.frame.config import resident_memory
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.store.features import FeatureWriter
from alignedcut_cli.store.files import free_disk

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.backbones.modules import Output
    from alignedcut_cli.backbones.network import Network
    from alignedcut_cli.core.maps.passes import Group, Limits, Need, Sizes

__all__ = ["SURVEYED", "Layout", "lay_out", "map_device"]

SURVEYED = 8
"""Images of the first forward pass, on which duplicate outputs are found."""
_ALIVE = 4
"""Copies of a batch's largest map that a forward pass is assumed to hold at once."""
_PIXELS = 8
"""Resized images are cached between passes if they take at most this share (one in 8) of the memory."""
_SPARE = 10
"""The share of the disk's free space (one in 10) that is left free."""
_BYTE = {"cpu": 50, "cuda": 5000}
"""Multiply-adds of the network that take as long as writing a byte to disk and reading it back."""


@dataclass(frozen=True)
class Layout:
    """The content of a set of maps: `outputs` are stored, `twins` are duplicates of these, `left_out` have no rows.

    `fixed` bytes of memory are always taken; `limits` are those of the rows that a pass holds.
    """

    outputs: tuple[Output, ...]
    twins: tuple[Output, ...]
    left_out: tuple[tuple[str, str], ...]
    sizes: Sizes
    dimensions: int
    keeps_pixels: bool
    keeps_raw: bool
    standardise: bool
    fixed: int
    limits: Limits

    def projected(self, output: Output) -> int:
        """d of an output, or 0 if it is no larger and stored whole."""
        return self.dimensions if output.units > self.dimensions else 0

    def is_raw(self, output: Output) -> bool:
        """Whether the rows of an output are stored in addition to its projection."""
        return self.keeps_raw and self.projected(output) > 0

    def twins_of(self, outputs: Collection[Output]) -> list[Output]:
        names = {one.name for one in outputs}
        return [twin for twin in self.twins if twin.same_as in names]

    def duplicates(self, output: Output) -> list[str]:
        return [twin.name for twin in self.twins_of([output])]

    def needs(self, numbers: Sequence[int]) -> list[Need]:
        """The needs of some of the stored outputs."""
        from alignedcut_cli.core.maps.passes import Need

        chosen = [self.outputs[number] for number in numbers]
        costs = [max(one.cost for one in (output, *self.twins_of([output]))) for output in chosen]
        return [Need(output.units, self.projected(output), cost) for output, cost in zip(chosen, costs, strict=True)]

    def groups(self, numbers: Sequence[int]) -> list[Group]:
        """The passes that read some of the stored outputs."""
        from alignedcut_cli.core.maps.passes import plan_groups

        return plan_groups(self.needs(numbers), self.sizes, self.limits)

    def products(self, groups: Sequence[Group]) -> tuple[int, int]:
        """The multiply-adds of all maps in these passes: of the network, and of products between images."""
        from alignedcut_cli.core.maps.passes import products_between

        needs = self.needs(range(len(self.outputs)))
        network = sum(group.reads * max(one.cost for one in needs[group.first : group.stop]) for group in groups)
        return network, products_between(needs, self.sizes.images)

    @property
    def bytes(self) -> int:
        """Bytes of the set on disk."""
        n = self.sizes.images
        each = (
            8 * n * n + 8 * n + 4 * n * (self.projected(one) or one.units) + 4 * n * one.units * self.is_raw(one)
            for one in self.outputs
        )
        return sum(each)


def lay_out(plan: MapPlan, network: Network, pixels: np.ndarray, distinct: Collection[str]) -> Layout:
    """The maps of a loaded network, found on the first images (uint8, resized); `distinct` are known not to be duplicates.

    Raises UsageError for --modules without a match, OutOfMemoryError if one of the maps cannot be read within the memory.
    """
    from alignedcut_cli.backbones.modules import survey_outputs
    from alignedcut_cli.core.maps.passes import Limits, Sizes, fitting
    from alignedcut_cli.core.maps.workers import most_workers

    device = next(network.module.parameters()).device
    batch = min(_batch(plan, device), len(plan.manifest.images))
    images = network.preprocess.normalise(pixels[[k % len(pixels) for k in range(max(3, len(pixels)))]], device)
    survey = survey_outputs(network, images)
    params = plan.recipe.params
    wanted = _wanted(survey.outputs, [] if params["modules"] == "all" else params["modules"])
    if not wanted:
        raise UnavailableError("no-maps", f"{network.id.label} has no modules with maps", "Give another --model")
    kept, twins = _part_twins(wanted, distinct, keep_all=params["keep_duplicates"])
    raw, standardise = params["keep"] == "raw", "standardise" in params
    sizes = Sizes(len(plan.manifest.images), batch, most_workers(map_device(device)))
    layout = Layout(kept, twins, survey.left_out, sizes, params["dimensions"], False, raw, standardise, 0, Limits(0))
    while True:
        layout = _sized(plan, layout, device)
        if fitting(layout.needs(range(len(kept))), layout.sizes, layout.limits):
            return layout
        if plan.batch_size != "auto" or layout.sizes.batch == 1:
            raise _too_small(plan, layout, network)
        layout = replace(layout, sizes=replace(layout.sizes, batch=layout.sizes.batch // 2))


def map_device(device: torch.device) -> torch.device:
    """The device of rows and their products: CUDA, if the network is there, else the CPU (MPS has no float64)."""
    import torch

    return device if device.type == "cuda" else torch.device("cpu")


def _batch(plan: MapPlan, device: torch.device) -> int:
    from alignedcut_cli.backbones.pipeline import batch_size_for

    return batch_size_for(plan.batch_size, device)


def _wanted(outputs: Sequence[Output], globs: Sequence[str]) -> list[Output]:
    from alignedcut_cli.backbones.modules import matching

    names = [one.name for one in outputs]
    for glob in globs:
        if not matching(names, [glob]):
            import difflib

            near = difflib.get_close_matches(glob, names, 5, 0.3) or names[:5]
            raise UsageError(
                "no-module", f"no module is called {glob!r}", f"Give for example {', '.join(near)}, or 'layer1.*'"
            )
    chosen = set(matching(names, globs))
    return [one for one in outputs if one.name in chosen]


def _part_twins(
    wanted: Sequence[Output], distinct: Collection[str], *, keep_all: bool
) -> tuple[tuple[Output, ...], tuple[Output, ...]]:
    """The outputs that are stored, and their duplicates, each naming the output that it equals."""
    kept: list[Output] = []
    twins: list[Output] = []
    first: dict[str, str] = {}
    for one in wanted:
        original = first.setdefault(one.same_as or one.name, one.name)
        if keep_all or one.name in distinct or original == one.name:
            kept.append(replace(one, same_as=None))
        else:
            twins.append(replace(one, same_as=original))
    return tuple(kept), tuple(twins)


def _fixed(plan: MapPlan, largest: int, sizes: Sizes, dimensions: int) -> tuple[int, bool]:
    """Bytes that are always taken, and whether resized images are cached between passes, included in them."""
    n, side = sizes.images, plan.network.preprocess.size
    pixels = 3 * n * side * side
    keeps = pixels * _PIXELS <= plan.budget
    finished = 2 * (8 * n * n + 4 * n * dimensions)
    working = sizes.batch * 4 * (_ALIVE * largest + 6 * side * side)
    return resident_memory() + finished + working + pixels * keeps, keeps


def _sized(plan: MapPlan, found: Layout, device: torch.device) -> Layout:
    """A layout with the limits of its passes: of main and GPU memory, and of the disk without the set itself."""
    import torch

    from alignedcut_cli.core.maps.passes import Limits

    fixed, keeps = _fixed(plan, max(one.units for one in found.outputs), found.sizes, found.dimensions)
    free = plan.budget - fixed
    if device.type == "cuda":
        free = min(free, torch.cuda.mem_get_info(device)[0] - fixed)
    begun = scratch_files(FeatureWriter(plan.folder, plan.recipe, ()).partial)
    free_bytes = free_disk(plan.folder) + sum(512 * path.stat().st_blocks for path in begun)
    disk = free_bytes - free_bytes // _SPARE - found.bytes
    limits = Limits(free, max(0, disk), _BYTE["cuda" if device.type == "cuda" else "cpu"], found.standardise)
    return replace(found, keeps_pixels=keeps, fixed=fixed, limits=limits)


def _too_small(plan: MapPlan, layout: Layout, network: Network) -> OutOfMemoryError:
    from alignedcut_cli.core.maps.passes import smallest_budget

    needs = layout.needs(range(len(layout.outputs)))
    least = layout.fixed + smallest_budget(needs, layout.sizes, layout.limits)
    return OutOfMemoryError(
        "memory-budget",
        f"the largest map of {network.id.label} takes {format_bytes(least)} of memory, of which --memory allows "
        f"{format_bytes(plan.budget)}",
        "Give more --memory, a smaller --batch-size, fewer --modules, or a project on a disk with more space",
    )
