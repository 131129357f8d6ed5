"""Embed new images in an existing cut as their features are read: only their rows are kept, as parts, then as a cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.loaded import loaded
from alignedcut_cli.commands.extract.onto_plan import NewSlot, OntoPlan, Source
from alignedcut_cli.commands.extract.places import remember_place
from alignedcut_cli.commands.extract.writing import write_behind
from alignedcut_cli.errors import DataError, Stopped
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep, make_shard, run_sweeps
from alignedcut_cli.nodes.onto import extension_of, onto_axes, onto_tensors
from alignedcut_cli.nodes.rows import directed, no_direction
from alignedcut_cli.nodes.slots import node_table, tokens_of
from alignedcut_cli.nodes.spaces import open_transforms
from alignedcut_cli.store.artifact import open_tensors, write_artifact
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from alignedcut_cli.core.graph.landmarks import Extension

__all__ = ["Embedding", "make_embedding", "make_share"]

TILE = 4096
"""Rows that meet the landmarks at once, as in cut --onto."""
SWEEP = "rows"


class Embedding:
    """The work of a plan: a task embeds a range of images by one model, and writes one part."""

    def __init__(self, frame: Frame, plan: OntoPlan, asked: Asked, device: torch.device) -> None:
        import torch

        self.plan, self.device = plan, device
        self._frame, self._asked = frame, asked
        self.parts = Parts(frame.project, plan.recipe, {"torch": torch.__version__, "device": device.type})

    @cached_property
    def tasks(self) -> list[tuple[Source, int, int]]:
        """(model, first image, image after the last) of each task, model after model."""
        return [(source, *one) for source in self.plan.sources for one in self.plan.ranges]

    @property
    def sweep(self) -> Sweep:
        sizes = [stop - start for _, start, stop in self.tasks]
        missing = partial(self.parts.missing, SWEEP, len(sizes))
        return Sweep(SWEEP, self.plan.recipe.name, "images", sizes, missing, self._run)

    def rows(self, slot: NewSlot) -> Iterator[np.ndarray]:
        """The rows of a slot as parts hold them, image by image: (n, C) float32 each, memory-mapped."""
        count = len(self.tasks)
        for number, (source, *_) in enumerate(self.tasks):
            if slot in source.slots:
                yield self.parts.read(SWEEP, number, count)[_name(slot)]

    def _run(self, numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        for source in self.plan.sources:
            mine = [number for number in numbers if self.tasks[number][0] is source]
            if mine:
                self._embed(source, mine, advance)

    def _embed(self, source: Source, numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        """Read the images of some tasks of one model, and write the rows of each task."""
        from alignedcut_cli.backbones.pipeline import Reading, batch_size_for, read_shards

        size = batch_size_for(self._asked.batch_size, self.device)
        self._frame.output.detail(f"{source.backbone.resolved} on {self.device}, {size} images a batch")
        reading = Reading(source.layers, source.taps, size, os.cpu_count() or 1, self._frame.output.note)
        shards = read_shards(
            loaded(source.backbone, source.weights, source.known, self.device),
            self.plan.manifest.paths(),
            [(number, *self.tasks[number][1:]) for number in numbers],
            reading,
            partial(self._rows_of, source),
            advance,
        )
        count = len(self.tasks)
        write_behind(partial(self.parts.write, SWEEP, number, count, found) for number, found in shards)

    def _rows_of(
        self, source: Source, features: Mapping[str, Sequence[Tensor]], ids: Sequence[int]
    ) -> dict[str, Tensor]:
        """The rows (B * P, C), on the CPU, of a batch in each slot of a model."""
        from alignedcut_cli.backbones.pipeline import require_range

        found = {}
        for slot in source.slots:
            feature = features[slot.tap][source.layers.index(slot.layer)]
            require_range(feature, slot.layer, slot.dtype, source.backbone.id.label)
            found[_name(slot)] = self._placed(slot, feature, ids)
        return found

    def _placed(self, slot: NewSlot, feature: Tensor, ids: Sequence[int]) -> Tensor:
        import torch

        from alignedcut_cli.backbones.pipeline import DTYPES
        from alignedcut_cli.core.graph.affinity import unit_rows

        extension, transform = self._maps[slot.number]
        stored = feature.to(DTYPES[slot.dtype]).flatten(0, 1)  # (B * P, D), rounded as extract stores them
        tiles = []
        for start, tile in zip(range(0, len(stored), TILE), stored.split(TILE), strict=True):
            rows, bad = directed(tile, transform)
            if bad is not None:
                raise self._no_direction(slot, start + bad, ids, rows[bad])
            tiles.append(extension.rows(unit_rows(rows)))
        return torch.cat(tiles).cpu()

    def _no_direction(self, slot: NewSlot, row: int, ids: Sequence[int], values: Tensor) -> DataError:
        image, token = divmod(row, tokens_of(slot.about))
        path = self.plan.manifest.images[ids[image]].path
        name = f"{slot.about['model']}, layer {slot.layer}"
        return no_direction(name, slot.about, token, f"{ids[image]} ({path})", values, self.plan.space.name)

    @cached_property
    def _maps(self) -> dict[int, tuple[Extension, Tensor | None]]:
        """The out-of-sample map and the transform of each slot, on the device; the base is read when work begins."""
        base, gamma = self._base, self.plan.base.params["gamma"]
        transform = open_transforms(self.plan.space)
        extensions = [extension_of(base, graph, gamma, self.device) for graph in range(len(self.plan.groups))]
        found = {}
        for slot in self.plan.slots:
            matrix = transform(slot)
            found[slot.number] = extensions[slot.graph], None if matrix is None else matrix.to(self.device)
        return found

    @cached_property
    def _base(self) -> Mapping[str, np.ndarray]:
        return open_tensors(self.plan.path)

    def write(self) -> Header:
        """The cut from all parts: slot by slot, image by image, as cut --onto writes it. No more than a part is held."""
        import torch

        plan = self.plan
        rows, nodes = _gathered_rows(self), _gathered_nodes(self)
        tensors, meanings = onto_tensors(self._base, plan.groups, len(plan.manifest.images), [rows], nodes)
        images = [entry.as_object() for entry in plan.manifest.images]
        return write_artifact(
            self._frame.project.path("cut", plan.recipe.name),
            plan.recipe,
            tensors,
            meanings,
            axes=onto_axes(plan.base, plan.groups, images, plan.nodes),
            numerics={"torch": torch.__version__, "device": self.device.type, "computed": "float32"},
            parents=plan.parents,
        )


def _name(slot: NewSlot) -> str:
    return f"rows.{slot.number:03d}"


def _gathered_rows(embedding: Embedding) -> np.ndarray:
    """The rows (M, C) of all nodes in order, in a file beside the parts."""
    import numpy as np

    plan = embedding.plan
    found = np.memmap(embedding.parts.folder / "rows", np.float32, "w+", shape=(plan.nodes, plan.columns))
    start = 0
    for slot in plan.slots:
        for rows in embedding.rows(slot):
            found[start : start + len(rows)] = rows
            start += len(rows)
    return found


def _gathered_nodes(embedding: Embedding) -> np.ndarray:
    """The node table (M, 4), in a file beside the parts."""
    import numpy as np

    plan = embedding.plan
    found = np.memmap(embedding.parts.folder / "nodes", np.int32, "w+", shape=(plan.nodes, 4))
    start = 0
    for slot in plan.slots:
        for first, last in plan.ranges:
            table = node_table(slot.about, slot.number, last - first)
            table[:, 0] += first
            found[start : start + len(table)] = table
            start += len(table)
    return found


def make_embedding(frame: Frame, plan: OntoPlan, asked: Asked, device: torch.device) -> tuple[Header, bool]:
    """The cut of new images, and whether it was made now."""
    embedding = Embedding(frame, plan, asked, device)

    def make() -> Header:
        embedding.parts.open()
        with _told_when_stopped(frame, embedding):
            run_sweeps(frame, asked, [embedding.sweep], plan.recipe)
        header = embedding.write()
        embedding.parts.drop()
        return header

    root = plan.manifest.root
    noted = {"manifest": plan.manifest.identity, "image_root": str(root)}
    header, made = frame.make_once(plan.recipe, asked.overwrite, make, **noted)
    if not made:
        remember_place(frame, plan.recipe, (plan.manifest.identity, root))
    return header, made


@contextmanager
def _told_when_stopped(frame: Frame, embedding: Embedding) -> Iterator[None]:
    """If a signal stops the block, its message says how many images' rows are kept and how to go on."""
    try:
        yield
    except Stopped as stopped:
        planned = len(embedding.tasks)
        again = frame.journal.command("cut", embedding.plan.recipe.name, overwrite=False)
        kept = planned - len(embedding.sweep.missing())
        stopped.remedy = f"{kept} of {planned} tasks are kept; go on with: {again}"
        raise


def make_share(frame: Frame, plan: OntoPlan, asked: Asked, device: torch.device) -> tuple[str, dict[str, Any]]:
    """A share (--shard) of the tasks: a line and an object that say what is left."""
    assert asked.shard is not None
    embedding = Embedding(frame, plan, asked, device)

    def sweeps() -> list[Sweep]:
        embedding.parts.open()
        return [embedding.sweep]

    return make_shard(frame, plan.recipe, asked.shard, sweeps)
