"""Normalized cut by a low-rank factor of the affinity, from landmarks, in one pass over the nodes.

A = kappa 1 1^T + B with kappa = exp(-1 / gamma) exact, and B ~ K W^+ K^T for the columns K (M, m) of B at m landmarks
(Nystrom in factor form: Williams and Seeger 2001, Fowlkes et al. 2004). With P P^T = W^+ the factor is
Phi = [sqrt(kappa) 1, K P], the degrees d = Phi (Phi^T 1), and the eigenvectors of D^-1/2 A D^-1/2 are the left singular
vectors of D^-1/2 Phi. Phi is never held for all nodes:

1. Pilot: Phi of n sampled nodes (`pilot_nodes`) gives their Gram G = Phi^T D^-1 Phi and S (r, p), its top p = 2 C + 8
   eigenvectors. If n = M this is the result.
2. Pass: Y = Phi S (M, p) and t = Phi^T 1, tile by tile. The first column of S is the pilot's estimate of t, which the
   other columns correct: d = Y (S^T G S)^-1 S^T G t.
   3. The left singular vectors of D^-1/2 Y, from its p x p Gram matrix in float64: orthonormal by construction.

Landmarks are means of neighbourhoods (`choose_landmarks`). Subspace error of the top 10, gamma 1: on 7,840 patches of a
layer of real ViT-Ti, where the pilot covers all, .0002 to .0045 with m = 1000 means, .0004 to .0087 with 1000 single
nodes. On 94,080 patches of twelve layers in one graph, m = 1024 means, a pilot of n = 8,192, 16,384, 32,768: .011, .008,
.006; m = 512: .014, .012, .011; 1024 single nodes and n = 16,384: .012. bfloat16 adds up to .0005, int8 up to .002.
Arithmetic: 2 M D (m + 256) for the columns and for the certificate's exact rows, 2 M m p for Y; 2 M D E more with a
transform. Bytes: the features are read once; 4 M C + 2 M (p - C) in memory, as the spare columns of Y are float16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.block_krylov import top_eigenpairs
from alignedcut_cli.core.graph.certificate import (
    CERTIFICATE_ROWS,
    Certificate,
    ExactRows,
    certify,
    column_residuals,
    orthogonality_defect,
    part_of,
    subspace_residual,
    weighted_gram,
)
from alignedcut_cli.core.graph.landmarks import BLOCK, Extension, Factor, kernel_floor, whitening
from alignedcut_cli.core.graph.ncut import Cut, gather
from alignedcut_cli.core.graph.parallel_tiles import share_tiles
from alignedcut_cli.core.graph.quantised_cosines import columns_at
from alignedcut_cli.core.graph.sampling import choose_landmarks, uniform_sample
from alignedcut_cli.core.numerics import NumericsError, Tick, fixing_signs, stream

__all__ = ["landmark_count", "ncut_lowrank", "pilot_nodes", "spare_columns"]

PILOT = 16_384
_PART = 16_384
Read = Callable[[int, int], Tensor]
Take = Callable[[Tensor], Tensor]


def landmark_count(total: int) -> int:
    """The default m: 1,024 where the pilot covers all nodes; 512 beyond, where its sample limits the error as well."""
    return min(total, 1024 if total <= PILOT else 512)


def pilot_nodes(total: int, nodes: int) -> int:
    """n: the nodes whose Gram matrix gives the directions of the pass. All of them in graphs of at most 16,384.

    Beyond, 16,384, or 8 m if that is more: the error from sampling them falls as 1 / sqrt(n).
    """
    return min(total, max(PILOT, 8 * nodes))


def spare_columns(eigenvectors: int) -> int:
    """p = 2 C + 8: the columns kept through the pass, as oversampling, so that the top C are accurate."""
    return 2 * eigenvectors + 8


@dataclass(frozen=True)
class _Pilot:
    """S (r + 1, p), the top eigenvectors of `gram` G = Phi^T D^-1 Phi (r + 1, r + 1), both float64, and t = Phi^T 1.

    Phi (n, r + 1) of the pilot's nodes; `degrees` (n,) by t, at least 1, the self-affinity.
    """

    directions: Tensor
    gram: Tensor
    total: Tensor
    phi: Tensor
    degrees: Tensor


class _Projection:
    """Y (M, p) of all nodes: its first C columns float32, later overwritten by the eigenvectors, the others as `spare`."""

    def __init__(self, total: int, eigenvectors: int, columns: int, spare: torch.dtype, device: torch.device) -> None:
        self.first = torch.empty(total, eigenvectors, device=device)
        self._spare = torch.empty(total, columns - eigenvectors, dtype=spare, device=device)

    def put(self, start: int, rows: Tensor) -> None:
        """Store rows (t, p) from `start` on."""
        width, stop = self.first.shape[1], start + len(rows)
        self.first[start:stop], self._spare[start:stop] = rows[:, :width], rows[:, width:]

    def rows(self, which: Tensor | slice) -> Tensor:
        """Some rows (t, p), float32."""
        return torch.cat([self.first[which], self._spare[which].float()], 1)

    def parts(self) -> Iterator[tuple[slice, Tensor]]:
        """All rows in chunks: their range, and the rows (t, p)."""
        for start in range(0, len(self.first), _PART):
            part = slice(start, start + _PART)
            yield part, self.rows(part)


def ncut_lowrank(
    read: Read,
    total: int,
    eigenvectors: int = 20,
    *,
    nodes: int | None = None,
    sampling: str = "means",
    gamma: float = 1.0,
    seed: int = 0,
    tile: int = 1024,
    precision: str = "float32",
    pilot: int | None = None,
    weights: Tensor | None = None,
    take: Take | None = None,
    tick: Tick | None = None,
) -> Cut:
    """The cut of all M = `total` nodes by m = `nodes` landmarks: eigenvectors (M, C), orthonormal, float32.

    m is `landmark_count` by default, and `sampling` one of LANDMARK_CHOICES.
    `read(start, stop)` returns features (stop - start, D), `take(ids)` the rows of ascending ids (by `read` where it is
    not given). `weights` (M,) are multiplicities of nodes: X^T diag(w) X = I. `precision` is that of the
    cosines in the pass; the pilot (n = `pilot` nodes, default `pilot_nodes`) is float32. `tick` counts rows. The Cut
    carries its certificate and its Extension. Raises NumericsError for C > rank, and for rows without a direction.
    """
    take = take or (lambda ids: gather(read, total, ids, tile))
    size = min(nodes or landmark_count(total), total)
    sampled, landmarks = choose_landmarks(
        sampling, total, size, stream(seed, "sample"), lambda ids: unit_rows(take(ids))
    )
    factor = Factor(landmarks, whitening(landmarks, gamma).float(), gamma)
    if factor.rank < eigenvectors:
        raise NumericsError(
            f"{size} landmarks give a factor of rank {factor.rank}, which has no {eigenvectors} eigenvectors"
        )
    task = _Task(read, take, total, eigenvectors, gamma, seed, tile, precision, weights, tick)
    count = pilot_nodes(total, size) if pilot is None else min(total, max(pilot, size))
    ids = torch.arange(total) if count == total else uniform_sample(total, count, stream(seed, "pilot"))
    found = _pilot(factor, task, ids)
    return _whole(found, factor, task, sampled) if count == total else _streamed(found, factor, task, sampled)


@dataclass(frozen=True)
class _Task:
    """The arguments of `ncut_lowrank`, for all steps."""

    read: Read
    take: Take
    total: int
    eigenvectors: int
    gamma: float
    seed: int
    tile: int
    precision: str
    weights: Tensor | None
    tick: Tick | None

    def ranges(self, total: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of the tiles of `total` rows."""
        return ((start, min(start + self.tile, total)) for start in range(0, total, self.tile))


