"""The plan of a coloring: the cut, the coloring whose places it takes, and the fixed ranges of nodes that are its tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.color.asked import Asked
from alignedcut_cli.commands.color.onto import Base, open_base
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import map_tensors
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name
from alignedcut_cli.store.ranges import held_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["JOINT_NODES", "Plan", "make_plan", "node_ranges", "tsne_device"]

ALGORITHM = 3
JOINT_NODES = 10_000
PER_SLOT_NODES = 1000
PLACING = ("--eigenvectors", "--dims", "--nodes", "--perplexity", "--device", "--seed")
RANGE = 1 << 17
MOST_RANGES = 4096


@dataclass(frozen=True)
class Plan:
    """A coloring to be made of the cut `parent`, whose graphs are nodes (first, end), in ranges (graph, first, end)."""

    recipe: Recipe
    parent: Header
    base: Base | None
    graphs: list[tuple[int, int]]
    ranges: list[tuple[int, int, int]]

    @property
    def cut(self) -> str:
        """The name of the cut that is coloured."""
        return self.recipe.inputs[0].name

    @property
    def most_placed(self) -> int:
        """The most nodes of a graph that t-SNE places, here or in the base."""
        params = self.base.params if self.base else self.recipe.params
        return min(params["nodes"], max((stop - start for start, stop in self.graphs), default=0))

    def need(self, *, held: bool) -> int:
        """Main memory in bytes of one process: a task, coordinates, colours and table of a shard at a time, and, if `held`,
        the nearest placed node of every node."""
        total = self.parent.axes["M"]["size"]
        return held * 4 * total + held_bytes(total, 4 * self.recipe.params["dims"] + 3 + 16) + self.task_need()

    def task_need(self) -> int:
        """Main memory in bytes of the larger task: affinities and neighbours of the sample, or thrice a range's rows."""
        rows = max((stop - first for _, first, stop in self.ranges), default=0)
        assigning = (3 * rows + 2 * self.most_placed) * 4 * self.recipe.params["eigenvectors"]
        placing = 0 if self.base else self.most_placed * int(3 * self.recipe.params["perplexity"]) * 4 * 12
        return max(assigning, placing) + (16 << 20)

    def read_bytes(self) -> int:
        """Bytes that the tasks together read from disk at the least: each row of the cut, and the placed rows again."""
        nodes = self.parent.axes["M"]["size"] + self.most_placed * len(self.graphs)
        return nodes * 4 * self.parent.axes["C"]["size"]


def make_plan(frame: Frame, asked: Asked) -> Plan:
    """The plan of a coloring, from headers. Raises UsageError, DataError or InputMissingError."""
    if asked.onto:
        _require_unused(asked)
    project = frame.project
    cut = project.parse(asked.source, "cut")[1] if asked.source else project.only("cut")
    given, parent = project.input("cut", "cut", cut)
    base = open_base(project, asked.onto, cut, parent) if asked.onto else None
    params: dict[str, Any] = {
        "eigenvectors": min(asked.eigenvectors, parent.axes["C"]["size"]),
        "dims": asked.dims,
        "nodes": asked.nodes or (PER_SLOT_NODES if parent.params["per_slot"] else JOINT_NODES),
        "perplexity": asked.perplexity,
        "seed": asked.seed,
    }
    if base:
        params = {key: base.params[key] for key in ("eigenvectors", "dims")}
    inputs = (given, base.given) if base else (given,)
    recipe = Recipe("color", check_name(asked.name or cut), ALGORITHM, params, inputs)
    graphs = [(int(start), int(stop)) for start, stop in map_tensors(project.path("cut", cut))["graphs"]]
    return Plan(recipe, parent, base, graphs, node_ranges(graphs))


def node_ranges(graphs: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(graph, first node, end) of ranges of 2^17 nodes, or of as many as make about 4096 ranges; none spans two graphs."""
    step = max(RANGE, -(-sum(stop - start for start, stop in graphs) // MOST_RANGES))
    return [
        (graph, first, min(first + step, stop))
        for graph, (start, stop) in enumerate(graphs)
        for first in range(start, stop, step)
    ]


def _require_unused(asked: Asked) -> None:
    """Raise UsageError for options of t-SNE given with --onto, which runs no t-SNE."""
    unused = [option for option in PLACING if option in asked.explicit]
    if unused:
        raise UsageError(
            "option-unused", f"--onto does not use {', '.join(unused)}: they are the other coloring's", "Leave it out"
        )


def tsne_device(text: str, cluster: str | None = None) -> torch.device:
    """The device of t-SNE, here or of a `cluster`: CUDA if it is there, else the CPU (MPS has no float64)."""
    import torch

    found = resolve_device(text, cluster)
    if found.type == "mps" and text != "auto":
        raise UsageError("bad-device", f"--device {text} has no float64, which color needs", "Give cpu")
    return torch.device("cpu") if found.type == "mps" else found
