"""The plan of an extraction: models, images and shards, with every `auto` resolved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.backbones.libraries import import_libraries
from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.images import checked_images, stdin_lines
from alignedcut_cli.datasets.find_images import find_images
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.config import parse_layers
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.canonical import digest, file_digest
from alignedcut_cli.store.features import shard_ranges
from alignedcut_cli.store.hashes import HashCache
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.locks import hold
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    from alignedcut_cli.backbones.load import Backbone, WeightsFile
    from alignedcut_cli.backbones.pipeline import TokenChoice
    from alignedcut_cli.backbones.registry import ModelId
    from alignedcut_cli.datasets.images import Manifest

__all__ = [
    "HEADED",
    "Plan",
    "images_checked_once",
    "listed_images",
    "make_plans",
    "one_per_model",
    "open_model",
    "require_distinct",
    "weights_digest",
]

ALGORITHM = 2
HEADED = ("q", "k", "v")
"""Taps whose channels are the concatenated heads."""


@dataclass(frozen=True)
class Plan:
    """One feature set to be made: model, tap, layers, images and shards."""

    backbone: Backbone
    weights: WeightsFile
    manifest: Manifest
    layers: tuple[int, ...]
    widths: tuple[int, ...]
    tokens: TokenChoice
    recipe: Recipe
    ranges: tuple[tuple[int, int], ...]
    bytes: int

    @property
    def tap(self) -> str:
        return self.recipe.params["tap"]


def make_plans(frame: Frame, asked: Asked) -> list[list[Plan]]:
    """For each model one plan per tap. Images are checked; no weights are loaded.

    Raises UsageError, DataError or InputMissingError.
    """
    names = one_per_model("--name", asked.name, asked.model)
    files = one_per_model("--weights", asked.weights, asked.model)
    import_libraries()
    paths = listed_images(frame, asked)
    opened = [open_model(frame, asked, text, file) for text, file in zip(asked.model, files, strict=True)]
    with images_checked_once(frame, asked):
        manifest = checked_images(frame, paths, asked.on_bad_image, write=not asked.dry_run)
    taps = asked.tap or ("attn",)
    plans = [
        [_plan(frame, asked, manifest, *one, _name(name, tap, len(taps)), tap) for tap in taps]
        for one, name in zip(opened, names, strict=True)
    ]
    require_distinct([plan.recipe.name for model in plans for plan in model])
    return plans


def images_checked_once(frame: Frame, asked: Asked) -> AbstractContextManager[None]:
    """While jobs of an array come together, the first checks the images, and the others find them in the hash cache."""
    if asked.shard is None or asked.dry_run:
        return nullcontext()
    return hold(frame.project.lock_path("images", "check"), "", wait=True)


def _name(given: str | None, tap: str, taps: int) -> str | None:
    """The name of one tap's set, if the user gave one; of several taps, each except attn is appended."""
    return f"{given}-{tap}" if given and taps > 1 and tap != "attn" else given


def listed_images(frame: Frame, asked: Asked) -> list[Path]:
    """The files of all images that the command line names."""
    return find_images(list(asked.images), stdin_lines() if "-" in asked.images else (), frame.output.note)


def one_per_model(option: str, values: Sequence[Any] | None, models: Sequence[str]) -> list[Any]:
    if not values:
        return [None] * len(models)
    if len(values) != len(models):
        raise UsageError(
            "count-mismatch", f"{len(values)} {option} for {len(models)} --model", f"Give {option} once per --model"
        )
    return list(values)


def require_distinct(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError("name-twice", f"two feature sets would be named {twice[0]}", "Give each its own --name")


def open_model(frame: Frame, asked: Asked, text: str, file: Path | None) -> tuple[Backbone, WeightsFile]:
    """A model built without its weights, and the file that holds them."""
    from alignedcut_cli.backbones.load import build_backbone, find_weights
    from alignedcut_cli.backbones.registry import parse_model

    model = parse_model(text)
    if model.source == "diffusers":
        return _open_unet(frame, asked, model, file)
    backbone = build_backbone(model, asked.image_size, asked.seed)
    for note in backbone.notes:
        frame.output.note(note)
    return backbone, find_weights(backbone, file, frame.output.note)


def _open_unet(frame: Frame, asked: Asked, model: ModelId, file: Path | None) -> tuple[Backbone, WeightsFile]:
    """A U-Net built without its weights, and the files of its pipeline."""
    from alignedcut_cli.backbones.diffusion import build_unet, find_pipeline
    from alignedcut_cli.backbones.network import no_unet_tap

    if not set(asked.tap or ("attn",)) <= set(HEADED):
        raise no_unet_tap(model.label)
    if file is not None:
        told = f"--weights {file} is for other models: those of a U-Net lie in its folder"
        raise UsageError("weights-idle", told, "Leave it out, or give --model diffusers:FOLDER")
    folder, weights = find_pipeline(model, frame.output.note)
    backbone = build_unet(model, folder, asked.image_size, asked.noise_step, asked.seed)
    for note in backbone.notes:
        frame.output.note(note)
    return backbone, weights


def _plan(
    frame: Frame, asked: Asked, manifest: Manifest, backbone: Backbone, weights: WeightsFile, name: str | None, tap: str
) -> Plan:
    """The plan of one feature set, with every `auto` resolved."""
    from alignedcut_cli.backbones import pipeline

    layers = parse_layers(asked.layers, len(backbone.blocks))
    tokens = [backbone.tokens_of(layer) for layer in layers]
    choice = pipeline.parse_tokens(asked.tokens, min(tokens))
    widths = backbone.widths(layers, tap)
    params: dict[str, Any] = {
        "model": backbone.resolved,
        "tap": tap,
        "layers": layers,
        "tokens": asked.tokens,
        "dtype": asked.dtype,
        "preprocess": backbone.preprocess.as_object(),
        **({"seed": asked.seed} if choice.sampled else {}),
        **backbone.choices,
    }
    if tap in HEADED:
        params["heads"] = [backbone.heads(layer).get("heads") for layer in layers]
    external = {**weights_digest(frame, asked, weights), "manifest": manifest.identity}
    default = backbone.id.artifact_name + ("" if tap == "attn" else f"-{tap}")
    size = pipeline.bytes_per_image(widths, tokens, choice, asked.dtype)
    return Plan(
        backbone=backbone,
        weights=weights,
        manifest=manifest,
        layers=tuple(layers),
        widths=tuple(widths),
        tokens=choice,
        recipe=Recipe("features", check_name(name or default), ALGORITHM, params, (), external),
        ranges=tuple(shard_ranges(len(manifest.images), size)),
        bytes=size * len(manifest.images),
    )


def weights_digest(frame: Frame, asked: Asked, weights: WeightsFile) -> dict[str, str]:
    """The identity of weights in a recipe: their sha256, and the hub's revision if they come from there.

    For several files it is the digest of their names and contents.
    """
    if weights.path is None:
        return {"weights": f"random:{asked.seed}"}
    revision = {"weights_revision": weights.revision} if weights.revision else {}
    if weights.others:
        files = (weights.path, *weights.others)
        parts = [[f"{one.parent.name}/{one.name}", _sha256(frame, asked, one)] for one in files]
        return {"weights": digest(parts), **revision}
    return {"weights": _sha256(frame, asked, weights.path), **revision}


def _sha256(frame: Frame, asked: Asked, path: Path) -> str:
    cache = HashCache(frame.project)
    facts = cache.get(path)
    if facts:
        return facts["sha256"]
    found = file_digest(path)
    if not asked.dry_run:
        cache.put(path, {"sha256": found})
        cache.save()
    return found