def _pilot(factor: Factor, task: _Task, ids: Tensor) -> _Pilot:
    """The pilot over the nodes `ids` (n,), each with weight M / n."""
    device, share = factor.landmarks.device, task.total / len(ids)
    phi = torch.empty(len(ids), factor.rank, device=device)
    weights = share * (torch.ones(len(ids)) if task.weights is None else task.weights[ids.to(task.weights.device)])
    weights = weights.to(device)
    mass = torch.zeros(factor.rank, dtype=torch.float64, device=device)
    for start, stop in task.ranges(len(ids)):
        phi[start:stop] = factor.rows(unit_rows(task.take(ids[start:stop])))
        mass += phi[start:stop].double().T @ weights[start:stop].double()
    degrees = (phi @ mass.float()).clamp_min_(1)
    gram = torch.zeros(factor.rank, factor.rank, dtype=torch.float64, device=device)
    for start, stop in task.ranges(len(ids)):
        _add_upper_gram(gram, phi[start:stop], weights[start:stop] / degrees[start:stop])
    gram = gram.triu_() + gram.triu(1).T
    return _Pilot(_top_directions(gram, mass, task), gram, mass, phi, degrees)


def _add_upper_gram(gram: Tensor, rows: Tensor, weights: Tensor) -> None:
    """Add R^T diag(w) R of rows (t, r) and weights (t,) to the upper triangle of (r, r): the lower one is its mirror."""
    weighted = rows * weights[:, None]
    for first in range(0, len(gram), BLOCK):
        gram[first : first + BLOCK, first:] += rows[:, first : first + BLOCK].T @ weighted[:, first:]


