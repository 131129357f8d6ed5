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

Shared among processes, step 2 is one sweep over ranges of nodes and step 3 two more, of Y, which the first one stored: the
degrees need t of all nodes before the Gram matrix can be summed, and the rows need the Gram matrix. A node of D = 768,
C = 20 costs 1,536 bytes of features read once, 136 of Y written once and read twice, 80 of X written and read: 2,104 in
all, against 4,768 for three sweeps of the features. One process that did both sweeps of Y alone would read 272 bytes a
node, as long as the pass takes six at equal disks. Degrees frozen as the pilot estimates them would save one reading of Y,
6 %, and leave more: with n = 16,384, on 60,000 nodes (D = 64, m = 256) of 30 clusters of sizes 1 / rank^1.5, .021 where
corrected ones leave .013 (n = 8,192: .047, .027), and as much on equal clusters, .008 (n = 8,192: .012).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.certificate import Certificate, certify, orthogonality_defect
from alignedcut_cli.core.graph.landmarks import Extension, Factor, whitening
from alignedcut_cli.core.graph.ncut import Cut, gather
from alignedcut_cli.core.graph.one_pass import (
    Projected,
    Rotation,
    Sums,
    add_up,
    degree_map,
    degrees_of,
    gram_of,
    project,
    range_nodes,
    rotate,
    rotation_of,
    split,
    top_rotation,
)
from alignedcut_cli.core.graph.pilot import Pilot, Seen, guide, see
from alignedcut_cli.core.graph.sampling import choose_landmarks, uniform_sample
from alignedcut_cli.core.numerics import NumericsError, Tick, fixing_signs, stream, torch_threads

__all__ = [
    "cut_of",
    "is_whole",
    "landmark_count",
    "ncut_lowrank",
    "pilot_lowrank",
    "pilot_nodes",
    "signing_nodes",
    "spare_columns",
]

PILOT = 16_384
Read = Callable[[int, int], Tensor]
Take = Callable[[Tensor], Tensor]
Weigh = Callable[[Tensor], Tensor]
"""What gives the weights (n,) of ascending ids (n,)."""


def landmark_count(total: int) -> int:
    """The default m: 1,024 where the pilot covers all nodes; 512 beyond, where its sample limits the error as well."""
    return min(total, 1024 if total <= PILOT else 512)


def pilot_nodes(total: int, nodes: int) -> int:
    """n: the nodes whose Gram matrix gives the directions of the pass. All of them in graphs of at most 16,384.

    Beyond, 16,384, or 8 m if that is more: the error from sampling them falls as 1 / sqrt(n).
    """
    return min(total, max(PILOT, 8 * nodes))


def is_whole(total: int, nodes: int | None) -> bool:
    """Whether the pilot covers all nodes, so that there is no pass."""
    return pilot_nodes(total, min(nodes or landmark_count(total), total)) == total


def spare_columns(eigenvectors: int) -> int:
    """p = 2 C + 8: the columns kept through the pass, as oversampling, so that the top C are accurate."""
    return 2 * eigenvectors + 8


def signing_nodes(total: int, seed: int) -> Tensor:
    """The ids (n,), at most 16,384, whose rows give the eigenvectors of a pass their signs."""
    return uniform_sample(total, min(total, PILOT), stream(seed, "signs"))


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
    span: int | None = None,
    weights: Tensor | None = None,
    take: Take | None = None,
    tick: Tick | None = None,
) -> Cut:
    """The cut of all M = `total` nodes by m = `nodes` landmarks: eigenvectors (M, C), orthonormal, float32.

    m is `landmark_count` by default, and `sampling` one of LANDMARK_CHOICES.
    `read(start, stop)` returns features (stop - start, D), `take(ids)` the rows of ascending ids (by `read` where it is
    not given). `weights` (M,) are multiplicities of nodes: X^T diag(w) X = I. `precision` is that of the cosines in the
    pass; the pilot (n = `pilot` nodes, default `pilot_nodes`) is float32. Sums are over ranges of `span` nodes (default
    `range_nodes`), one after another. `tick` counts rows. The Cut
    carries its certificate and its Extension. Raises NumericsError for C > rank, and for rows without a direction.
    """
    take = take or (lambda ids: gather(read, total, ids, tile))
    begun = _begin(take, total, eigenvectors, nodes, sampling, gamma, seed, tile, pilot, _weigh(weights))
    task = _Task(read, take, total, eigenvectors, gamma, seed, tile, precision, weights, tick)
    if len(begun.ids) == total:
        return _whole(begun, task)
    guided = guide(begun.seen, begun.factor, take, total, begun.sampled, _weigh(weights), seed)
    return _streamed(guided, task, split(total, span or range_nodes(guided.landmarks.shape[1])))


def pilot_lowrank(
    take: Take,
    total: int,
    eigenvectors: int = 20,
    *,
    nodes: int | None = None,
    sampling: str = "means",
    gamma: float = 1.0,
    seed: int = 0,
    tile: int = 1024,
    weights: Weigh | None = None,
) -> Pilot:
    """The pilot of `ncut_lowrank` alone, for a pass whose ranges are done elsewhere. Raises NumericsError as that does."""
    weigh = weights or _weigh(None)
    begun = _begin(take, total, eigenvectors, nodes, sampling, gamma, seed, tile, None, weigh)
    return guide(begun.seen, begun.factor, take, total, begun.sampled, weigh, seed)


