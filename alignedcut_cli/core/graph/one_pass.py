"""The steps of a low-rank cut over all nodes, range by range: what makes Y, what is summed, and what Y becomes.

Each range is a fixed piece of the graph, and sums add up in the order of tiles within a range, and of ranges after that: in
float64, so that the same numbers come out whoever did which range, in whatever order, with however many threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.certificate import (
    ExactRows,
    column_residuals,
    part_of,
    subspace_residual,
    weighted_gram,
)
from alignedcut_cli.core.graph.landmarks import kernel_floor
from alignedcut_cli.core.graph.parallel_tiles import fold_tiles
from alignedcut_cli.core.graph.pilot import Pilot
from alignedcut_cli.core.graph.quantised_cosines import columns_at
from alignedcut_cli.core.numerics import NumericsError, Tick, fixing_signs, torch_threads

__all__ = [
    "Projected",
    "Rotation",
    "Sums",
    "add_up",
    "degree_map",
    "degrees_of",
    "gram_of",
    "project",
    "range_nodes",
    "rotate",
    "rotation_of",
    "split",
    "top_rotation",
]

RANGE_BYTES = 128 << 20
MOST_NODES, LEAST_RANGES = 1 << 17, 32
STEP = 8192
"""Ranges are multiples of it: of every tile, on a CPU and on a GPU."""
_PART = 16_384
Read = Callable[[int, int], Tensor]


def range_nodes(width: int) -> int:
    """Nodes of a range: 128 MiB of features of `width` float16 numbers, and at most 131,072 nodes."""
    return max(STEP, min(MOST_NODES, RANGE_BYTES // (2 * width)) // STEP * STEP)


def split(total: int, nodes: int) -> list[tuple[int, int]]:
    """(start, stop) of ranges of at most so many `nodes` of `total`, as equal as steps allow.

    Their number is a power of two, at least LEAST_RANGES, or, where there are fewer steps, that of the steps: so the usual
    numbers of workers get the same share each, and one that is a little slower leaves less to the others. The last may be
    shorter by less than a step.
    """
    step = math.gcd(nodes, STEP)
    steps, least = -(-total // step), max(LEAST_RANGES, -(-total // nodes))
    count = min(steps, 1 << (least - 1).bit_length())
    ends = [min(total, steps * number // count * step) for number in range(count + 1)]
    return list(pairwise(ends))


@dataclass(frozen=True)
class Projected:
    """Y (t, p) of some nodes: `first` (t, C) float32, where their eigenvectors will lie, and the `spare` columns."""

    first: Tensor
    spare: Tensor

    @classmethod
    def empty(
        cls, nodes: int, eigenvectors: int, columns: int, device: torch.device, spare: torch.dtype = torch.float16
    ) -> Projected:
        return cls(
            torch.empty(nodes, eigenvectors, device=device),
            torch.empty(nodes, columns - eigenvectors, dtype=spare, device=device),
        )

    def part(self, start: int, stop: int) -> Projected:
        """The nodes start to stop, in the same memory."""
        return Projected(self.first[start:stop], self.spare[start:stop])

    def put(self, start: int, rows: Tensor) -> None:
        """Store rows (t, p) from `start` on."""
        width, stop = self.first.shape[1], start + len(rows)
        self.first[start:stop], self.spare[start:stop] = rows[:, :width], rows[:, width:]

    def rows(self, which: Tensor | slice) -> Tensor:
        """Some rows (t, p), float32."""
        return torch.cat([self.first[which], self.spare[which].float()], 1)


@dataclass(frozen=True)
class Sums:
    """What nodes add up to: `mass` (m + 1,), [1, A Z]^T w, and A D^-1 Y at the exact rows, D as the pilot saw it."""

    mass: Tensor
    exact: ExactRows

    @classmethod
    def none(cls, pilot: Pilot) -> Sums:
        """Over no node, float64."""
        device = pilot.landmarks.device
        mass = torch.zeros(len(pilot.landmarks) + 1, dtype=torch.float64, device=device)
        return cls(mass, ExactRows.none(len(pilot.units), len(pilot.guess), device))

    def add(self, others: Sums) -> None:
        """Add those over other nodes."""
        self.mass.add_(others.mass)
        self.exact.add(others.exact)


def project(
    pilot: Pilot,
    read: Read,
    start: int,
    stop: int,
    into: Projected,
    *,
    weights: Tensor | None = None,
    precision: str = "float32",
    tile: int = 1024,
    tick: Tick | None = None,
) -> Sums:
    """The sums over the nodes start to stop, whose Y it stores `into`. `weights` (t,) are those of these nodes."""
    device, size, floor = pilot.landmarks.device, len(pilot.landmarks), kernel_floor(pilot.gamma)
    columns_of = columns_at(torch.cat([pilot.landmarks, pilot.units]), pilot.gamma, precision)
    maps, guess = pilot.maps.float(), pilot.guess.float()
    turned, constant = maps[1:].T.contiguous(), (maps[0].double() - floor * maps[1:].double().sum(0)).float()
    sums = Sums.none(pilot)

    def work(first: int, last: int) -> Sums:
        units = unit_rows(read(start + first, start + last))
        columns = columns_of(units)  # (t, m + 256)
        rows = (turned @ columns[:, :size].T).T + constant  # (t, p)
        into.put(first, rows)
        own = part_of(weights, first, last, rows)
        mass = torch.cat([own.sum()[None], own @ columns[:, :size]])
        weighted = rows * (own / (rows @ guess).clamp_min(1))[:, None]
        return Sums(mass, ExactRows.of(columns[:, size:].T, weighted, own))

    fold_tiles(stop - start, tile, device, work, sums.add, tick)
    return sums


def degree_map(pilot: Pilot, mass: Tensor) -> Tensor:
    """a (p,), float64: the degrees of any nodes are Y a, by the `mass` of all."""
    columns = mass.clone()
    columns[1:] -= kernel_floor(pilot.gamma) * mass[0]  # the columns of A summed are those of K and the constant part
    return pilot.correction @ columns


def degrees_of(projected: Projected, coefficients: Tensor) -> Tensor:
    """d = Y a (t,), float32, at least 1, the self-affinity."""
    device, rounded = projected.first.device, coefficients.float()
    degrees = torch.empty(len(projected.first), device=device)

    def work(start: int, stop: int) -> None:
        degrees[start:stop] = (projected.rows(slice(start, stop)) @ rounded).clamp_min_(1)

    fold_tiles(len(degrees), _PART, device, work, lambda _: None)
    return degrees


def gram_of(projected: Projected, degrees: Tensor, weights: Tensor | None = None) -> Tensor:
    """Y^T diag(w / d) Y over some nodes: (p, p) float64."""
    device, size = projected.first.device, projected.first.shape[1] + projected.spare.shape[1]
    gram = torch.zeros(size, size, dtype=torch.float64, device=device)

    def work(start: int, stop: int) -> Tensor:
        rows = projected.rows(slice(start, stop))
        scale = degrees[start:stop].rsqrt()
        if weights is not None:
            scale = scale * weights[start:stop].to(device).sqrt()
        return weighted_gram(rows * scale[:, None])

    fold_tiles(len(degrees), _PART, device, work, gram.add_)
    return gram


def top_rotation(gram: Tensor, eigenvectors: int) -> tuple[Tensor, Tensor]:
    """C eigenvalues, and R (p, C) with (w / d)^1/2 Y R orthonormal, both float64, by the Gram of all nodes (p, p)."""
    with torch_threads(1):
        values, rotation = torch.linalg.eigh(gram)  # ascending
    values, rotation = values.flip(0)[:eigenvectors], rotation.flip(1)[:, :eigenvectors]
    if not values[-1] > torch.finfo(torch.float32).eps * values[0]:
        raise NumericsError(f"the factor has fewer than {eigenvectors} eigenvalues above rounding")
    return values, rotation * values.rsqrt()


@dataclass(frozen=True)
class Rotation:
    """What turns Y into the cut: X = d^-1/2 Y `turn`, d = Y `coefficients`; turn (p, C) and coefficients (p,), float64.

    `values` (C,) and `residuals` (C,) float32; `residual` is that of the certificate.
    """

    turn: Tensor
    coefficients: Tensor
    values: Tensor
    residuals: Tensor
    residual: float

    def maps(self, pilot: Pilot) -> Tensor:
        """The `maps` (m + 1, C + 1) of the cut's Extension, float32."""
        return (pilot.maps @ torch.cat([self.turn, self.coefficients[:, None]], 1)).float()


