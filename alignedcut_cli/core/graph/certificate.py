"""How far a cut is from the exact one, estimated on a sample of exact rows of the affinity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import affinity, unit_rows
from alignedcut_cli.core.graph.parallel_tiles import fold_tiles
from alignedcut_cli.core.graph.sampling import uniform_sample
from alignedcut_cli.core.numerics import Tick, stream, torch_threads

__all__ = [
    "CERTIFICATE_ROWS",
    "Certificate",
    "ExactRows",
    "certify",
    "column_residuals",
    "orthogonality_defect",
    "part_of",
    "subspace_residual",
    "weighted_gram",
]

CERTIFICATE_ROWS = 256
DEGREE_NODES = 2048
_CHUNK = 16384


@dataclass(frozen=True)
class Certificate:
    """`residual`: |N X - X T|_F / (sqrt(C) lambda_C), T the best C x C matrix, estimated on `rows` exact rows of N.

    0: the span of X is invariant under N, as that of exact eigenvectors. `orthogonality`: max |X^T X - I|. `rank`: of
    the factor that approximates A (without one, of the sampled or whole graph).
    """

    residual: float
    orthogonality: float
    rank: int
    rows: int


def weighted_gram(vectors: Tensor, weights: Tensor | None = None) -> Tensor:
    """X^T diag(w) X of columns (M, C) and weights (M,) or ones: (C, C) float64, summed a chunk of rows at a time.

    On the device of the columns; the weights may be on another.
    """
    total = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64, device=vectors.device)
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK].double()
        total += part.T @ (part if weights is None else part * weights[start : start + _CHUNK, None].to(part.device))
    return total


def subspace_residual(images: Tensor, rows: Tensor, total: int, smallest: float) -> float:
    """The `residual` of a Certificate, from N X (n, C) and X (n, C) at n uniformly drawn rows out of `total`.

    T solves the least squares problem on these rows; as it fits C of n degrees of freedom, the sum of squares is
    scaled by M / (n - C). X has orthonormal columns over all rows.
    """
    images, rows = images.double(), rows.double()
    # CUDA's least squares require full rank, the CPU's do not
    with torch_threads(1):  # the digits of a factorisation depend on the number of threads
        fitted = rows @ torch.linalg.lstsq(rows.cpu(), images.cpu()).solution.to(rows.device)  # (n, C)
    count, columns = rows.shape
    free = max(1, count - columns) if count < total else count
    square = (images - fitted).square().sum() * total / free
    return float((square / columns).sqrt()) / max(smallest, torch.finfo(torch.float32).tiny)


def column_residuals(images: Tensor, rows: Tensor, values: Tensor, total: int) -> Tensor:
    """|N x - lambda x| of each column, (C,) float32, estimated from N X and X (n, C) at n uniformly drawn rows."""
    difference = images.double() - rows.double() * values.double()
    return (difference.square().sum(0) * total / len(rows)).sqrt().float()


@dataclass(frozen=True)
class ExactRows:
    """What tiles of its columns add to a few exact rows of the affinity: `degrees` (n,) and `images` (n, q) = A X."""

    degrees: Tensor
    images: Tensor

    @classmethod
    def none(cls, rows: int, columns: int, device: torch.device) -> ExactRows:
        """The sums over no tile, float64."""
        degrees, images = (torch.zeros(size, dtype=torch.float64, device=device) for size in ((rows,), (rows, columns)))
        return cls(degrees, images)

    @classmethod
    def of(cls, block: Tensor, weighted: Tensor, weights: Tensor) -> ExactRows:
        """Of one tile, float32: its affinities `block` (n, t), its rows of X times weights (t, q), its weights (t,)."""
        return cls(block @ weights, block @ weighted.float())

    def add(self, tile: ExactRows) -> None:
        """Add the sums over other tiles."""
        self.degrees.add_(tile.degrees)
        self.images.add_(tile.images)

    def scaled(self, weights: Tensor) -> Tensor:
        """w^1/2 d^-1/2 A X of the rows (n, q), float64, d their exact degrees, w their own weights (n,)."""
        return self.images * (weights.double() / self.degrees).sqrt()[:, None]


def certify(
    read: Callable[[int, int], Tensor],
    take: Callable[[Tensor], Tensor],
    vectors: Tensor,
    eigenvalues: Tensor,
    *,
    gamma: float,
    rank: int,
    seed: int,
    degrees: Tensor | None = None,
    weights: Tensor | None = None,
    tile: int = 4096,
    tick: Tick | None = None,
) -> tuple[Certificate, Tensor]:
    """The certificate of any cut `vectors` (M, C), and |N x - lambda x| of each column (C,), estimated likewise.

    Features are read by range (`read`) and by ascending ids (`take`). A X at 256 rows takes 2 * 256 M D. Unknown
    `degrees` (M,) are estimated from 2048 nodes, without each node's self-affinity. Vectors are orthonormalised
    for the residual; with `weights` (M,), w^1/2 X is.
    """
    total = len(vectors)
    chosen = uniform_sample(total, min(total, CERTIFICATE_ROWS), seed)
    own_units = unit_rows(take(chosen))
    exact = ExactRows.none(len(chosen), vectors.shape[1], own_units.device)
    others = None
    if degrees is None:
        others = unit_rows(take(uniform_sample(total, min(total, DEGREE_NODES), stream(seed, "degrees"))))
    gram = weighted_gram(vectors, weights)
    basis = _orthonormaliser(gram)  # (C, C)

    def work(start: int, stop: int) -> ExactRows:
        units = unit_rows(read(start, stop))
        weight = part_of(weights, start, stop, units)
        degree = (
            part_of(degrees, start, stop, units) if others is None else _sampled_degrees(units, others, total, gamma)
        )
        rows = vectors[start:stop].to(units.device).double() @ basis
        return ExactRows.of(affinity(own_units, units, gamma), rows * (weight / degree.sqrt())[:, None], weight)

    fold_tiles(total, tile, own_units.device, work, exact.add, tick)
    weight = part_of(weights, 0, total, own_units)[chosen.to(own_units.device)]
    own = vectors[chosen.to(vectors.device)].to(own_units.device).double() @ basis * weight.sqrt()[:, None]
    images = exact.scaled(weight)
    residual = subspace_residual(images, own, total, float(eigenvalues[-1]))
    return (
        Certificate(residual, orthogonality_defect(gram), rank, len(chosen)),
        column_residuals(images, own, eigenvalues.to(images.device), total).to(vectors.device),
    )


def orthogonality_defect(gram: Tensor) -> float:
    """max |X^T X - I| from the Gram X^T X (C, C)."""
    return float((gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).abs().max())


def part_of(values: Tensor | None, start: int, stop: int, like: Tensor) -> Tensor:
    """values[start:stop] on the device of `like`, float32; ones where there are none."""
    if values is None:
        return torch.ones(stop - start, device=like.device)
    return values[start:stop].to(like.device).float()


def _sampled_degrees(units: Tensor, others: Tensor, total: int, gamma: float) -> Tensor:
    """sum_j A_ij, estimated: A_ii = 1, and the mean affinity to `others` (n, D) for each of the remaining nodes."""
    return 1 + (total - 1) * affinity(units, others, gamma).mean(1)


def _orthonormaliser(gram: Tensor) -> Tensor:
    """G^-1/2 (C, C) of X's Gram matrix: X G^-1/2 is the orthonormal basis nearest to X; missing directions become 0."""
    with torch_threads(1):
        values, vectors = torch.linalg.eigh(gram)
    inverse = torch.where(values > 1e-9 * values[-1], values, torch.inf).rsqrt()
    return vectors * inverse @ vectors.T
