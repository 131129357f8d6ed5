"""`alignedcut extract`: photographs and models in, feature sets out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignedcut_cli.commands.extract.images import checked_images, stdin_lines
from alignedcut_cli.errors import PermissionDeniedError, Stopped, UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import parse_layers, resolve_device
from alignedcut_cli.frame.run import DryRun, Frame, require_choice, exists_error
from alignedcut_cli.store.features import FeatureWriter, finish_swap, shard_ranges
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    from alignedcut_cli.backbones.load import Backbone, WeightsFile
    from alignedcut_cli.backbones.pipeline import TokenChoice
    from alignedcut_cli.datasets.images import Manifest

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "extract"
ALGORITHM = 2
EXAMPLES = (
    "alignedcut extract photos/ --model tiny-clip --model tiny-mae -p study",
    "alignedcut extract photos/ --model tiny-dino --tap block --layers 0,3-5 --tokens sample:8 -p study",
    "ls photos/*.png | alignedcut extract - --model tiny-clip --name few --json -p study",
)


@dataclass(frozen=True)
class Plan:
    """One feature set to be made: which model reads what from which images, and in which shards."""

    backbone: Backbone
    weights: WeightsFile
    manifest: Manifest
    layers: tuple[int, ...]
    widths: tuple[int, ...]
    tokens: TokenChoice
    recipe: Recipe
    ranges: tuple[tuple[int, int], ...]
    bytes: int


def command(
    ctx: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, folders, FILE.hdf5[:0-999], or - for a list on stdin.", metavar="IMAGES…"),
    ],
    model: Annotated[
        list[str],
        typer.Option("--model", "-m", help="A short name, a timm name, or open_clip:ARCH/TAG. May be repeated."),
    ],
    weights: Annotated[
        list[Path] | None,
        typer.Option("--weights", metavar="FILE", help="Local weights (safetensors or .pth), one per --model."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME", help="The feature set's name, one per --model.")
    ] = None,
    tap: Annotated[str, typer.Option("--tap", help="Where to read: attn, block, mlp, q, k or v.")] = "attn",
    layers: Annotated[str, typer.Option("--layers", help="all, or a list such as 0,3,5-9.")] = "all",
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", min=1, help="Side of the square input in pixels.  [default: the model's]"),
    ] = None,
    tokens: Annotated[str, typer.Option("--tokens", help="What to keep: all, pooled, or sample:K.")] = "all",
    batch_size: Annotated[str, typer.Option("--batch-size", help="Images per forward pass, or auto.")] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help="Stored numbers: float16 or float32.")] = "float16",
    on_bad_image: Annotated[
        str, typer.Option("--on-bad-image", help="fail before anything is written, or skip and name them.")
    ] = "fail",
    project: options.Project = Path(),
    device: options.Device = "auto",
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Read what each layer of a vision transformer sees in photographs: one feature set a model.

    The whole image is resized to the model's square input. At each tap the class token comes first, then the patches
    row by row; register tokens are left out. An interrupted run goes on where it stopped when the same command is given
    again.
    """
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose)
    names = _one_per_model("--name", name, model)
    files = _one_per_model("--weights", weights, model)
    require_choice("--tap", tap, ("attn", "block", "mlp", "q", "k", "v"))
    require_choice("--dtype", dtype, ("float16", "float32"))
    require_choice("--on-bad-image", on_bad_image, ("fail", "skip"))

    from alignedcut_cli.backbones.load import import_libraries
    from alignedcut_cli.datasets.find_images import find_images

    import_libraries()
    chosen_device = resolve_device(device)
    asked = Asked(tap, layers, tokens, dtype, seed)
    paths = find_images(images, stdin_lines() if "-" in images else (), frame.output.note)
    opened = [_open_model(frame, text, file, image_size) for text, file in zip(model, files, strict=True)]
    manifest = checked_images(frame, paths, on_bad_image, write=not dry_run)
    plans = [
        _plan(frame, manifest, *one, given, asked, write=not dry_run) for one, given in zip(opened, names, strict=True)
    ]
    _require_distinct([plan.recipe.name for plan in plans])
    if dry_run:
        described = DryRun(
            [f"{len(manifest.images)} images", *(f"weights {plan.weights.path}" for plan in plans)],
            [(str(frame.project.path("features", plan.recipe.name)), plan.bytes) for plan in plans],
            max(4 * plan.ranges[0][1] * plan.bytes // max(1, len(manifest.images)) for plan in plans),
        )
        frame.output.result(described.text(), described.as_object())
        return
    done = [_make(frame, plan, batch_size, chosen_device, overwrite, seed) for plan in plans]
    frame.output.result(
        "\n".join(str(frame.project.path("features", header.name)) for header, _ in done),
        {
            "schema": "alignedcut.extract/1",
            "artifacts": [frame.artifact_object(header, made=made) for header, made in done],
        },
    )


@dataclass(frozen=True)
class Asked:
    """The options that shape a feature set, as they were given."""

    tap: str
    layers: str
    tokens: str
    dtype: str
    seed: int


def _one_per_model(option: str, values: Sequence[Any] | None, models: Sequence[str]) -> list[Any]:
    if not values:
        return [None] * len(models)
    if len(values) != len(models):
        raise UsageError(
            "count-mismatch", f"{len(values)} {option} for {len(models)} --model", f"Give {option} once per --model"
        )
    return list(values)


def _require_distinct(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError("name-twice", f"two feature sets would be named {twice[0]}", "Give each its own --name")


def _open_model(frame: Frame, text: str, file: Path | None, image_size: int | None) -> tuple[Backbone, WeightsFile]:
    """A model, built but without its weights, and the file that holds them."""
    from alignedcut_cli.backbones.load import build_backbone, find_weights
    from alignedcut_cli.backbones.registry import parse_model

    backbone = build_backbone(parse_model(text), image_size)
    for note in backbone.notes:
        frame.output.note(note)
    return backbone, find_weights(backbone, file, frame.output.note)


def _plan(
    frame: Frame,
    manifest: Manifest,
    backbone: Backbone,
    weights: WeightsFile,
    name: str | None,
    asked: Asked,
    *,
    write: bool,
) -> Plan:
    """All that a feature set needs, resolved, before anything is computed."""
    from alignedcut_cli.backbones import pipeline

    layers = parse_layers(asked.layers, len(backbone.blocks))
    choice = pipeline.parse_tokens(asked.tokens, backbone.tokens)
    widths = backbone.widths(layers, asked.tap)
    params: dict[str, Any] = {
        "model": backbone.resolved,
        "tap": asked.tap,
        "layers": layers,
        "tokens": asked.tokens,
        "dtype": asked.dtype,
        "preprocess": backbone.preprocess.as_object(),
        **({"seed": asked.seed} if choice.sampled else {}),
    }
    external = {"weights": _weights_digest(frame, weights.path, write), "manifest": manifest.identity}
    if weights.revision:
        external["weights_revision"] = weights.revision
    default = backbone.id.artifact_name + ("" if asked.tap == "attn" else f"-{asked.tap}")
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


def _weights_digest(frame: Frame, path: Path, write: bool) -> str:
    from alignedcut_cli.store.canonical import file_digest
    from alignedcut_cli.store.hashes import HashCache

    cache = HashCache(frame.project)
    facts = cache.get(path)
    if facts:
        return facts["sha256"]
    found = file_digest(path)
    if write:
        cache.put(path, {"sha256": found})
        cache.save()
    return found


def _make(frame: Frame, plan: Plan, batch_size: str, device: Any, overwrite: bool, seed: int) -> tuple[Header, bool]:
    """One feature set, made or found up to date: (header, whether it was made)."""
    from alignedcut_cli.backbones.load import load_weights
    from alignedcut_cli.backbones.pipeline import batch_size_for, extract_shards, tensor_meanings

    name = plan.recipe.name
    folder = frame.project.path("features", name)
    with frame.project.writing("features", name):
        finish_swap(folder)
        found = frame.existing(plan.recipe, overwrite)
        if found:
            frame.say_up_to_date(found)
            _remember_place(frame, plan)
            return found, False
        writer = FeatureWriter(folder, plan.recipe, plan.ranges)
        begun = writer.recorded_plan()
        if begun is not None and begun["recipe"] != plan.recipe.identity and not overwrite:
            raise exists_error(plan.recipe, begun)
        size = batch_size_for(batch_size, device)
        frame.output.detail(f"{plan.recipe.params['model']} on {device}, {size} images a batch")
        backbone = load_weights(plan.backbone, plan.weights, device)
        frame.journal.note("start", "features", name, frame.argv, recipe=plan.recipe.identity)
        writer.open()
        missing = writer.missing()
        if len(missing) < len(plan.ranges):
            frame.output.note(
                f"{name}: {len(plan.ranges) - len(missing)} of {len(plan.ranges)} shards are there; going on"
            )
        images = len(plan.manifest.images)
        done_before = images - sum(stop - start for start, stop in (plan.ranges[number] for number in missing))
        with frame.output.progress(name, images, "images") as advance:
            advance(done_before)
            shards = extract_shards(
                backbone,
                plan.manifest.paths(),
                [(number, *plan.ranges[number]) for number in missing],
                plan.layers,
                tap=plan.recipe.params["tap"],
                tokens=plan.tokens,
                dtype=plan.recipe.params["dtype"],
                batch_size=size,
                seed=seed,
                workers=os.cpu_count() or 1,
                advance=advance,
                say=frame.output.note,
            )
            fields = {"numerics": _numerics(plan, device), "axes": _shard_axes(plan)}
            _write_behind(writer, shards, tensor_meanings(plan.layers, plan.tokens), fields, frame)
        numerics = {**fields["numerics"], "activation": plan.backbone.activation}
        header = writer.commit(numerics=numerics, axes=_axes(plan))
        _note_done(frame, plan)
        return header, True


def _note_done(frame: Frame, plan: Plan) -> None:
    """Keep in the journal that a feature set is there, and where its images lie."""
    images = {"manifest": plan.manifest.identity, "image_root": str(plan.manifest.root)}
    frame.journal.note("done", "features", plan.recipe.name, frame.argv, recipe=plan.recipe.identity, **images)


def _remember_place(frame: Frame, plan: Plan) -> None:
    """Keep where the same images lie now, if that is new; a project that cannot be written to stays as it is."""
    if plan.manifest.root not in frame.journal.image_roots([plan.manifest.identity]):
        with suppress(PermissionDeniedError):
            _note_done(frame, plan)


def _write_behind(writer: FeatureWriter, shards: Any, meanings: Any, fields: dict[str, Any], frame: Frame) -> None:
    """Write each shard while the next is computed. A signal waits for the shard that is being written."""
    pending: Future[None] | None = None
    try:
        with ThreadPoolExecutor(1) as disk:
            for number, tensors in shards:
                if pending:
                    pending.result()
                pending = disk.submit(writer.write, number, tensors, meanings, **fields)
            if pending:
                pending.result()
    except Stopped as stopped:
        whole = len(writer.ranges) - len(writer.missing())
        again = frame.journal.command("features", writer.recipe.name, overwrite=False)
        stopped.remedy = f"{whole} of {len(writer.ranges)} shards are kept; go on with: {again}"
        raise


def _numerics(plan: Plan, device: Any) -> dict[str, str]:
    import torch

    return {
        "torch": torch.__version__,
        "device": device.type,
        "computed": "float32",
        "stored": plan.recipe.params["dtype"],
    }


def _shard_axes(plan: Plan) -> dict[str, Any]:
    sizes = {"P": {"size": plan.backbone.tokens}}
    return {**sizes, **({"K": {"size": plan.tokens.sampled}} if plan.tokens.sampled else {})}


def _axes(plan: Plan) -> dict[str, Any]:
    slots = [
        {
            "model": plan.backbone.id.label,
            "layer": layer,
            "tap": plan.recipe.params["tap"],
            "width": width,
            "grid": list(plan.backbone.grid),
            "class_token": plan.backbone.class_token,
        }
        for layer, width in zip(plan.layers, plan.widths, strict=True)
    ]
    images = [entry.as_object() for entry in plan.manifest.images]
    return {
        **_shard_axes(plan),
        "B": {"size": len(images), "images": images},
        "S": {"size": len(slots), "slots": slots},
    }
