"""The exported tables of a probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alignedcut_cli.frame.export import Offer, Table, table_of_rows
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]


def scores(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    from alignedcut_cli.commands.probe.result import score_rows

    return table_of_rows(score_rows(header, tensors))


def queries(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    from alignedcut_cli.commands.probe.result import query_rows

    return table_of_rows(query_rows(header, tensors))


EXPORTS = {"scores": Offer(scores), "queries": Offer(queries)}
