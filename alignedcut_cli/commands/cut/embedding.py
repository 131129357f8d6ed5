"""`alignedcut cut --onto cut/NAME`: embed the nodes of new images in an existing cut by its stored out-of-sample map.

One sweep: a task reads a range of nodes and the map, and writes their rows, 4 C bytes a node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from alignedcut_cli.commands.cut.arrays import numerics
from alignedcut_cli.commands.cut.asked import Asked
from alignedcut_cli.commands.cut.onto import OntoPlan, make_onto, plan_onto
from alignedcut_cli.frame.cluster_costs import shared_counts
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.frame.sweeps import Sweep, make_shard, run_sweeps
from alignedcut_cli.nodes.onto import extension_of
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.slots import Slot
from alignedcut_cli.nodes.spaces import open_transforms
from alignedcut_cli.store.artifact import map_tensors
from alignedcut_cli.store.parts import Parts
from alignedcut_cli.store.ranges import held_bytes

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.core.graph.landmarks import Extension

__all__ = ["Embedding", "run_onto"]

TILE = 4096
EMBED = "embed"
Advance = Callable[[int], None]


def run_onto(frame: Frame, asked: Asked, onto: str, device: torch.device) -> None:
    """Plan, then embed, or print the plan (--dry-run). Raises UsageError, DataError or InputMissingError."""
    plan = plan_onto(frame, asked, onto)
    embedding = Embedding(frame, plan, device)
    if asked.dry_run:
        _print_dry_run(frame, asked, embedding)
        return
    if asked.shard:
        frame.output.result(*make_shard(frame, plan.recipe, asked.shard, embedding.opened))
        return
    header, made = make_onto(frame, plan, device, asked.overwrite, lambda base: embedding.rows(asked, base))
    embedding.drop()
    value = {"schema": "alignedcut.cut/1", **frame.artifact_object(header, made=made)}
    frame.output.result(value["path"], {**value, "solver": header.params["solver"], "certificates": []})


def _print_dry_run(frame: Frame, asked: Asked, embedding: Embedding) -> None:
    plan, nodes = embedding.plan, sum(embedding.plan.nodes)
    count = plan.recipe.params["eigenvectors"]
    row = 4 * (count + 4)
    transforms = plan.space.opening_bytes() + plan.space.transform_bytes(plan.slots)
    described = DryRun(
        [f"{given.kind}/{given.name}" for given in plan.recipe.inputs],
        [(str(frame.project.path("cut", plan.recipe.name)), nodes * row)],
        transforms + (held_bytes(nodes, row) if asked.cluster or asked.shard else nodes * row),
        shared_counts(
            asked,
            "cut",
            embedding.sweeps(),
            read=sum(2 * slot.about["width"] * slot.nodes for slot in plan.slots) + 4 * count * nodes,
            memory=transforms + embedding.task_bytes(),
        ),
    )
    frame.dry_run(described)


class Embedding:
    """The rows that a cut gives new nodes, range by range: held in memory, or as parts that any process may write."""

    def __init__(self, frame: Frame, plan: OntoPlan, device: torch.device) -> None:
        self.plan, self._frame, self._device = plan, frame, device
        self._parts, self._ranges = Parts(frame.project, plan.recipe, numerics(device)), plan.ranges
        self._graphs: dict[int, tuple[GraphRows, Extension]] = {}

    def sweeps(self) -> list[Sweep]:
        """The one sweep over ranges."""
        sizes = [stop - start for _, start, stop in self._ranges]
        return [Sweep(EMBED, "embedding", "nodes", sizes, lambda: self._parts.missing(EMBED, len(sizes)), self._write)]

    def opened(self) -> list[Sweep]:
        """The sweeps, with a folder for their parts."""
        self._parts.open()
        return self.sweeps()

    def drop(self) -> None:
        """Remove the parts."""
        if self._parts.begun:
            self._parts.drop()

    def task_bytes(self) -> int:
        """Memory in bytes of a task: the rows of a range, and a tile with its affinities."""
        most = max((stop - start for _, start, stop in self._ranges), default=0)
        landmarks = self.plan.base.raw["tensors"]["landmarks.000"]["shape"][0]
        widest = max(slot.about["width"] for slot in self.plan.slots)
        return 4 * most * self.plan.recipe.params["eigenvectors"] + 4 * TILE * (2 * widest + landmarks)

    def rows(self, asked: Asked, base: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The rows (M, C) of each graph: read from the parts on a cluster, or where some are there; else held in memory."""
        import numpy as np

        if asked.cluster or self._parts.begun:
            run_sweeps(self._frame, asked, self.opened())
            graphs = range(len(self.plan.nodes))
            return [self._parts.rows(EMBED, self._ranges, graph, lambda part: part["rows"]) for graph in graphs]
        count = self.plan.recipe.params["eigenvectors"]
        found = [np.empty((nodes, count), np.float32) for nodes in self.plan.nodes]
        with self._frame.output.progress("embedding", sum(self.plan.nodes), "nodes") as advance:
            for graph, start, stop in self._ranges:
                found[graph][start:stop] = self._embedded(graph, start, stop, base, advance)
        return found

    def _write(self, numbers: Sequence[int], advance: Advance) -> None:
        base = map_tensors(self.plan.path)
        for number in numbers:
            rows = self._embedded(*self._ranges[number], base, advance)
            self._parts.write(EMBED, number, len(self._ranges), {"rows": rows})

    @cached_property
    def _transform(self) -> Callable[[Slot], torch.Tensor | None]:
        return open_transforms(self.plan.space)

    def _opened(self, graph: int, base: Mapping[str, np.ndarray]) -> tuple[GraphRows, Extension]:
        """The rows of a graph's nodes, and the map of the base cut; those of one graph are kept."""
        if graph not in self._graphs:
            group = self.plan.groups[graph]
            rows = GraphRows(group, [self._transform(slot) for slot in group], self.plan.space.name, self._device)
            self._graphs = {graph: (rows, extension_of(base, graph, self.plan.base.params["gamma"], self._device))}
        return self._graphs[graph]

    def _embedded(
        self, graph: int, start: int, stop: int, base: Mapping[str, np.ndarray], advance: Advance
    ) -> np.ndarray:
        """The rows of the nodes start to stop of a graph, tile by tile: (t, C) float32."""
        import numpy as np

        from alignedcut_cli.core.graph.affinity import unit_rows
        from alignedcut_cli.core.graph.parallel_tiles import fold_tiles

        rows, extension = self._opened(graph, base)
        found = np.empty((stop - start, extension.maps.shape[1] - 1), np.float32)

        def work(first: int, last: int) -> None:
            units = unit_rows(rows.read(start + first, start + last))
            found[first:last] = extension.rows(units).cpu().numpy()

        fold_tiles(stop - start, TILE, self._device, work, lambda _: None, advance)
        return found
