"""Sets of maps from captions: the plan and the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.images import checked_images
from alignedcut_cli.commands.extract.map_rows import HeldRows
from alignedcut_cli.commands.extract.plan import (
    listed_images,
    one_per_model,
    require_distinct,
    weights_digest,
)
from alignedcut_cli.commands.extract.run import make_set
from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.keep import Keeper
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.canonical import digest
from alignedcut_cli.store.features import FeatureWriter
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.maps import map_meanings, map_tensors
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.backbones.text import Language, TextFiles
    from alignedcut_cli.brain.captions import Captions
    from alignedcut_cli.datasets.images import Manifest

__all__ = ["CaptionPlan", "make_caption_plans", "make_captioned", "size_of"]

ALGORITHM = 1
_MOST = 256
"""Captions per batch."""


@dataclass(frozen=True)
class CaptionPlan:
    """One set of maps to be made: which language model reads which captions."""

    found: TextFiles
    captions: Captions
    manifest: Manifest | None
    recipe: Recipe
    batch_size: str


def make_caption_plans(frame: Frame, asked: Asked, path: Path) -> list[CaptionPlan]:
    """One plan per model. Captions are read and matched to images, if these are given; no weights are loaded."""
    from alignedcut_cli.backbones.text import find_text_files, parse_language
    from alignedcut_cli.brain.captions import of_images, read_captions

    names = one_per_model("--name", asked.name, asked.model)
    files = one_per_model("--weights", asked.weights, asked.model)
    models = [parse_language(text) for text in asked.model]
    captions, manifest = read_captions(path, asked.captions_per_image), None
    if asked.images:
        manifest = checked_images(frame, listed_images(frame, asked), asked.on_bad_image, write=not asked.dry_run)
        captions = of_images(captions, [entry.as_object() for entry in manifest.images])
    for note in captions.notes:
        frame.output.note(note)
    plans = []
    for model, file, name in zip(models, files, names, strict=True):
        found = find_text_files(model, file, asked.seed, frame.output.note)
        recipe = _recipe(frame, asked, found, captions, manifest, name)
        plans.append(CaptionPlan(found, captions, manifest, recipe, asked.batch_size))
    require_distinct([plan.recipe.name for plan in plans])
    return plans


def _recipe(
    frame: Frame, asked: Asked, found: TextFiles, captions: Captions, manifest: Manifest | None, name: str | None
) -> Recipe:
    from alignedcut_cli.core.maps.projection import projected_dimensions

    params: dict[str, Any] = {
        "model": found.network.resolved if found.network else found.model.label,
        "tap": "captions",
        "captions": captions.count,
        "captions_per_image": asked.captions_per_image or "all",
        "dimensions": projected_dimensions(len(captions.images)),
        "seed": asked.seed,
    }
    external = {
        **_files_digest(frame, asked, found),
        "manifest": manifest.identity if manifest else digest(list(captions.images)),
        "captions": captions.identity,
    }
    default = f"{found.model.artifact_name}-captions"
    return Recipe("features", check_name(name or default), ALGORITHM, params, (), external)


def _files_digest(frame: Frame, asked: Asked, found: TextFiles) -> dict[str, str]:
    """What identifies a model: its weights' sha256, or the digest of the names and contents of all its files."""
    from alignedcut_cli.backbones.load import WeightsFile

    if found.network is not None:
        path = None if found.random else found.files[0]
        return weights_digest(frame, asked, WeightsFile(path, found.revision))
    files = [path for path in found.files if not (found.random and path.suffix == ".safetensors")]
    parts = [[path.name, weights_digest(frame, asked, WeightsFile(path))["weights"]] for path in files]
    seeded = f"random:{asked.seed}:" if found.random else ""
    revision = {"weights_revision": found.revision} if found.revision else {}
    return {"weights": seeded + digest(parts), **revision}


def size_of(plan: CaptionPlan, device: torch.device) -> tuple[int, int]:
    """Bytes of a set on disk, and of main memory. Loads the model."""
    from alignedcut_cli.backbones.text import load_language
    from alignedcut_cli.frame.config import resident_memory

    language = load_language(plan.found, plan.recipe.params["seed"], device)
    widths = [layer.shape[1] for layer in language.means(["a"])]
    n, d = len(plan.captions.images), plan.recipe.params["dimensions"]
    kept = sum(8 * n * n + 8 * n + 4 * n * min(width, d) for width in widths)
    return kept, resident_memory() + 8 * n * sum(widths) + 24 * n * n


def make_captioned(frame: Frame, plan: CaptionPlan, device: torch.device, *, overwrite: bool) -> tuple[Header, bool]:
    """The header of a set of maps, made unless it is up to date, and whether it was made."""
    place = (plan.manifest.identity, plan.manifest.root) if plan.manifest else None
    return make_set(frame, plan.recipe, place, overwrite, lambda: _extract(frame, plan, device))


