"""Make a planned feature set shard by shard, unless it is up to date."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.plan import Plan
from alignedcut_cli.errors import PermissionDeniedError, Stopped
from alignedcut_cli.frame.run import Frame, exists_error
from alignedcut_cli.store.features import FeatureWriter, finish_swap, is_settled, read_plan
from alignedcut_cli.store.header import Header, Recipe

if TYPE_CHECKING:
    import torch

__all__ = ["make", "make_set", "told_when_stopped"]


def make(frame: Frame, plan: Plan, asked: Asked, device: torch.device) -> tuple[Header, bool]:
    """Make one feature set unless it is up to date: (header, whether it was made)."""
    place = plan.manifest.identity, plan.manifest.root
    return make_set(frame, plan.recipe, place, asked.overwrite, lambda: _extract(frame, plan, asked, device))


def make_set(
    frame: Frame, recipe: Recipe, place: tuple[str, Path] | None, overwrite: bool, build: Callable[[], Header]
) -> tuple[Header, bool]:
    """A feature set that `build` makes, or that is found up to date: (header, whether it was made).

    `place` is the identity of its images and where they lie. Raises OutputExistsError where another recipe's is there,
    or begun.
    """
    folder = frame.project.path("features", recipe.name)
    if is_settled(folder) and (found := frame.existing(recipe, overwrite)):
        _remember_place(frame, recipe, place)
        return frame.up_to_date(found)
    with frame.project.writing("features", recipe.name):
        finish_swap(folder)
        if found := frame.existing(recipe, overwrite):
            _remember_place(frame, recipe, place)
            return frame.up_to_date(found)
        begun = read_plan(folder)
        if begun is not None and begun["recipe"] != recipe.identity and not overwrite:
            raise exists_error(recipe, begun)
        header = build()
        _note_done(frame, recipe, place)
        return header, True


def _extract(frame: Frame, plan: Plan, asked: Asked, device: torch.device) -> Header:
    from alignedcut_cli.backbones.load import load_weights
    from alignedcut_cli.backbones.pipeline import batch_size_for, extract_shards, tensor_meanings

    name = plan.recipe.name
    writer = FeatureWriter(frame.project.path("features", name), plan.recipe, plan.ranges)
    size = batch_size_for(asked.batch_size, device)
    frame.output.detail(f"{plan.recipe.params['model']} on {device}, {size} images a batch")
    backbone = load_weights(plan.backbone, plan.weights, device)
    frame.journal.note("start", "features", name, frame.argv, recipe=plan.recipe.identity)
    writer.open()
    missing = writer.missing()
    if len(missing) < len(plan.ranges):
        frame.output.note(f"{name}: {len(plan.ranges) - len(missing)} of {len(plan.ranges)} shards are there; going on")
    images = len(plan.manifest.images)
    done_before = images - sum(stop - start for start, stop in (plan.ranges[number] for number in missing))
    with frame.output.progress(name, images, "images", done_before) as advance:
        shards = extract_shards(
            backbone,
            plan.manifest.paths(),
            [(number, *plan.ranges[number]) for number in missing],
            plan.layers,
            tap=plan.recipe.params["tap"],
            tokens=plan.tokens,
            dtype=plan.recipe.params["dtype"],
            batch_size=size,
            seed=asked.seed,
            workers=os.cpu_count() or 1,
            advance=advance,
            say=frame.output.note,
        )
        fields = {"numerics": _numerics(plan, device), "axes": _shard_axes(plan)}
        with told_when_stopped(frame, writer, "shards"):
            _write_behind(writer, shards, tensor_meanings(plan.layers, plan.tokens), fields)
    numerics = {**fields["numerics"], "activation": plan.backbone.activation}
    return writer.commit(numerics=numerics, axes=_axes(plan))


def _note_done(frame: Frame, recipe: Recipe, place: tuple[str, Path] | None) -> None:
    """Record in the journal that a feature set is complete, and the folder of its images."""
    images = {"manifest": place[0], "image_root": str(place[1])} if place else {}
    frame.journal.note("done", "features", recipe.name, frame.argv, recipe=recipe.identity, **images)


def _remember_place(frame: Frame, recipe: Recipe, place: tuple[str, Path] | None) -> None:
    """Record the folder of the same images if it is new; a read-only project stays as it is."""
    if place and place[1] not in frame.journal.image_roots([place[0]]):
        with suppress(PermissionDeniedError):
            _note_done(frame, recipe, place)


def _write_behind(writer: FeatureWriter, shards: Any, meanings: Any, fields: dict[str, Any]) -> None:
    """Write each shard while the next is computed. A signal takes effect once the current shard is written."""
    pending: Future[None] | None = None
    with ThreadPoolExecutor(1) as disk:
        for number, tensors in shards:
            if pending:
                pending.result()
            pending = disk.submit(writer.write, number, tensors, meanings, **fields)
        if pending:
            pending.result()


@contextmanager
def told_when_stopped(
    frame: Frame, writer: FeatureWriter, things: str, also: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """If a signal stops the block, its message says what is kept (whole shards, and what `also` names) and how to go on."""
    try:
        yield
    except Stopped as stopped:
        whole = len(writer.ranges) - len(writer.missing())
        again = frame.journal.command("features", writer.recipe.name, overwrite=False)
        stopped.remedy = f"{whole} of {len(writer.ranges)} {things}{also()} are kept; go on with: {again}"
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
