"""The exported tables of a trace: the coordinates and the concept of each node, and the tables among the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from alignedcut_cli.commands.trace.tables import TABLES
from alignedcut_cli.frame.export import Offer, Table, table_of_rows, values
from alignedcut_cli.nodes.tables import AXES, columns_of, node_table_of
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]


def nodes(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row per node: its coordinates in the map, its concept (-1: none), and with masks its side."""
    places = tensors["coordinates"]
    columns = columns_of(places, AXES[: places.shape[1]]) | {"concept": values(tensors["concepts"])}
    if "labels" in tensors:
        columns["side"] = values(tensors["labels"], ("background", "foreground"))
    return node_table_of(header, tensors["nodes"], columns)


def rows(name: str, header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    return table_of_rows(TABLES[name](header, tensors))


EXPORTS = {
    "nodes": Offer(nodes, "nodes"),
    **{name: Offer(partial(rows, name), "p" if name == "bifurcation" else "") for name in TABLES},
}