def _weigh(weights: Tensor | None) -> Weigh:
    return lambda ids: torch.ones(len(ids)) if weights is None else weights[ids.to(weights.device)]


@dataclass(frozen=True)
class _Begun:
    """The landmarks, the nodes that they lie around, and the pilot: its nodes and what they say."""

    factor: Factor
    sampled: Tensor
    ids: Tensor
    seen: Seen


def _begin(
    take: Take,
    total: int,
    eigenvectors: int,
    nodes: int | None,
    sampling: str,
    gamma: float,
    seed: int,
    tile: int,
    pilot: int | None,
    weigh: Weigh,
) -> _Begun:
    size = min(nodes or landmark_count(total), total)
    with torch_threads(1):  # the digits of products and factorisations depend on the number of threads
        sampled, landmarks = choose_landmarks(
            sampling, total, size, stream(seed, "sample"), lambda ids: unit_rows(take(ids))
        )
        factor = Factor(landmarks, whitening(landmarks, gamma).float(), gamma)
    if factor.rank < eigenvectors:
        raise NumericsError(
            f"{size} landmarks give a factor of rank {factor.rank}, which has no {eigenvectors} eigenvectors"
        )
    count = pilot_nodes(total, size) if pilot is None else min(total, max(pilot, size))
    ids = torch.arange(total) if count == total else uniform_sample(total, count, stream(seed, "pilot"))
    columns = spare_columns(eigenvectors)
    seen = see(factor, take, ids, total, columns, weights=weigh(ids), seed=stream(seed, "eigen"), tile=tile)
    return _Begun(factor, sampled, ids, seen)


@dataclass(frozen=True)
class _Task:
    """The arguments of `ncut_lowrank`, for its two ways."""

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

    def weights_of(self, start: int, stop: int) -> Tensor | None:
        return None if self.weights is None else self.weights[start:stop]


def _whole(begun: _Begun, task: _Task) -> Cut:
    """The cut where the pilot covers all nodes."""
    seen, device = begun.seen, begun.seen.phi.device
    with torch_threads(1):
        rows = seen.phi @ seen.directions.float()  # (M, p)
    projected = Projected.empty(len(rows), task.eigenvectors, rows.shape[1], device, torch.float32)
    projected.put(0, rows)
    values, turn = top_rotation(gram_of(projected, seen.degrees, task.weights), task.eigenvectors)
    vectors = projected.first
    rotate(projected, seen.degrees, turn, vectors, task.weights)
    certificate, residuals = certify(
        task.read,
        task.take,
        vectors,
        values.float(),
        gamma=task.gamma,
        rank=begun.factor.rank,
        seed=stream(task.seed, "certificate"),
        degrees=seen.degrees,
        weights=task.weights,
        tile=task.tile,
        tick=task.tick,
    )
    signs = fixing_signs(vectors)  # (C,)
    maps = begun.factor.maps(torch.cat([seen.directions @ (turn * signs), seen.total[:, None]], 1))
    extension = Extension(begun.factor.landmarks, maps, task.gamma)
    return Cut(vectors.mul_(signs), values.float(), residuals, begun.sampled, certificate, extension)


def _streamed(pilot: Pilot, task: _Task, ranges: list[tuple[int, int]]) -> Cut:
    """The cut by one pass over all nodes, which also computes the certificate."""
    device = pilot.landmarks.device
    projected, sums = Projected.empty(task.total, task.eigenvectors, len(pilot.guess), device), Sums.none(pilot)
    options = {"precision": task.precision, "tile": task.tile, "tick": task.tick}
    for start, stop in ranges:
        into, weights = projected.part(start, stop), task.weights_of(start, stop)
        sums.add(project(pilot, task.read, start, stop, into, weights=weights, **options))
    coefficients = degree_map(pilot, sums.mass)
    degrees = torch.cat([degrees_of(projected.part(*ends), coefficients) for ends in ranges])
    gram = add_up(gram_of(projected.part(a, b), degrees[a:b], task.weights_of(a, b)) for a, b in ranges)
    found = rotation_of(
        pilot,
        sums.exact,
        coefficients,
        gram,
        task.eigenvectors,
        task.total,
        lambda ids: projected.rows(ids.to(device)),
        signing_nodes(task.total, task.seed),
    )
    vectors = projected.first
    grams = (
        rotate(projected.part(a, b), degrees[a:b], found.turn, vectors[a:b], task.weights_of(a, b)) for a, b in ranges
    )
    return cut_of(pilot, found, vectors, add_up(grams))


def cut_of(pilot: Pilot, found: Rotation, vectors: Tensor, gram: Tensor) -> Cut:
    """The cut whose eigenvectors are `vectors` (M, C), with the Gram matrix X^T diag(w) X (C, C) as it was summed."""
    certificate = Certificate(found.residual, orthogonality_defect(gram), pilot.rank, len(pilot.chosen))
    extension = Extension(pilot.landmarks, found.maps(pilot), pilot.gamma)
    return Cut(vectors, found.values, found.residuals, pilot.sampled, certificate, extension)
