"""The plan of an extraction of every module's output: recipes before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.backbones.libraries import import_libraries
from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.images import checked_images
from alignedcut_cli.commands.extract.plan import listed_images, one_per_model, require_distinct, weights_digest
from alignedcut_cli.frame.config import memory_bytes
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    from alignedcut_cli.backbones.load import WeightsFile
    from alignedcut_cli.backbones.network import Network
    from alignedcut_cli.datasets.images import Manifest

__all__ = ["MapPlan", "make_map_plans"]

ALGORITHM = 1


@dataclass(frozen=True)
class MapPlan:
    """One set of maps to be made: which modules of which model are read on which images; `folder` is the set's."""

    network: Network
    weights: WeightsFile
    manifest: Manifest
    recipe: Recipe
    batch_size: str
    budget: int
    folder: Path


def make_map_plans(frame: Frame, asked: Asked) -> list[MapPlan]:
    """One plan per model. Images are checked; no weights are loaded. Raises as `make_plans` does."""
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
        folder = frame.project.path("features", recipe.name)
        plans.append(MapPlan(network, weights, manifest, recipe, asked.batch_size, budget, folder))
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
        **({"standardise": True} if asked.standardise else {}),
        "preprocess": network.preprocess.as_object(),
        "seed": asked.seed,
    }
    external = {**weights_digest(frame, asked, weights), "manifest": manifest.identity}
    default = f"{network.id.artifact_name}-maps"
    return Recipe("features", check_name(name or default), ALGORITHM, params, (), external)
