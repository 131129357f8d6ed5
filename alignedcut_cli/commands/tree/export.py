"""The exported tables of a tree: the clusters of each node, and the splits."""

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
    """A row per node: its leaf, and its cluster in the partitions into 2, 4, 8, .. clusters."""
    leaf, clusters = tensors["leaf"], tensors["clusters"]
    counts = [2**power for power in range(1, len(clusters).bit_length()) if 2**power < len(clusters)]
    nested = {f"of {count}": values(clusters[count - 1][leaf]) for count in counts}
    return node_table_of(header, tensors["nodes"], {"leaf": values(leaf), **nested})


def splits(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row per split, from the top; sides are written first | second."""
    from alignedcut_cli.commands.tree.result import flat_rows, split_rows

    return table_of_rows(flat_rows(split_rows(header, tensors)))


EXPORTS = {"nodes": Offer(nodes, "nodes"), "splits": Offer(splits)}
