"""The exported tables of a scoring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alignedcut_cli.frame.export import Offer, Table, table_of_rows
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]

Tensors = Mapping[str, "np.ndarray"]


def scores(header: Header, tensors: Tensors) -> Table:
    from alignedcut_cli.commands.score.result import long_rows

    return table_of_rows(long_rows(header, tensors))


def best(header: Header, tensors: Tensors) -> Table:
    from alignedcut_cli.commands.score.result import best_rows

    return table_of_rows(best_rows(header, tensors))


def differences(header: Header, tensors: Tensors) -> Table:
    from alignedcut_cli.commands.score.result import difference_rows

    return table_of_rows(difference_rows(header, tensors))


def dimension(header: Header, tensors: Tensors) -> Table:
    from alignedcut_cli.commands.score.result import dimension_rows

    return table_of_rows(dimension_rows(header, tensors))


EXPORTS = {
    "scores": Offer(scores),
    "best": Offer(best, "best"),
    "differences": Offer(differences, "best"),
    "dimension": Offer(dimension, "dimension"),
}
