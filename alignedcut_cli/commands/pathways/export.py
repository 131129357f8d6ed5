"""The exported tables of pathways: the cluster of each node, and the clusters' information."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alignedcut_cli.frame.export import Offer, Table, table_of_rows, values
from alignedcut_cli.nodes.tables import node_table_of
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]


def nodes(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    return node_table_of(header, tensors["nodes"], {"cluster": values(tensors["clusters"])})


def information(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    from alignedcut_cli.commands.pathways.result import flat_rows, result_rows

    return table_of_rows(flat_rows(result_rows(header, tensors)))


EXPORTS = {"nodes": Offer(nodes, "nodes"), "information": Offer(information)}
