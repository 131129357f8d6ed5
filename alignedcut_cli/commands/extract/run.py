"""Make a planned feature set shard by shard, unless it is up to date."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.plan import HEADED, Plan
from alignedcut_cli.errors import PermissionDeniedError, Stopped
from alignedcut_cli.frame.run import Frame, exists_error
from alignedcut_cli.store.features import FeatureWriter, finish_swap, is_settled, read_plan
from alignedcut_cli.store.header import Header, Recipe

if TYPE_CHECKING:
    import torch

__all__ = ["make", "make_set", "told_when_stopped"]


def make(frame: Frame, plans: Sequence[Plan], asked: Asked, device: torch.device) -> list[tuple[Header, bool]]:
    """The headers of the feature sets of one model's taps, made unless up to date, and whether each was made."""
    found: dict[str, tuple[Header, bool]] = {}
    with ExitStack() as locks:
        waiting = []
        for plan in plans:
            name = plan.recipe.name
            folder = frame.project.path("features", name)
            header = frame.existing(plan.recipe, asked.overwrite) if is_settled(folder) else None
            if not header:
                locks.enter_context(frame.project.writing("features", name))
                finish_swap(folder)
                header = frame.existing(plan.recipe, asked.overwrite)
            if header:
                _remember_place(frame, plan.recipe, _place(plan))
                found[name] = frame.up_to_date(header)
            else:
                waiting.append((plan, _writer(plan, folder, asked.overwrite)))
        # Sets that are read in one pass have the same shards; taps of other widths have others, as if they were read alone.
        for ranges in dict.fromkeys(plan.ranges for plan, _ in waiting):
            together = [(plan, writer) for plan, writer in waiting if plan.ranges == ranges]
            for (plan, _), header in zip(together, _extract(frame, together, asked, device), strict=True):
                found[plan.recipe.name] = header, True
    return [found[plan.recipe.name] for plan in plans]


def _place(plan: Plan) -> tuple[str, Path]:
    """The identity of a plan's images and their folder."""
    return plan.manifest.identity, plan.manifest.root


def make_set(
    frame: Frame, recipe: Recipe, place: tuple[str, Path] | None, overwrite: bool, build: Callable[[], Header]
) -> tuple[Header, bool]:
    """The header of a feature set, made by `build` unless it is up to date, and whether it was made.

    `place` is the identity of its images and their folder. Raises OutputExistsError if another recipe's exists or is
    unfinished.
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


def _writer(plan: Plan, folder: Path, overwrite: bool) -> FeatureWriter:
    """The writer of a new or unfinished feature set. Raises OutputExistsError if another recipe's is unfinished."""
    writer = FeatureWriter(folder, plan.recipe, plan.ranges)
    begun = writer.recorded_plan()
    if begun is not None and begun["recipe"] != plan.recipe.identity and not overwrite:
        raise exists_error(plan.recipe, begun)
    return writer


def _extract(
    frame: Frame, together: Sequence[tuple[Plan, FeatureWriter]], asked: Asked, device: torch.device
) -> list[Header]:
    """The headers of feature sets of one model and one plan of shards, whose taps are read in one pass over the images."""
    from alignedcut_cli.backbones.pipeline import batch_size_for, extract_shards, tensor_meanings

    plan = together[0][0]
    size = batch_size_for(asked.batch_size, device)
    frame.output.detail(f"{plan.recipe.params['model']} on {device}, {size} images a batch")
    backbone = plan.backbone.load(plan.weights, device)
    missing: dict[str, list[int]] = {}
    for one, writer in together:
        name = one.recipe.name
        frame.journal.note("start", "features", name, frame.argv, recipe=one.recipe.identity)
        writer.open()
        missing[one.tap] = writer.missing()
        if len(missing[one.tap]) < len(one.ranges):
            there = len(one.ranges) - len(missing[one.tap])
            frame.output.note(f"{name}: {there} of {len(one.ranges)} shards are there; going on")
    wanted = sorted(set().union(*missing.values()))
    images = len(plan.manifest.images)
    done_before = images - sum(stop - start for start, stop in (plan.ranges[number] for number in wanted))
    with frame.output.progress(_told(together), images, "images", done_before) as advance:
        shards = extract_shards(
            backbone,
            plan.manifest.paths(),
            [(number, *plan.ranges[number]) for number in wanted],
            plan.layers,
            taps=list(missing),
            tokens=plan.tokens,
            dtype=plan.recipe.params["dtype"],
            batch_size=size,
            seed=asked.seed,
            workers=os.cpu_count() or 1,
            advance=advance,
            say=frame.output.note,
        )
        fields = {"numerics": _numerics(plan, device), "axes": _shard_axes(plan)}
        writers = {one.tap: writer for one, writer in together}
        due = ((number, tap, found[tap]) for number, found in shards for tap in found if number in missing[tap])
        with told_when_stopped(frame, list(writers.values()), "shards"):
            _write_behind(writers, due, tensor_meanings(plan.layers, plan.tokens), fields)
    numerics = {**fields["numerics"], "activation": plan.backbone.activation}
    headers = []
    for one, writer in together:
        headers.append(writer.commit(numerics=numerics, axes=_axes(one)))
        _note_done(frame, one.recipe, _place(one))
    return headers


