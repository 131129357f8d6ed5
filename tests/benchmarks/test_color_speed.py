"""t-SNE in three dimensions at m = 1e4 (and 1e5) beside openTSNE's Barnes-Hut, on the same rows from the same start.

    pytest -m benchmark -s tests/benchmarks/test_color_speed.py
    ALIGNEDCUT_LARGE=1 pytest -m benchmark -s tests/benchmarks/test_color_speed.py     m = 1e5, too

Rows stand for eigenvectors: groups of unequal size on curves in 20 columns. Where Barnes-Hut would take too long it runs
20 iterations at our final places, which gives its time per iteration there; its divergence is then not known. The floor
is what the inner loops alone would take: pairs of the lists and entries of P at the rates measured in this process, on
all cores.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from alignedcut_cli.core.embed import tsne as module
from alignedcut_cli.core.embed.affinities import affinities
from alignedcut_cli.core.embed.colours import nearest_rows
from alignedcut_cli.core.embed.descent import OnHost
from alignedcut_cli.core.embed.forces import Tree
from alignedcut_cli.core.embed.kernels import push_all
from alignedcut_cli.core.embed.threads import Threads
from alignedcut_cli.core.embed.tsne import ITERATIONS, tsne
from tests.helpers.eigenvectors import rows_like_eigenvectors

pytestmark = pytest.mark.benchmark

SIZES = (10_000, 100_000) if os.environ.get("ALIGNEDCUT_LARGE") else (10_000,)
WHOLE_PEER, PART = 20_000, 20


def seconds(run: object, rounds: int = 3) -> float:
    """The shortest of some runs."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()  # type: ignore[operator]
        taken.append(time.perf_counter() - began)
    return min(taken)


def barnes_hut(
    rows: np.ndarray, affinities: object, start: np.ndarray, iterations: tuple[int, int]
) -> tuple[float, np.ndarray]:
    """Seconds of openTSNE's optimization alone, affinities given, and its places (m, 3)."""
    from openTSNE import TSNE

    method = TSNE(
        n_components=3,
        initialization=start,
        negative_gradient_method="bh",
        early_exaggeration_iter=iterations[0],
        n_iter=iterations[1],
        n_jobs=torch.get_num_threads(),
        random_state=0,
    )
    began = time.perf_counter()
    found = method.fit(affinities=affinities)
    return time.perf_counter() - began, np.asarray(found)


def floor_seconds(rows: np.ndarray, places: np.ndarray) -> str:
    """What the loops over pairs take alone, at the final places: repulsion and attraction of all iterations."""
    with Threads() as threads:
        joint = affinities(torch.from_numpy(rows), 30.0, threads)
        tree = Tree(threads)
        tree(places)
        lists = tree._lists
        assert lists is not None
        pairs = int((np.diff(lists.edges) * np.diff(lists.starts)).sum())
        few = np.ones((4, 4000), np.float32)
        few[:3] = places[:4000].T
        forces, sums = np.empty((4000, 3), np.float32), np.empty(4000, np.float32)
        pair = seconds(lambda: push_all(few, 0, 4000, forces, sums)) / 4000**2 / torch.get_num_threads()
    entries = len(joint.values)
    told = f"{pairs:,} pairs and {entries:,} entries an iteration at {1e-9 / pair:.1f} thousand million a second"
    return f"{sum(ITERATIONS) * (pairs + entries) * pair:8.1f} s   {told}"


def kl_of(rows: np.ndarray, places: np.ndarray) -> float:
    """KL(P | Q) of places (m, 3) under our affinities."""
    with Threads() as threads:
        joint = affinities(torch.from_numpy(rows), 30.0, threads)
        return OnHost(joint, np.ascontiguousarray(places - places.mean(0), np.float32), "tree", threads).divergence()


@pytest.mark.parametrize("nodes", SIZES)
def test_three_dimensions_beside_barnes_hut(nodes: int) -> None:
    from openTSNE.affinity import PerplexityBasedNN, PrecomputedAffinities

    rows = rows_like_eigenvectors(nodes)
    iterations = sum(ITERATIONS)
    tsne(rows[:2000], 3, perplexity=30, seed=0)  # compiled before
    began = time.perf_counter()
    places, ours, _ = tsne(rows, 3, perplexity=30, seed=0)
    whole = time.perf_counter() - began
    began = time.perf_counter()
    found = PerplexityBasedNN(
        rows, 30, method="exact", n_jobs=torch.get_num_threads(), knn_kwargs={"algorithm": "kd_tree"}
    )
    affinity_time = time.perf_counter() - began
    joint = PrecomputedAffinities(found.P, normalize=False)
    if nodes <= WHOLE_PEER:
        taken, theirs = barnes_hut(rows, joint, module._start(rows, 3, 0).astype(np.float64), ITERATIONS)
        told, peer = f"KL {(their_kl := kl_of(rows, theirs)):.4f}", taken + affinity_time
    else:
        taken, _ = barnes_hut(rows, joint, places.astype(np.float64), (0, PART))
        told, peer, their_kl = "KL not known", taken / PART * iterations + affinity_time, np.inf
    with Threads() as threads:
        ours_alone = seconds(lambda: affinities(torch.from_numpy(rows), 30.0, threads), 1)
    spread = seconds(lambda: nearest_rows(rows[:4096], rows), 2) / 4096
    print(f"\nm = {nodes}, {torch.get_num_threads()} thread(s), {iterations} iterations")
    print(f"  ours, whole            {whole:8.1f} s   KL {ours:.4f}, of which affinities {ours_alone:.1f} s")
    print(f"  floor                  {floor_seconds(rows, places)}")
    print(f"  openTSNE Barnes-Hut    {peer:8.1f} s   {told}{'' if nodes <= WHOLE_PEER else ' (extrapolated)'}")
    print(f"  ratio                  {peer / whole:8.1f}")
    print(f"  of which affinities    {affinity_time:8.1f} s")
    print(f"  placing a further node {spread * 1e6:8.1f} us")
    assert ours <= 1.005 * their_kl
    assert peer > 20 * whole


def test_a_thousand_nodes() -> None:
    """A slot of `color --per-slot`: t-SNE alone, compiled before."""
    rows = rows_like_eigenvectors(1000)
    tsne(rows[:100], 3, perplexity=30, seed=0)
    taken = seconds(lambda: tsne(rows, 3, perplexity=30, seed=0), 5)
    print(f"\nm = 1000: {taken:.2f} s")
    assert taken < 0.4
