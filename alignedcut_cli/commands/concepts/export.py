"""The exported tables of concepts: the concept of each node, and predicted responses of brain areas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from alignedcut_cli.frame.export import Column, Offer, Table, table_of_rows, values
from alignedcut_cli.nodes.tables import node_table_of
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]


def nodes(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row per node: its concept (-1: none), and its similarity to each patch of --pixel."""
    similar = {
        f"similarity {image}:{row}:{column}": _similarity(tensors["similarity"][number])
        for number, (image, row, column) in enumerate(header.axes.get("Q", {}).get("pixels", []))
    }
    return node_table_of(header, tensors["nodes"], {"concept": values(tensors["concept"]), **similar})


def _similarity(row: np.ndarray) -> Column:
    return Column(lambda start, stop: row[start:stop].astype("f4"))


def rows(name: str, header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    import numpy as np

    from alignedcut_cli.commands.concepts.result import defined, rows_of

    return table_of_rows(rows_of(name, header, defined({key: np.array(value) for key, value in tensors.items()})))


EXPORTS = {
    "nodes": Offer(nodes, "nodes"),
    "concepts": Offer(partial(rows, "concepts"), "concept.mean"),
    "correlations": Offer(partial(rows, "correlations"), "correlation"),
    "names": Offer(partial(rows, "names"), "name.word"),
    "groups": Offer(partial(rows, "groups"), "group.mean"),
    "contrasts": Offer(partial(rows, "contrasts"), "contrast"),
    "pixels": Offer(partial(rows, "pixels"), "separation"),
}
