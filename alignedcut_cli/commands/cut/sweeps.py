"""The sweeps of a cut by lowrank: the work that any number of processes may share, in files.

Graphs that the pilot sees whole are one task each. Of the others, M nodes of D numbers, with p = 2 C + 8 columns:

    centres, cells   with --balance: which centre each node is nearest to, in a pass of its own; 4 bytes a node
    pilot            one task: landmarks and directions, about 4 (m + 256) D bytes, which all later tasks read
    project          reads the features, once: writes Y, 4 C + 2 (p - C) bytes a node (136 for C = 20), and its sums
    sum              one task: the degrees, from the sums in the order of ranges
    gram             reads Y: its p x p Gram with these degrees
    rotation         one task: eigenvalues, signs, certificate, from the Grams in the order of ranges
    rows             reads Y: writes the eigenvectors, 4 C bytes a node

Why three sweeps over ranges is told, with what they cost, in core/graph/lowrank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alignedcut_cli.commands.cut.asked import Asked
from alignedcut_cli.commands.cut.embedding import Embedding
from alignedcut_cli.commands.cut.graph_plan import make_graph_plan
from alignedcut_cli.commands.cut.graph_sweeps import graph_parts, graph_sweeps, require_layers
from alignedcut_cli.commands.cut.onto import plan_onto
from alignedcut_cli.commands.cut.plan import Plan, make_plan
from alignedcut_cli.commands.cut.solve import one_graph
from alignedcut_cli.commands.cut.tasks import CELLS, CENTRES, GRAM, PILOT, PROJECT, ROTATION, ROWS, SUM, Cutting
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep
from alignedcut_cli.store.header import Recipe

__all__ = ["cut_sweeps", "open_sweeps", "require_sweeps"]

Advance = Callable[[int], None]


def open_sweeps(frame: Frame, asked: Asked) -> list[tuple[Recipe, list[Sweep]]]:
    """The sweeps of the cut, or of the embedding (--onto), that is asked for. Raises UsageError where it has none."""
    device = resolve_device(asked.device)
    if asked.onto is not None:
        embedding = Embedding(frame, plan_onto(frame, asked, asked.onto), device)
        return [(embedding.plan.recipe, embedding.sweeps())]
    if asked.graph != "features":
        graphs = make_graph_plan(frame, asked)
        require_layers(graphs)
        return [(graphs.recipe, graph_sweeps(graphs, graph_parts(frame, graphs)))]
    plan = make_plan(frame, asked, device)
    require_sweeps(plan)
    return [(plan.recipe, cut_sweeps(Cutting(frame, plan, device)))]


def require_sweeps(plan: Plan) -> None:
    """Raise UsageError for a cut whose work cannot be shared."""
    params = plan.recipe.params
    if params["solver"] != "lowrank":
        raise UsageError(
            "no-shards",
            f"--cluster and --shard share no work of the solver {params['solver']} ({plan.why})",
            "Give --solver lowrank, or leave them out",
        )
    for option in ("refine", "bootstrap"):
        if params.get(option):
            raise UsageError(
                "no-shards",
                f"--{option} works on all nodes in one process, which --cluster and --shard do not share",
                f"Leave out --{option}, or cut without them",
            )


def cut_sweeps(cutting: Cutting) -> list[Sweep]:
    """All sweeps of a cut, in order."""
    found = [_by_graph(cutting, PILOT, "cutting", range(cutting.graphs), cutting.write_pilot)]
    if not cutting.streamed:
        return found
    if cutting.is_balanced:
        found = [
            _by_graph(cutting, CENTRES, "choosing cells", cutting.streamed, cutting.write_centres),
            _by_range(cutting, CELLS, "finding cells", cutting.write_cells),
            *found,
        ]
    return [
        *found,
        _by_range(cutting, PROJECT, "cutting", cutting.write_projected),
        _by_graph(cutting, SUM, "adding up", cutting.streamed, cutting.write_sums),
        _by_range(cutting, GRAM, "multiplying", cutting.write_gram),
        _by_graph(cutting, ROTATION, "solving", cutting.streamed, cutting.write_rotation),
        _by_range(cutting, ROWS, "writing rows", cutting.write_rows),
    ]


def _by_graph(cutting: Cutting, name: str, what: str, graphs: Sequence[int], write: Callable[[int], None]) -> Sweep:
    """A sweep of one task a graph."""

    def run(numbers: Sequence[int], advance: Advance) -> None:
        for number in numbers:
            with one_graph(graphs[number]):
                write(graphs[number])
            advance(1)

    return Sweep(name, what, "graphs", [1] * len(graphs), lambda: cutting.parts.missing(name, len(graphs)), run)


def _by_range(cutting: Cutting, name: str, what: str, write: Callable[[int], None]) -> Sweep:
    """A sweep of one task a range."""
    sizes = [stop - start for _, start, stop in cutting.ranges]

    def run(numbers: Sequence[int], advance: Advance) -> None:
        for number in numbers:
            with one_graph(cutting.ranges[number][0]):
                write(number)
            advance(sizes[number])

    return Sweep(name, what, "nodes", sizes, lambda: cutting.parts.missing(name, len(sizes)), run)
