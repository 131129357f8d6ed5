"""The plan of an extraction: models, images and shards, with every `auto` resolved."""

from __future__ import annotations

from collections.abc import Sequence
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
from alignedcut_cli.store.canonical import file_digest
from alignedcut_cli.store.features import shard_ranges
from alignedcut_cli.store.hashes import HashCache
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    from alignedcut_cli.backbones.load import Backbone, WeightsFile
    from alignedcut_cli.backbones.pipeline import TokenChoice
    from alignedcut_cli.datasets.images import Manifest

__all__ = ["HEADED", "Plan", "listed_images", "make_plans", "one_per_model", "require_distinct", "weights_digest"]

ALGORITHM = 2
HEADED = ("q", "k", "v")
"""Taps whose channels are those of the heads, side by side."""


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
    """For each model one plan a tap. Images are checked; no weights are loaded.

    Raises UsageError, DataError or InputMissingError.
    """
    names = one_per_model("--name", asked.name, asked.model)
    files = one_per_model("--weights", asked.weights, asked.model)
    import_libraries()
    paths = listed_images(frame, asked)
    opened = [_open_model(frame, asked, text, file) for text, file in zip(asked.model, files, strict=True)]
    manifest = checked_images(frame, paths, asked.on_bad_image, write=not asked.dry_run)
    taps = asked.tap or ("attn",)
    plans = [
        [_plan(frame, asked, manifest, *one, _name(name, tap, len(taps)), tap) for tap in taps]
        for one, name in zip(opened, names, strict=True)
    ]
    require_distinct([plan.recipe.name for model in plans for plan in model])
    return plans


def _name(given: str | None, tap: str, taps: int) -> str | None:
    """The name of one tap's set, where the user gave one; of several taps each but attn adds its own."""
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


def _open_model(frame: Frame, asked: Asked, text: str, file: Path | None) -> tuple[Backbone, WeightsFile]:
    """A model built without its weights, and the file that holds them."""
    from alignedcut_cli.backbones.load import build_backbone, find_weights
    from alignedcut_cli.backbones.registry import parse_model

    backbone = build_backbone(parse_model(text), asked.image_size, asked.seed)
    for note in backbone.notes:
        frame.output.note(note)
    return backbone, find_weights(backbone, file, frame.output.note)


def _plan(
    frame: Frame, asked: Asked, manifest: Manifest, backbone: Backbone, weights: WeightsFile, name: str | None, tap: str
) -> Plan:
    """The plan of one feature set, with every `auto` resolved."""
    from alignedcut_cli.backbones import pipeline

    layers = parse_layers(asked.layers, len(backbone.blocks))
    choice = pipeline.parse_tokens(asked.tokens, backbone.tokens)
    widths = backbone.widths(layers, tap)
    params: dict[str, Any] = {
        "model": backbone.resolved,
        "tap": tap,
        "layers": layers,
        "tokens": asked.tokens,
        "dtype": asked.dtype,
        "preprocess": backbone.preprocess.as_object(),
        **({"seed": asked.seed} if choice.sampled else {}),
    }
    if tap in HEADED:
        params["heads"] = [backbone.heads(layer).get("heads") for layer in layers]
    external = {**weights_digest(frame, asked, weights), "manifest": manifest.identity}
    default = backbone.id.artifact_name + ("" if tap == "attn" else f"-{tap}")
    size = pipeline.bytes_per_image(widths, backbone.tokens, choice, asked.dtype)
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
    """What identifies the weights in a recipe: their sha256, and the hub's revision where they came from there."""
    if weights.path is None:
        return {"weights": f"random:{asked.seed}"}
    revision = {"weights_revision": weights.revision} if weights.revision else {}
    cache = HashCache(frame.project)
    facts = cache.get(weights.path)
    if facts:
        return {"weights": facts["sha256"], **revision}
    found = file_digest(weights.path)
    if not asked.dry_run:
        cache.put(weights.path, {"sha256": found})
        cache.save()
    return {"weights": found, **revision}
