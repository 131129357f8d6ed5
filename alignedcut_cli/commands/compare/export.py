"""The exported tables of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alignedcut_cli.frame.export import Offer, Table, table_of_rows
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXPORTS"]


def rows(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row per slot; for alignments, per measure, kind of pair and state."""
    from alignedcut_cli.commands.compare.result import rows_of

    return table_of_rows(rows_of(header, tensors))


def pairs(header: Header, tensors: Mapping[str, np.ndarray]) -> Table:
    """A row per measure, state and pair of slots, of alignments."""
    from alignedcut_cli.commands.compare.result import pair_rows

    return table_of_rows(pair_rows(header, tensors))


EXPORTS = {"rows": Offer(rows), "pairs": Offer(pairs, "cka")}
