"""The exported tables of a cut: its nodes with their eigenvectors, and the stability of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alignedcut_cli.frame.export import Column, Offer, Table, table_of_rows, values
from alignedcut_cli.nodes.tables import columns_of, node_table_of
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]


def nodes(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row per node: its graph, if there are several, and its row of the eigenvectors."""
    vectors = tensors["eigenvectors"]
    names = [f"eigenvector_{number}" for number in range(1, vectors.shape[1] + 1)]
    graph = {} if len(tensors["graphs"]) == 1 else {"graph": _graph(tensors["graphs"])}
    moves = {"moves": values(tensors["moves"])} if "moves" in tensors else {}
    return node_table_of(header, tensors["nodes"], {**graph, **columns_of(vectors, names), **moves})


def stability(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row per graph and eigenvector of a bootstrapped cut: its eigenvalue and interval, and its stability."""
    return table_of_rows(
        [
            {
                "graph": graph,
                "eigenvector": place + 1,
                "eigenvalue": found["eigenvalues"][place],
                "low": found["intervals"][place][0],
                "high": found["intervals"][place][1],
                "in the span": found["kept"][place],
                "one by one": found["matches"][place],
                "stable": int(place < found["stable"]),
            }
            for graph, found in enumerate(header.raw["stability"])
            for place in range(len(found["kept"]))
        ]
    )


def _graph(graphs: np.ndarray) -> Column:
    import numpy as np

    starts = graphs[:, 0]
    return Column(lambda start, stop: np.searchsorted(starts, np.arange(start, stop), "right").astype(np.int32) - 1)


EXPORTS = {"nodes": Offer(nodes, "nodes"), "stability": Offer(stability, "kept")}
