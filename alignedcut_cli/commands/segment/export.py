"""The exported tables of a segmentation: the class of each node, and the scores."""

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
    """A row per node of each cut: its predicted class, for each target; none for class tokens."""
    predicted = {
        f"predicted {target}": values(tensors[f"{target}.predicted"], header.axes[f"K.{target}"]["labels"])
        for target in header.axes["targets"]["labels"]
    }
    return node_table_of(header, tensors["nodes"], predicted)


def scores(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row for each target and slot: its scores at its best threshold; for class-agnostic masks, a row per slot."""
    if header.params["method"] == "agnostic":
        from alignedcut_cli.commands.segment.agnostic_result import flat_rows as flat
        from alignedcut_cli.commands.segment.agnostic_result import result_rows as rows_of

        return table_of_rows(flat(rows_of(header, tensors)))
    from alignedcut_cli.commands.segment.result import flat_rows, result_rows

    return table_of_rows(flat_rows(result_rows(header, tensors)))


def best(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row for each target and curve: its best layer."""
    from alignedcut_cli.commands.segment.differences import best_rows
    from alignedcut_cli.commands.segment.result import curve_lines

    return table_of_rows(best_rows(header, tensors, curve_lines(header)))


def differences(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row for each pair of layers of a curve, and of curves."""
    from alignedcut_cli.commands.segment.differences import difference_rows
    from alignedcut_cli.commands.segment.result import curve_lines

    return table_of_rows(difference_rows(header, tensors, curve_lines(header)))


EXPORTS = {
    "nodes": Offer(nodes, "nodes"),
    "scores": Offer(scores),
    "best": Offer(best, "between"),
    "differences": Offer(differences, "between"),
}