def _extract(frame: Frame, plan: CaptionPlan, device: torch.device) -> Header:
    from alignedcut_cli.backbones.text import load_language

    name, n = plan.recipe.name, len(plan.captions.images)
    language = load_language(plan.found, plan.recipe.params["seed"], device)
    frame.journal.note("start", "features", name, frame.argv, recipe=plan.recipe.identity)
    cut = sum(language.count(text) > language.longest for texts in plan.captions.texts for text in texts)
    if cut:
        frame.output.note(f"{name}: {cut} of {plan.captions.count} captions are cut at {language.longest} tokens")
    numerics = _numerics(device)
    keeper = Keeper(frame, plan.recipe, numerics, lambda kept: f"{len(kept['rows.000'])} of {n} images' captions")
    with keeper.told_when_stopped():
        rows = _read_rows(frame, plan, language, keeper, device)
        header = _write(frame, plan, language, rows, numerics, device)
    keeper.drop()
    return header


def _numerics(device: torch.device) -> dict[str, str]:
    from importlib import metadata

    import torch

    versions = {}
    for package in ("transformers", "open_clip_torch"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"torch": torch.__version__, **versions, "device": device.type, "computed": "float32"}


def _read_rows(
    frame: Frame, plan: CaptionPlan, language: Language, keeper: Keeper, device: torch.device
) -> list[np.ndarray]:
    """For each layer the mean over tokens, then over an image's captions: (n, D) float32 each."""
    import numpy as np

    from alignedcut_cli.backbones.pipeline import batch_size_for

    texts, step = plan.captions.texts, batch_size_for(plan.batch_size, device)
    kept = keeper.read()
    done = [list(kept[f"rows.{layer:03d}"]) for layer in range(len(language.names))] if kept else []
    rows: list[list[np.ndarray]] = done or [[] for _ in language.names]
    with frame.output.progress(plan.recipe.name, len(texts), "images", len(rows[0])) as advance:
        for start in range(len(rows[0]), len(texts), step):
            chosen = texts[start : start + step]
            for layer, found in enumerate(_means_of(language, chosen, plan.found.model.label)):
                rows[layer].extend(found)
            advance(len(chosen))
            keeper(lambda: {f"rows.{layer:03d}": np.stack(part) for layer, part in enumerate(rows)})
    return [np.stack(part) for part in rows]


def _means_of(language: Language, texts: Sequence[Sequence[str]], label: str) -> list[np.ndarray]:
    """For each layer the mean of each image's captions: (images, D) float32."""
    import numpy as np
    import torch

    flat = [text for one in texts for text in one]
    parts = [language.means(flat[first : first + _MOST]) for first in range(0, len(flat), _MOST)]
    layers = [torch.cat(found).double() for found in zip(*parts, strict=True)]  # (captions, D)
    if not all(bool(layer.isfinite().all()) for layer in layers):
        raise DataError("feature-not-finite", f"{label} gives NaN or infinity", "Check the weights")
    ends = np.cumsum([len(one) for one in texts])[:-1].tolist()
    means = [torch.stack([part.mean(0) for part in layer.tensor_split(ends)]) for layer in layers]
    return [one.float().numpy() for one in means]


def _write(
    frame: Frame,
    plan: CaptionPlan,
    language: Language,
    rows: Sequence[np.ndarray],
    numerics: Mapping[str, str],
    device: torch.device,
) -> Header:
    """The shard of each layer, then the index."""
    import torch

    from alignedcut_cli.core.maps.block import mirror
    from alignedcut_cli.core.maps.projection import Projection
    from alignedcut_cli.core.maps.strips import kept_of_strips
    from alignedcut_cli.core.maps.workers import Workers

    n, d = len(plan.captions.images), plan.recipe.params["dimensions"]
    folder = frame.project.path("features", plan.recipe.name)
    writer = FeatureWriter(folder, plan.recipe, [(k, k + 1) for k in range(len(rows))], along="maps")
    writer.open()
    slots, cpu = [], torch.device("cpu")
    entries: list[dict[str, Any]] = [{"path": image} for image in plan.captions.images]
    if plan.manifest:
        entries = [entry.as_object() for entry in plan.manifest.images]
    with Workers(1) as workers:
        for number, (called, kind, found) in enumerate(zip(language.names, language.kinds, rows, strict=True)):
            units = found.shape[1]
            projected = d if units > d else 0
            projection = Projection(units, d, plan.recipe.params["seed"], cpu) if projected else None
            whole = HeldRows(n, units, cpu)
            whole.write(0, torch.from_numpy(found))
            kept = kept_of_strips(
                whole.read, units, n, batch=n, projection=projection, standardise=False, workers=workers
            )
            tensors = map_tensors(
                number, mirror(kept.gram).numpy(), kept.sums.numpy(), kept.matrix.contiguous().numpy()
            )
            axes = {"B": {"size": n}}
            writer.write(number, tensors, map_meanings(number, called), numerics=numerics, axes=axes)
            slot = {"model": plan.found.model.label, "layer": number, "tap": "captions", "name": called, "kind": kind}
            slots.append({**slot, "shape": [units], "units": units, "projected": projected, "duplicates": []})
    axes = {"B": {"size": n, "images": entries}, "S": {"size": len(slots), "slots": slots}}
    return writer.commit(numerics=numerics, axes=axes)
