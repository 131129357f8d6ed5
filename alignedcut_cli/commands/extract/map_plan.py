"""What will be extracted of every module's output: recipes before anything is computed, passes once one batch was seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.backbones.libraries import import_libraries
from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.images import checked_images
from alignedcut_cli.commands.extract.plan import listed_images, one_per_model, require_distinct, weights_digest
from alignedcut_cli.errors import OutOfMemoryError, UnavailableError, UsageError
from alignedcut_cli.frame.config import memory_bytes, resident_memory
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.backbones.load import WeightsFile
    from alignedcut_cli.backbones.modules import Output
    from alignedcut_cli.backbones.network import Network
    from alignedcut_cli.core.maps.passes import Group, Need, Sizes
    from alignedcut_cli.datasets.images import Manifest

__all__ = ["SURVEYED", "Layout", "MapPlan", "lay_out", "make_map_plans", "map_device"]

ALGORITHM = 1
SURVEYED = 8
"""Images of the first forward pass, on which alike outputs are found."""
_ALIVE = 4
"""Copies of the largest map of a batch that a forward pass is taken to hold at once."""
_PIXELS = 8
"""Resized images are kept from pass to pass where they take at most this share (one in 8) of the memory."""


@dataclass(frozen=True)
class MapPlan:
    """One set of maps to be made: which modules of which model are read on which images."""

    network: Network
    weights: WeightsFile
    manifest: Manifest
    recipe: Recipe
    batch_size: str
    budget: int


@dataclass(frozen=True)
class Layout:
    """What a set of maps will hold: `outputs` are kept, `twins` have the values of one of these, `left_out` no rows.

    `fixed` bytes are taken whatever is held; `free` are left for what passes hold.
    """

    outputs: tuple[Output, ...]
    twins: tuple[Output, ...]
    left_out: tuple[tuple[str, str], ...]
    sizes: Sizes
    dimensions: int
    keeps_pixels: bool
    keeps_raw: bool
    fixed: int
    free: int

    def projected(self, output: Output) -> int:
        """d of an output, or 0 where it is no larger than that and stays as it is."""
        return self.dimensions if output.units > self.dimensions else 0

    def twins_of(self, outputs: Collection[Output]) -> list[Output]:
        names = {one.name for one in outputs}
        return [twin for twin in self.twins if twin.same_as in names]

    def duplicates(self, output: Output) -> list[str]:
        return [twin.name for twin in self.twins_of([output])]

    def needs(self, numbers: Sequence[int]) -> list[Need]:
        """What some of the kept outputs take of a pass."""
        from alignedcut_cli.core.maps.passes import Need

        chosen = [self.outputs[number] for number in numbers]
        costs = [max(one.cost for one in (output, *self.twins_of([output]))) for output in chosen]
        return [Need(output.units, self.projected(output), cost) for output, cost in zip(chosen, costs, strict=True)]

    def groups(self, numbers: Sequence[int]) -> list[Group]:
        """The passes that read some of the kept outputs."""
        from alignedcut_cli.core.maps.passes import plan_groups

        return plan_groups(self.needs(numbers), self.sizes, self.free)

    @property
    def bytes(self) -> int:
        """What the set takes on disk."""
        n = self.sizes.images
        each = (
            8 * n * n + 8 * n + 4 * n * (self.projected(one) or one.units) + 4 * n * one.units * self._is_raw(one)
            for one in self.outputs
        )
        return sum(each)

    def _is_raw(self, output: Output) -> bool:
        return self.keeps_raw and self.projected(output) > 0


def make_map_plans(frame: Frame, asked: Asked) -> list[MapPlan]:
    """One plan a model. Images are checked; no weights are loaded. Raises as `make_plans` does."""
    from alignedcut_cli.backbones.load import find_weights
    from alignedcut_cli.backbones.network import build_network
    from alignedcut_cli.backbones.registry import parse_model

    names = one_per_model("--name", asked.name, asked.model)
    files = one_per_model("--weights", asked.weights, asked.model)
    budget = memory_bytes(asked.memory)
    import_libraries()
    paths = listed_images(frame, asked)
    opened = []
    for text, file in zip(asked.model, files, strict=True):
        network = build_network(parse_model(text), asked.image_size, asked.seed)
        for note in network.notes:
            frame.output.note(note)
        opened.append((network, find_weights(network, file, frame.output.note)))
    manifest = checked_images(frame, paths, asked.on_bad_image, write=not asked.dry_run)
    plans = []
    for (network, weights), name in zip(opened, names, strict=True):
        recipe = _recipe(frame, asked, manifest, network, weights, name)
        plans.append(MapPlan(network, weights, manifest, recipe, asked.batch_size, budget))
    require_distinct([plan.recipe.name for plan in plans])
    return plans


def _recipe(
    frame: Frame, asked: Asked, manifest: Manifest, network: Network, weights: WeightsFile, name: str | None
) -> Recipe:
    from alignedcut_cli.core.maps.projection import projected_dimensions

    params: dict[str, Any] = {
        "model": network.resolved,
        "tap": "maps",
        "modules": sorted(asked.modules) or "all",
        "keep": asked.keep,
        "keep_duplicates": asked.keep_duplicates,
        "dimensions": projected_dimensions(len(manifest.images)),
        "preprocess": network.preprocess.as_object(),
        "seed": asked.seed,
    }
    external = {**weights_digest(frame, asked, weights), "manifest": manifest.identity}
    default = f"{network.id.artifact_name}-maps"
    return Recipe("features", check_name(name or default), ALGORITHM, params, (), external)


def lay_out(plan: MapPlan, network: Network, pixels: np.ndarray, distinct: Collection[str]) -> Layout:
    """The maps of a loaded network, found on the first images (uint8, resized); `distinct` are known to be no duplicates.

    Raises UsageError for --modules that match nothing, OutOfMemoryError where not even one batch of one map fits.
    """
    from alignedcut_cli.backbones.modules import survey_outputs
    from alignedcut_cli.core.maps.passes import Sizes

    device = next(network.module.parameters()).device
    batch = min(_batch(plan, device), len(plan.manifest.images))
    images = network.preprocess.normalise(pixels[[k % len(pixels) for k in range(max(3, len(pixels)))]], device)
    survey = survey_outputs(network, images)
    params = plan.recipe.params
    wanted = _wanted(survey.outputs, [] if params["modules"] == "all" else params["modules"])
    if not wanted:
        raise UnavailableError("no-maps", f"{network.id.label} has no modules with maps", "Give another --model")
    kept, twins = _part_twins(wanted, distinct, keep_all=params["keep_duplicates"])
    while True:
        sizes = Sizes(len(plan.manifest.images), batch)
        layout = _sized(plan, kept, twins, survey.left_out, sizes, device)
        if layout is not None:
            return layout
        if plan.batch_size != "auto" or batch == 1:
            raise _too_small(plan, kept, sizes, network)
        batch = max(1, batch // 2)


def map_device(device: torch.device) -> torch.device:
    """Where rows are held and multiplied: on a CUDA card beside the network, else on the CPU (MPS has no float64)."""
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
    """The outputs that are kept, and those that have the values of one of them, each naming that."""
    from dataclasses import replace

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
    """Bytes that are taken whatever is held, and whether resized images are kept from pass to pass among them."""
    n, side = sizes.images, plan.network.preprocess.size
    pixels = 3 * n * side * side
    keeps = pixels * _PIXELS <= plan.budget
    finished = 2 * (8 * n * n + 4 * n * dimensions)
    working = sizes.batch * 4 * (_ALIVE * largest + 6 * side * side)
    return resident_memory() + finished + working + pixels * keeps, keeps


def _sized(
    plan: MapPlan,
    kept: tuple[Output, ...],
    twins: tuple[Output, ...],
    left_out: tuple[tuple[str, str], ...],
    sizes: Sizes,
    device: torch.device,
) -> Layout | None:
    """The layout with batches of this size, None where it does not fit the memory, and a card's."""
    import torch

    from alignedcut_cli.core.maps.passes import smallest_budget

    dimensions = plan.recipe.params["dimensions"]
    fixed, keeps = _fixed(plan, max(one.units for one in kept), sizes, dimensions)
    raw, free = plan.recipe.params["keep"] == "raw", plan.budget - fixed
    if device.type == "cuda":
        free = min(free, torch.cuda.mem_get_info(device)[0] - fixed)
    layout = Layout(kept, twins, left_out, sizes, dimensions, keeps, raw, fixed, free)
    return layout if smallest_budget(layout.needs(range(len(kept))), sizes) <= layout.free else None


def _too_small(plan: MapPlan, kept: tuple[Output, ...], sizes: Sizes, network: Network) -> OutOfMemoryError:
    from alignedcut_cli.core.maps.passes import Need, smallest_budget

    d = plan.recipe.params["dimensions"]
    fixed, _ = _fixed(plan, max(one.units for one in kept), sizes, d)
    least = fixed + smallest_budget([Need(one.units, d if one.units > d else 0, 0) for one in kept], sizes)
    return OutOfMemoryError(
        "memory-budget",
        f"one batch of the largest map of {network.id.label} takes {format_bytes(least)}, --memory allows "
        f"{format_bytes(plan.budget)}",
        "Give more --memory, a smaller --batch-size, or fewer --modules",
    )