def rotation_of(
    pilot: Pilot,
    exact: ExactRows,
    coefficients: Tensor,
    gram: Tensor,
    eigenvectors: int,
    total: int,
    rows: Callable[[Tensor], Tensor],
    some: Tensor,
) -> Rotation:
    """The rotation by the sums and the Gram of all M = `total` nodes; `rows` gives Y of some ids, float32.

    Its signs are those that `fix_signs` gives the rows of the ids `some`. Raises NumericsError for C > rank.
    """
    values, turn = top_rotation(gram, eigenvectors)
    with torch_threads(1):
        turn = (turn * fixing_signs(_turned(rows(some), turn, coefficients)).double()).contiguous()
        columns = rows(pilot.chosen).double()
        scale = (pilot.weights.double() / (columns @ coefficients).clamp_min(1)).sqrt()
        own, images = columns @ turn * scale[:, None], exact.scaled(pilot.weights) @ turn
        rounded = values.float()
        residuals = column_residuals(images, own, rounded, total)
        return Rotation(
            turn, coefficients, rounded, residuals, subspace_residual(images, own, total, float(rounded[-1]))
        )


def _turned(rows: Tensor, turn: Tensor, coefficients: Tensor) -> Tensor:
    return rows @ turn.float() * (rows @ coefficients.float()).clamp_min_(1).rsqrt()[:, None]


def rotate(projected: Projected, degrees: Tensor, turn: Tensor, into: Tensor, weights: Tensor | None = None) -> Tensor:
    """X^T diag(w) X (C, C), float64, of X = d^-1/2 Y R of some nodes, which it stores `into` (t, C).

    That may be Y's own first columns. With weights a row of X is what each copy of the node has.
    """
    device, rounded = projected.first.device, turn.float()
    gram = torch.zeros(turn.shape[1], turn.shape[1], dtype=torch.float64, device=device)

    def work(start: int, stop: int) -> Tensor:
        rows = (projected.rows(slice(start, stop)) @ rounded).mul_(degrees[start:stop].rsqrt()[:, None])
        into[start:stop] = rows
        return weighted_gram(rows, None if weights is None else weights[start:stop])

    fold_tiles(len(degrees), _PART, device, work, gram.add_)
    return gram


def add_up(parts: Iterable[Tensor]) -> Tensor:
    """The sum of tensors in their order."""
    found = iter(parts)
    total = next(found).clone()
    for part in found:
        total += part
    return total
