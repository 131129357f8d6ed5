"""The graphs of one layer of a cut of graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from alignedcut_cli.commands.cut.graph_plan import GraphLayer, GraphPlan

if TYPE_CHECKING:
    from torch import Tensor

    from alignedcut_cli.core.graph.mean_of_graphs import LayerGraph

__all__ = ["layer_graphs"]


def layer_graphs(
    plan: GraphPlan,
    layer: GraphLayer,
    queries: Tensor,
    keys: Tensor,
    precision: str,
    advance: Callable[[int], None],
) -> list[LayerGraph]:
    """The graphs of one layer over the places of `queries`: one, or one per head, of equal weight."""
    from alignedcut_cli.core.graph.mean_of_graphs import LayerGraph
    from alignedcut_cli.core.graph.sparse_graph import attention_graph, cosine_graph, split_heads

    params = plan.recipe.params
    about, places, limits = layer.queries.about, layer.places, {"threshold": params["threshold"]}
    heads = about.get("heads", 1)
    parts = list(zip(*(split_heads(one, heads) for one in (queries, keys)), strict=True))
    given = parts if params["heads"] else [(queries, keys)]
    graphs = []
    for left, right in given:
        if params["graph"] == "attn":
            scales = [about["scale"]] * (1 if params["heads"] else heads)
            graph = attention_graph(left, right, places, scales, within=params["neighbors"], **limits)
        else:
            across = params["neighbors_across"]
            graph = cosine_graph(
                left, right, places, within=params["neighbors"], across=across, precision=precision, **limits
            )
        graphs.append(LayerGraph(graph, layer.grid, layer.weight / len(given)))
    advance(len(queries))
    return graphs
