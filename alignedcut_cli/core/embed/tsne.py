"""t-SNE of rows in two or three dimensions: openTSNE's affinities and schedule, our own repulsion."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.core.numerics import NumericsError

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

__all__ = [
    "EXACT_NODES",
    "ITERATIONS",
    "REPULSIONS",
    "ROUND",
    "Keep",
    "Repulsion",
    "State",
    "choose_repulsion",
    "divergence",
    "tsne",
]

ITERATIONS = (250, 500)
ROUND = 50
EXACT_NODES = {"cpu": 3000, "cuda": 200_000}
EXACT_DIVERGENCE = 20_000
_START_SPREAD = 1e-4
_LARGE_ATTRACTION = 1_000_000

Repulsion = Callable[[np.ndarray], tuple[np.ndarray, float]]
State = Mapping[str, np.ndarray]
Keep = Callable[[Callable[[], State]], None]


def _exact(device: torch.device | None) -> Repulsion:
    from alignedcut_cli.core.embed.tsne_exact import exact_repulsion

    return lambda places: exact_repulsion(places, device)


def _tree(device: torch.device | None) -> Repulsion:
    from alignedcut_cli.core.embed.tsne_tree import Tree

    if device is not None and device.type != "cpu":
        raise NumericsError(f"the tree runs on the CPU, not on {device}")
    return Tree()


REPULSIONS: dict[str, Callable[[Any], Repulsion]] = {"exact": _exact, "tree": _tree}


def choose_repulsion(nodes: int, device: torch.device | None = None) -> str:
    """The name of the faster repulsion for m = `nodes`: exact where all pairs are cheap (few nodes, or CUDA), else tree."""
    return "exact" if nodes <= EXACT_NODES[device.type if device else "cpu"] else "tree"


def tsne(
    rows: np.ndarray,
    dims: int,
    *,
    perplexity: float,
    seed: int,
    repulsion: str = "auto",
    device: torch.device | None = None,
    tick: Callable[[int], None] | None = None,
    keep: Keep | None = None,
    state: State | None = None,
) -> tuple[np.ndarray, float, float]:
    """t-SNE of rows (m, C), duplicates allowed: places (m, dims) float32, KL divergence, perplexity used.

    Minimises KL(P | Q), q_ij = k_ij / Z, with openTSNE's affinities P (exact neighbours), early exaggeration, momentum
    and gains; the gradient's second term comes from REPULSIONS[`repulsion`]. The perplexity is at most (m - 1) / 3.
    The divergence is that of `divergence`. `keep` is called after every ROUND iterations with what gives the state (places,
    update, gains and the number of iterations done); from such a `state` the run goes on, to the same bytes on a CPU.
    Raises NumericsError for fewer than dims + 2 rows.
    """
    import torch
    from openTSNE import TSNE

    if len(rows) < dims + 2:
        raise NumericsError(f"t-SNE in {dims} dimensions needs at least {dims + 2} nodes, there are {len(rows)}")
    used = min(perplexity, (len(rows) - 1) / 3)
    name = choose_repulsion(len(rows), device) if repulsion == "auto" else repulsion
    options: dict[str, Any] = dict(  # noqa: C408  # Any: openTSNE declares numbers and arrays too narrowly
        n_components=dims,
        perplexity=used,
        initialization=_start(rows, dims, seed),
        negative_gradient_method=_Gradient(REPULSIONS[name](device), tick),
        neighbors="exact",
        # scikit-learn's own choice beyond 15 columns is all pairs, which costs twice as much from 1,000 rows on
        knn_kwargs={"algorithm": "kd_tree"},
        n_jobs=torch.get_num_threads(),
        random_state=seed % (1 << 32),
    )
    method = TSNE(**options)
    found = method.prepare_initial(rows)
    done = _restore(found, state, method.early_exaggeration, tick) if state else 0
    while done < sum(ITERATIONS):
        early = done < ITERATIONS[0]
        found.optimize(
            n_iter=ROUND,
            exaggeration=method.early_exaggeration if early else method.exaggeration,
            momentum=method.initial_momentum if early else method.final_momentum,
            inplace=True,
        )
        done += ROUND
        if keep:
            keep(functools.partial(_state, found, done))
    places = np.asarray(found)
    return places.astype(np.float32), divergence(found.affinities.P, places), used


def _state(found: Any, done: int) -> dict[str, np.ndarray]:
    """All that openTSNE's optimizer needs to go on, copied."""
    numbers = {"places": found, "update": found.optimizer.update, "gains": found.optimizer.gains, "done": [done]}
    return {name: np.array(value) for name, value in numbers.items()}