def _told(together: Sequence[tuple[Plan, FeatureWriter]]) -> str:
    return ", ".join(plan.recipe.name for plan, _ in together)


def _note_done(frame: Frame, recipe: Recipe, place: tuple[str, Path] | None) -> None:
    """Record in the journal that a feature set is complete, and the folder of its images."""
    images = {"manifest": place[0], "image_root": str(place[1])} if place else {}
    frame.journal.note("done", "features", recipe.name, frame.argv, recipe=recipe.identity, **images)


def _remember_place(frame: Frame, recipe: Recipe, place: tuple[str, Path] | None) -> None:
    """Record the folder of the same images if it is new; a read-only project is left unchanged."""
    if place and place[1] not in frame.journal.image_roots([place[0]]):
        with suppress(PermissionDeniedError):
            _note_done(frame, recipe, place)


def _write_behind(
    writers: Mapping[str, FeatureWriter], due: Iterable[Any], meanings: Any, fields: dict[str, Any]
) -> None:
    """Write each shard `due` (number, tap, tensors) while the next is computed. A signal waits for the one being written."""
    pending: Future[None] | None = None
    with ThreadPoolExecutor(1) as disk:
        for number, tap, tensors in due:
            if pending:
                pending.result()
            pending = disk.submit(writers[tap].write, number, tensors, meanings, **fields)
        if pending:
            pending.result()


@contextmanager
def told_when_stopped(
    frame: Frame, writers: Sequence[FeatureWriter], things: str, also: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """If a signal stops the block, its message says what is saved (whole shards, and what `also` names), how to resume."""
    try:
        yield
    except Stopped as stopped:
        planned = sum(len(writer.ranges) for writer in writers)
        whole = planned - sum(len(writer.missing()) for writer in writers)
        again = frame.journal.command("features", writers[0].recipe.name, overwrite=False)
        stopped.remedy = f"{whole} of {planned} {things}{also()} are kept; go on with: {again}"
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
    tokens = {plan.backbone.tokens_of(layer) for layer in plan.layers}
    sizes = {"P": {"size": tokens.pop()}} if len(tokens) == 1 else {}
    return {**sizes, **({"K": {"size": plan.tokens.sampled}} if plan.tokens.sampled else {})}


def _axes(plan: Plan) -> dict[str, Any]:
    slots = [
        {
            "model": plan.backbone.id.label,
            "layer": layer,
            "tap": plan.tap,
            "width": width,
            "grid": list(plan.backbone.grid_of(layer)),
            "class_token": plan.backbone.class_token,
            **(plan.backbone.heads(layer) if plan.tap in HEADED else {}),
        }
        for layer, width in zip(plan.layers, plan.widths, strict=True)
    ]
    images = [entry.as_object() for entry in plan.manifest.images]
    return {
        **_shard_axes(plan),
        "B": {"size": len(images), "images": images},
        "S": {"size": len(slots), "slots": slots},
    }
