"""The graphs of a cut over a data set as tasks, one per layer, whose results are kept until the cut is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from alignedcut_cli.commands.cut.graph_layers import layer_graphs
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    from alignedcut_cli.commands.cut.graph_plan import GraphPlan
    from alignedcut_cli.core.graph.mean_of_graphs import LayerGraph

__all__ = ["graph_parts", "graph_sweeps", "read_graphs", "require_layers"]

GRAPHS = "graphs"


def graph_parts(frame: Frame, plan: GraphPlan) -> Parts:
    """The files of the graphs of all layers."""
    import torch

    return Parts(frame.project, plan.recipe, {"torch": torch.__version__, "device": "cpu"})


def require_layers(plan: GraphPlan) -> None:
    """Raise UsageError for a cut whose graphs are not kept layer by layer, so that their work cannot be shared."""
    option = "--scope image" if plan.by_image else "--solver gradient"
    if plan.by_image or plan.recipe.params["solver"] == "gradient":
        raise UsageError(
            "no-shards",
            f"--cluster and --shard share no work of {option}, whose graphs are made as they are needed",
            "Leave them out, or give --scope dataset --solver direct",
        )


def graph_sweeps(plan: GraphPlan, parts: Parts) -> list[Sweep]:
    """The only sweep: each task makes the graphs of one layer, one or one per head, and writes them."""
    count = len(plan.layers)

    def run(numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        parts.open()
        for number in numbers:
            layer = plan.layers[number]
            graphs = layer_graphs(plan, layer, *layer.rows(), plan.search_precision, advance)
            tensors = [one.graph.tensors(f"{head:03d}.") for head, one in enumerate(graphs)]
            parts.write(GRAPHS, number, count, {name: own for some in tensors for name, own in some.items()})

    sizes = [len(plan.images) * layer.places for layer in plan.layers]
    return [Sweep(GRAPHS, "finding neighbours", "places", sizes, lambda: parts.missing(GRAPHS, count), run)]


def read_graphs(plan: GraphPlan, parts: Parts, number: int) -> list[LayerGraph]:
    """The graphs of a layer, of equal weight, in memory. Raises DataError for a part that is gone or damaged."""
    from alignedcut_cli.core.graph.mean_of_graphs import LayerGraph
    from alignedcut_cli.core.graph.sparse_graph import SparseGraph

    layer, found = plan.layers[number], parts.read(GRAPHS, number, len(plan.layers))
    heads = sorted({name.partition(".")[0] for name in found})
    return [
        LayerGraph(SparseGraph.of_tensors(found, f"{head}."), layer.grid, layer.weight / len(heads)) for head in heads
    ]
