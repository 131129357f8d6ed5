"""Make a planned feature set shard by shard, unless it is up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.places import note_done, remember_place
from alignedcut_cli.commands.extract.plan import HEADED, Plan
from alignedcut_cli.commands.extract.sweeps import Pass, passes_of, shard_axes
from alignedcut_cli.errors import Stopped
from alignedcut_cli.frame.run import Frame, exists_error
from alignedcut_cli.frame.sweeps import note_start, parse_shard, run_shard, run_sweeps, told_of_shard
from alignedcut_cli.store.features import FeatureWriter, finish_swap, is_settled, read_plan
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.locks import hold

if TYPE_CHECKING:
    import torch

__all__ = ["make", "make_set", "make_shares", "told_when_stopped"]


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
                remember_place(frame, plan.recipe, _place(plan))
                found[name] = frame.up_to_date(header)
            else:
                _require_own(frame, plan, asked.overwrite)
                waiting.append(plan)
        for one in passes_of(frame, waiting, asked, device):
            for header in _extract(frame, one, asked):
                found[header.name] = header, True
    return [found[plan.recipe.name] for plan in plans]


def make_shares(
    frame: Frame, plans: Sequence[Plan], asked: Asked, device: torch.device
) -> list[tuple[str, dict[str, Any]]]:
    """A share (--shard) of the shards of one model's sets: of each set a line and an object that say what is left.

    No set is locked, as other jobs write beside this one; it is finished by the same command without --shard.
    """
    assert asked.shard is not None
    shard = parse_shard(asked.shard)
    left: dict[str, int | None] = {}
    for plan in plans:
        folder = frame.project.path("features", plan.recipe.name)
        if not is_settled(folder):  # a commit is on its way, or was interrupted
            with hold(frame.project.lock_path("features", plan.recipe.name), "", wait=True):
                finish_swap(folder)
        if frame.existing(plan.recipe, asked.overwrite):
            left[plan.recipe.name] = None
        else:
            _require_own(frame, plan, asked.overwrite)
    for one in passes_of(frame, [plan for plan in plans if plan.recipe.name not in left], asked, device):
        one.prepare(here=True)
        _begin(frame, one, shared=True)
        lock = frame.project.lock_path("features", f"{one.plans[0].recipe.name}.first")
        with told_when_stopped(frame, list(one.writers.values()), "shards"):
            missing = run_shard(frame, [one.sweep], shard, lock)
        left |= dict.fromkeys((plan.recipe.name for plan in one.plans), missing)
    return [told_of_shard(plan.recipe, asked.shard, left[plan.recipe.name]) for plan in plans]


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
        remember_place(frame, recipe, place)
        return frame.up_to_date(found)
    with frame.project.writing("features", recipe.name):
        finish_swap(folder)
        if found := frame.existing(recipe, overwrite):
            remember_place(frame, recipe, place)
            return frame.up_to_date(found)
        begun = read_plan(folder)
        if begun is not None and begun["recipe"] != recipe.identity and not overwrite:
            raise exists_error(recipe, begun)
        header = build()
        note_done(frame, recipe, place)
        return header, True


def _require_own(frame: Frame, plan: Plan, overwrite: bool) -> None:
    """Raise OutputExistsError if another recipe's set was begun under a plan's name."""
    begun = read_plan(frame.project.path("features", plan.recipe.name))
    if begun is not None and begun["recipe"] != plan.recipe.identity and not overwrite:
        raise exists_error(plan.recipe, begun)


def _begin(frame: Frame, one: Pass, *, shared: bool) -> None:
    """Begin the sets of a pass, or go on with them; of jobs that share them the first notes how they are finished."""
    for plan in one.plans:
        writer = one.writers[plan.tap]
        writer.open()
        if shared:
            note_start(frame, plan.recipe)
        else:
            frame.journal.note("start", "features", plan.recipe.name, frame.argv, recipe=plan.recipe.identity)
        there = len(plan.ranges) - len(writer.missing())
        if there:
            frame.output.note(f"{plan.recipe.name}: {there} of {len(plan.ranges)} shards are there; going on")


def _extract(frame: Frame, one: Pass, asked: Asked) -> list[Header]:
    """The headers of the sets of one pass over the images."""
    one.prepare(here=asked.cluster is None)
    _begin(frame, one, shared=False)
    with told_when_stopped(frame, list(one.writers.values()), "shards"):
        run_sweeps(frame, asked, [one.sweep], one.plans[0].recipe)
    headers = []
    for plan in one.plans:
        writer = one.writers[plan.tap]
        numerics = {**writer.numerics, "activation": plan.backbone.activation}
        headers.append(writer.commit(numerics=numerics, axes=_axes(plan)))
        note_done(frame, plan.recipe, _place(plan))
    return headers


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
        **shard_axes(plan),
        "B": {"size": len(images), "images": images},
        "S": {"size": len(slots), "slots": slots},
    }