def _restore(found: Any, state: State, exaggeration: Any, tick: Callable[[int], None] | None) -> int:
    """Put an embedding where another was that gave `state`: how many iterations are done."""
    found[:] = state["places"]
    found.optimizer.update, found.optimizer.gains = np.array(state["update"]), np.array(state["gains"])
    done = int(state["done"][0])
    for _ in range(min(done, ITERATIONS[0]) // ROUND):  # as each round rounds P
        found.affinities.P *= exaggeration
        found.affinities.P /= exaggeration
    if tick:
        tick(done)
    return done


@dataclass
class _Gradient:
    """The gradient (m, dims) of KL(P | Q) without its factor 4, in the form that openTSNE's optimizer calls.

    sum_j p_ij k_ij (y_i - y_j) - F_i / Z; the error is left at 0, as the schedule does not read it.
    """

    repulsion: Repulsion
    tick: Callable[[int], None] | None

    def __call__(
        self, embedding: np.ndarray, P: csr_matrix, *, n_jobs: int, should_eval_error: bool, **_rest: Any
    ) -> tuple[float, np.ndarray]:
        places = np.ascontiguousarray(embedding, np.float64)
        # openTSNE asks for the error once at the end of each phase: no step follows
        if should_eval_error:
            return 0.0, np.zeros_like(places)
        forces, total = self.repulsion(places)
        gradient = _attraction(P, places) - forces / max(total, np.finfo(float).tiny)
        if self.tick:
            self.tick(1)
        return 0.0, gradient


def _attraction(affinities: csr_matrix, places: np.ndarray) -> np.ndarray:
    """sum_j p_ij k_ij (y_i - y_j) for each i (m, d) float64: one pass over P, in float32."""
    from alignedcut_cli.core.embed.kernels import pull
    from alignedcut_cli.core.embed.threads import share_rows
    from alignedcut_cli.core.embed.tsne_exact import in_three_rows

    coordinates = in_three_rows(places - places.mean(0))
    found = np.empty_like(coordinates)
    entries = (affinities.data, affinities.indices, affinities.indptr)
    share_rows(
        len(places), lambda a, b: pull(*entries, coordinates, a, b, found), large=affinities.nnz > _LARGE_ATTRACTION
    )
    return found[: places.shape[1]].T.astype(np.float64)


def divergence(affinities: csr_matrix, places: np.ndarray) -> float:
    """KL(P | Q) = sum p_ij log(p_ij Z / k_ij) of affinities P (m, m) and places (m, d) float64.

    Z is over all pairs up to 20,000 places; beyond, by a tree with theta = 0.2 (relative error of Z below 1e-3).
    """
    from alignedcut_cli.core.embed.tsne_exact import exact_repulsion
    from alignedcut_cli.core.embed.tsne_tree import Tree

    whole = exact_repulsion if len(places) <= EXACT_DIVERGENCE else Tree(theta=0.2)
    _, total = whole(places)
    entries = affinities.tocoo()
    mass, kernels = entries.data, 1 / (1 + ((places[entries.row] - places[entries.col]) ** 2).sum(1))
    there = mass > 0
    error = (mass[there] * np.log(mass[there] / kernels[there])).sum()
    return float(error + mass.sum() * np.log(max(total, np.finfo(float).tiny)))


def _start(rows: np.ndarray, dims: int, seed: int) -> np.ndarray:
    """Principal components at a tiny spread, with a jitter that separates equal rows: (m, dims) float64."""
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred.T @ centred)
    axes = axes[:dims] * np.where(axes[:dims].sum(1, keepdims=True) < 0, -1, 1)
    scores = centred @ axes.T  # (m, min(dims, C))
    scores = np.pad(scores, ((0, 0), (0, dims - scores.shape[1])))
    spread = scores[:, 0].std()
    jitter = np.random.default_rng(seed).normal(size=scores.shape) * _START_SPREAD * 0.01
    return (scores / spread * _START_SPREAD if spread > 0 else 0 * scores) + jitter