def _top_directions(gram: Tensor, mass: Tensor, task: _Task) -> Tensor:
    """The top p eigenvectors of G (r + 1, r + 1): (r + 1, p) float64. The first is t: G t = t unless a degree is clamped."""
    width = min(spare_columns(task.eigenvectors), len(gram))
    generator = torch.Generator().manual_seed(stream(task.seed, "eigen"))
    start = torch.randn(len(gram), width, generator=generator, dtype=torch.float64).to(gram.device)
    start[:, 0] = mass
    return top_eigenpairs(lambda block: gram @ block, start, width, tolerance=1e-7).vectors


def _whole(pilot: _Pilot, factor: Factor, task: _Task, sampled: Tensor) -> Cut:
    """The cut where the pilot covers all nodes."""
    rows = pilot.phi @ pilot.directions.float()  # (M, p)
    projected = _Projection(len(rows), task.eigenvectors, rows.shape[1], torch.float32, rows.device)
    projected.put(0, rows)
    vectors, values, rotation = _singular(projected, pilot.degrees, task)
    certificate, residuals = certify(
        task.read,
        task.take,
        vectors,
        values,
        gamma=task.gamma,
        rank=factor.rank,
        seed=stream(task.seed, "certificate"),
        degrees=pilot.degrees,
        weights=task.weights,
        tile=task.tile,
        tick=task.tick,
    )
    extension = _extension(factor, pilot.directions @ rotation, pilot.total)
    return _signed(Cut(vectors, values, residuals, sampled, certificate, extension))


def _streamed(pilot: _Pilot, factor: Factor, task: _Task, sampled: Tensor) -> Cut:
    """The cut by one pass over all nodes, which also computes the certificate."""
    device, total = factor.landmarks.device, task.total
    chosen = uniform_sample(total, min(total, CERTIFICATE_ROWS), stream(task.seed, "certificate"))
    exact = ExactRows(unit_rows(task.take(chosen)), pilot.directions.shape[1])
    projected, mass = _pass(pilot, factor, task, exact)
    weights = part_of(task.weights, 0, total, projected.first)[chosen.to(device)]
    columns, images = projected.rows(chosen.to(device)).double(), exact.images(weights)
    coefficients = _corrected(pilot, factor, mass)  # (p,)
    degrees = torch.cat([rows @ coefficients.float() for _, rows in projected.parts()]).clamp_min_(1)
    own_degrees = degrees[chosen.to(device)].double()
    vectors, values, rotation = _singular(projected, degrees, task)
    del projected, degrees
    images = images @ rotation
    own = columns @ rotation * (weights.double() / own_degrees).sqrt()[:, None]
    defect = orthogonality_defect(weighted_gram(vectors, task.weights))
    residual = subspace_residual(images, own, total, float(values[-1]))
    certificate = Certificate(residual, defect, factor.rank, len(chosen))
    extension = _extension(factor, pilot.directions @ rotation, pilot.directions @ coefficients)
    return _signed(Cut(vectors, values, column_residuals(images, own, values, total), sampled, certificate, extension))


