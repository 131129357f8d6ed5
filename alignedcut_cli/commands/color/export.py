"""The exported table of a coloring: its nodes with their colours and coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alignedcut_cli.frame.export import Offer, Table, values
from alignedcut_cli.nodes.tables import AXES, columns_of, node_table_of
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]


def nodes(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row per node: its colour, its coordinates in the t-SNE, and whether t-SNE itself placed it."""
    import numpy as np

    placed = np.zeros(len(tensors["nodes"]), bool)
    placed[tensors["sampled"]] = True
    places = tensors["coordinates"]
    columns = columns_of(tensors["rgb"], header.axes["Z"]["labels"]) | columns_of(places, AXES[: places.shape[1]])
    return node_table_of(header, tensors["nodes"], {**columns, "placed": values(placed)})


EXPORTS = {"nodes": Offer(nodes, "nodes")}
