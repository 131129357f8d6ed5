"""A normalized sparse graph in CSR format; graphs of one layer's queries, keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.neighbours import Neighbours, largest_within, nearest_across, nearest_within
from alignedcut_cli.core.graph.parallel_tiles import share_tiles
from alignedcut_cli.core.numerics import NumericsError, Tick, compiled

__all__ = ["SparseGraph", "as_rows", "attention_graph", "cosine_graph", "normalized", "split_heads", "symmetric"]

PRODUCT_TILE = 2048


@dataclass(frozen=True)
class SparseGraph:
    """N = D^-1/2 A D^-1/2 of a graph of n nodes: starts (n + 1,) int64, columns int32 and entries float32 row by row.

    `degrees` (n,) float32 are the row sums of A. A node of degree 0 is isolated: its row and column of N are zero, so that
    it has no influence in this graph. `least` (n,) float32 is the cosine that a place of a new image must exceed to be a
    neighbour of each node.
    """

    starts: np.ndarray
    columns: np.ndarray
    entries: np.ndarray
    degrees: np.ndarray
    least: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.degrees)

    @property
    def isolated(self) -> np.ndarray:
        """Which nodes have no neighbour: (n,) bool."""
        return self.degrees == 0

    @property
    def nbytes(self) -> int:
        more = 0 if self.least is None else self.least.nbytes
        return self.starts.nbytes + self.columns.nbytes + self.entries.nbytes + self.degrees.nbytes + more

    def tensors(self, prefix: str = "") -> dict[str, np.ndarray]:
        """The arrays by name; `of_tensors` makes the graph of them again."""
        return {f"{prefix}{one.name}": own for one in fields(self) if (own := getattr(self, one.name)) is not None}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, np.ndarray], prefix: str = "") -> SparseGraph:
        """The graph of arrays, copied into memory, as `tensors` named them."""
        names = [one.name for one in fields(cls) if f"{prefix}{one.name}" in tensors]
        return cls(**{name: np.array(tensors[f"{prefix}{name}"]) for name in names})

    def add_product(self, vectors: Tensor, scale: float, result: Tensor) -> None:
        """result += scale N X for X and result (n, b), float32 on the CPU. Work: 2 b per stored entry, rows in tiles."""
        given, taken = vectors.contiguous().numpy(), result.numpy()

        def work(tiles: Iterator[tuple[int, int]]) -> None:
            for start, stop in tiles:
                _add_rows(self.starts, self.columns, self.entries, given, np.float32(scale), start, stop, taken)

        share_tiles(len(self), PRODUCT_TILE, torch.device("cpu"), work)


@compiled
def _add_rows(
    starts: np.ndarray,
    columns: np.ndarray,
    entries: np.ndarray,
    vectors: np.ndarray,
    scale: np.float32,
    first: int,
    last: int,
    result: np.ndarray,
) -> None:
    """result[i] += scale sum_e entries[e] vectors[columns[e]] over the entries e of row i, i in [first, last)."""
    width = vectors.shape[1]
    total = np.empty(width, np.float32)
    for i in range(first, last):
        total[:] = 0
        for place in range(starts[i], starts[i + 1]):
            entry, row = entries[place], vectors[columns[place]]
            for c in range(width):
                total[c] += entry * row[c]
        for c in range(width):
            result[i, c] += scale * total[c]


def normalized(affinity: Any) -> SparseGraph:
    """The normalized graph of a symmetric A >= 0, a scipy sparse matrix (n, n)."""
    compressed = affinity.tocsr()
    compressed.sort_indices()
    degrees = np.asarray(compressed.sum(1), np.float64).reshape(-1)
    scale = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0).astype(np.float32)
    entries = compressed.data.astype(np.float32, copy=False)
    entries *= scale[compressed.indices]
    entries *= np.repeat(scale, np.diff(compressed.indptr))
    return SparseGraph(
        compressed.indptr.astype(np.int64), compressed.indices.astype(np.int32, copy=False), entries,
        degrees.astype(np.float32),
    )  # fmt: skip


def as_rows(one: Neighbours, total: int) -> Any:
    """S of the neighbours found among `total` places, as a scipy sparse matrix (N, total)."""
    from scipy.sparse import csr_matrix

    kept = np.arange(one.ids.shape[1]) < one.counts[:, None]
    starts = np.concatenate([[0], np.cumsum(one.counts, dtype=np.int64)])
    return csr_matrix((one.values[kept], one.ids[kept], starts), shape=(len(one.counts), total))


def symmetric(parts: list[Neighbours], total: int) -> Any:
    """A = (S + S^T) / 2 of the neighbours found, as a scipy sparse matrix (n, n)."""
    found = as_rows(parts[0], total)
    for one in parts[1:]:
        found = found + as_rows(one, total)
    found = found + found.T.tocsr()
    found.data *= np.float32(0.5)
    return found


def cosine_graph(
    queries: Tensor,
    keys: Tensor,
    per_image: int,
    *,
    within: int = 50,
    across: int = 50,
    threshold: float = 0.1,
    precision: str = "float32",
    tick: Tick | None = None,
) -> SparseGraph:
    """The normalized graph of cosines of queries with keys (of values with themselves) (Zhang, Yunis and Maire 2023).

    S_ij = cos(q_i, k_j) where j is one of the `within` nearest of the same image or the `across` nearest of others, and
    above `threshold`, else 0; A = (S + S^T) / 2. q, k (N, D) image by image of P = `per_image` places. Raises
    NumericsError for zero or non-finite rows.
    """
    units = unit_rows(queries)
    keys = units if _are_one(queries, keys) else unit_rows(keys)
    queries = units
    parts = [nearest_within(queries, keys, per_image, within, threshold)]
    if not across:
        return normalized(symmetric(parts, len(queries)))
    others = nearest_across(queries, keys, per_image, across, threshold, precision=precision, tick=tick)
    return replace(normalized(symmetric([*parts, others], len(queries))), least=others.least(threshold))


def _are_one(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors are the same numbers in the same place."""
    return left is right or (left.data_ptr(), left.shape, left.stride()) == (
        right.data_ptr(),
        right.shape,
        right.stride(),
    )


def attention_graph(
    queries: Tensor, keys: Tensor, per_image: int, scales: list[float], *, within: int = 50, threshold: float = 0.0
) -> SparseGraph:
    """The normalized graph of attention among the patches of each image, without the class token in the softmax.

    S = mean over heads h of softmax(scale_h q_h k_h^T), q and k (N, D) with the heads' channels concatenated; the `within`
    largest off-diagonal entries of each row above `threshold` are kept; A = (S + S^T) / 2. Work: 2 N P D.
    """
    if not (torch.isfinite(queries).all() and torch.isfinite(keys).all()):
        raise NumericsError("queries or keys are not finite")
    heads, images = len(scales), len(queries) // per_image
    left, right = (
        one.float().reshape(images, per_image, heads, -1).transpose(1, 2) for one in (queries, keys)
    )  # (B, h, P, d)
    scale = torch.tensor(scales)[:, None, None]

    def attention(image: int) -> Tensor:
        return (left[image] @ right[image].transpose(1, 2) * scale).softmax(-1).mean(0)  # (P, P)

    return normalized(symmetric([largest_within(attention, images, per_image, within, threshold)], len(queries)))


def split_heads(rows: Tensor, heads: int) -> list[Tensor]:
    """The channels of each head of rows (N, heads * d), whose heads are concatenated: (N, d) each."""
    return list(rows.chunk(heads, dim=1))
