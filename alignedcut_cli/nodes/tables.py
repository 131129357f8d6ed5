"""The columns that identify the nodes of a table: image, model, layer, tap, row, column, class token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignedcut_cli.frame.export import Column, Table, values
from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AXES", "columns_of", "node_table_of"]

AXES = ("x", "y", "z")
"""The coordinates of a map."""


def node_table_of(header: Header, nodes: np.ndarray, columns: Mapping[str, Column]) -> Table:
    """A table with a row per node, in the order of `nodes` (M, 4): the columns that identify it, then `columns`.

    In a joint cut of several layers' graphs `layer` is text (0-11); slots of several cuts have a column `cut`.
    """
    slots = header.axes["S"]["slots"]
    images = [str(image["path"]) for image in header.axes["B"]["images"]]
    joined = any("layers" in slot for slot in slots)
    layers = [layer_name(slot) if joined else slot["layer"] for slot in slots]
    found = {"image": values(nodes[:, 0], images)}
    if any("cut" in slot for slot in slots):
        cuts = [header.raw["inputs"][slot["cut"]]["name"] for slot in slots]
        found["cut"] = _of_slots(nodes, cuts)
    found |= {
        "model": _of_slots(nodes, [slot["model"] for slot in slots]),
        "layer": _of_slots(nodes, layers),
        "tap": _of_slots(nodes, [slot["tap"] for slot in slots]),
        "row": values(nodes[:, 2]),
        "col": values(nodes[:, 3]),
        "class_token": Column(lambda start, stop: nodes[start:stop, 2] < 0),
    }
    return Table(len(nodes), {**found, **columns})


def _of_slots(nodes: np.ndarray, values_of: Sequence[Any]) -> Column:
    """A value per slot, repeated for each of its nodes: text as labels, numbers as they are."""
    import numpy as np

    if all(isinstance(one, int) for one in values_of):
        numbers = np.array(values_of, np.int32)
        return Column(lambda start, stop: numbers[nodes[start:stop, 1]])
    labels = tuple(dict.fromkeys(values_of))
    places = np.array([labels.index(one) for one in values_of], np.int32)
    return Column(lambda start, stop: places[nodes[start:stop, 1]], labels)


def columns_of(array: np.ndarray, names: Sequence[str]) -> dict[str, Column]:
    """A column for each column of an array (rows, len(names))."""
    return {name: values(array[:, number]) for number, name in enumerate(names)}