def _pass(pilot: _Pilot, factor: Factor, task: _Task, exact: ExactRows) -> tuple[_Projection, Tensor]:
    """Y = Phi S (M, p), and [1, K]^T w (m + 1,) float64; `exact` gets A D^-1 Y at its rows, D the pilot's."""
    device, size, floor = factor.landmarks.device, len(factor.landmarks), kernel_floor(task.gamma)
    columns_of = columns_at(torch.cat([factor.landmarks, exact.units]), task.gamma, task.precision)
    maps = factor.maps(pilot.directions)  # (m + 1, p)
    turned, constant = maps[1:].T.contiguous(), (maps[0].double() - floor * maps[1:].double().sum(0)).float()
    guess = (pilot.directions.T @ pilot.total).float()  # d = Phi t = Y S^T t, as t is in the span of S
    projected = _Projection(task.total, task.eigenvectors, maps.shape[1], torch.float16, device)

    def work(tiles: Iterator[tuple[int, int]]) -> tuple[Tensor, ExactRows]:
        mass, own = torch.zeros(size + 1, dtype=torch.float64, device=device), exact.others()
        for start, stop in tiles:
            units = unit_rows(task.read(start, stop))
            columns = columns_of(units)  # (t, m + 256)
            rows = (turned @ columns[:, :size].T).T + constant  # (t, p)
            projected.put(start, rows)
            weights = part_of(task.weights, start, stop, rows)
            mass[0] += weights.sum()
            mass[1:] += weights @ columns[:, :size]
            own.add(columns[:, size:].T, rows * (weights / (rows @ guess).clamp_min(1))[:, None], weights)
        return mass, own

    found = share_tiles(task.total, task.tile, device, work, task.tick)
    for _, own in found:
        exact.merge(own)
    mass = torch.stack([mass for mass, _ in found]).sum(0)
    mass[1:] -= floor * mass[0]  # the columns of A summed are those of K and the constant part
    return projected, mass


def _corrected(pilot: _Pilot, factor: Factor, mass: Tensor) -> Tensor:
    """a (p,), float64, with d = Y a: the least-squares fit over the pilot's nodes to the degrees by t of the pass."""
    total = torch.cat([mass[:1] * kernel_floor(factor.gamma) ** 0.5, factor.white.double().T @ mass[1:]])  # (r + 1,)
    moved = pilot.gram @ pilot.directions  # (r + 1, p)
    return torch.linalg.solve(pilot.directions.T @ moved, moved.T @ total)


def _singular(projected: _Projection, degrees: Tensor, task: _Task) -> tuple[Tensor, Tensor, Tensor]:
    """X (M, C) = (w / d)^1/2 Y R, orthonormal, by its Gram matrix; C eigenvalues, and R (p, C) float64.

    X overwrites Y's first columns. With weights, X is divided by w^1/2: a row is then that of each copy of the node.
    """
    scale = degrees.rsqrt()[:, None]
    root = None if task.weights is None else task.weights.to(degrees.device).sqrt()[:, None]
    whole = scale if root is None else scale * root
    gram = torch.stack([weighted_gram(rows * whole[part]) for part, rows in projected.parts()]).sum(0)
    values, rotation = torch.linalg.eigh(gram)  # ascending
    values, rotation = values.flip(0)[: task.eigenvectors], rotation.flip(1)[:, : task.eigenvectors]
    if not values[-1] > torch.finfo(torch.float32).eps * values[0]:
        raise NumericsError(f"the factor has fewer than {task.eigenvectors} eigenvalues above rounding")
    rotation = rotation * values.rsqrt()
    turn = rotation.float()
    for part, rows in projected.parts():
        projected.first[part] = (rows @ turn).mul_(scale[part])
    return projected.first, values.float(), rotation


def _extension(factor: Factor, columns: Tensor, degrees: Tensor) -> Extension:
    """The map to rows of the cut, from coefficients of Phi: of its columns (r + 1, C), and of the degrees (r + 1,)."""
    maps = factor.maps(torch.cat([columns, degrees[:, None]], 1))
    return Extension(factor.landmarks, maps, factor.gamma)


def _signed(cut: Cut) -> Cut:
    """The cut with the signs of `fix_signs`, in its columns and in the map of its extension."""
    assert cut.extension is not None
    signs = fixing_signs(cut.eigenvectors)  # (C,)
    maps = cut.extension.maps * torch.cat([signs, signs.new_ones(1)])
    return replace(cut, eigenvectors=cut.eigenvectors.mul_(signs), extension=replace(cut.extension, maps=maps))
