"""t-SNE in three dimensions at m = 1e4 (and 1e5) beside openTSNE's Barnes-Hut, on the same rows from the same start.

    pytest -m benchmark -s tests/benchmarks/test_color_speed.py
    ALIGNEDCUT_LARGE=1 pytest -m benchmark -s tests/benchmarks/test_color_speed.py     m = 1e5, too

Rows stand for eigenvectors: groups of unequal size on curves in 20 columns. Where Barnes-Hut would take too long it runs
20 iterations at our final places, which gives its time per iteration there; its divergence is then not known. The grid
row is the time of one forward and one inverse FFT alone on the grid that interpolation at spacing 1 would need for the
final places (padded to twice the extent): a floor under any method on such a grid.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from alignedcut_cli.core.embed import tsne as module
from alignedcut_cli.core.embed.colours import nearest_rows
from alignedcut_cli.core.embed.tsne import ITERATIONS, REPULSIONS, choose_repulsion, divergence, tsne

pytestmark = pytest.mark.benchmark

SIZES = (10_000, 100_000) if os.environ.get("ALIGNEDCUT_LARGE") else (10_000,)
WHOLE_PEER, PART, LARGEST_GRID = 20_000, 20, 512


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


def grid_seconds(places: np.ndarray) -> str:
    side = int(2 * np.ptp(places, 0).max())
    if side > LARGEST_GRID:
        return f"{side}^3 does not fit"
    cube = torch.zeros(side, side, side)
    return f"{seconds(lambda: torch.fft.irfftn(torch.fft.rfftn(cube)), 2) * 1e3:6.0f} ms"


@pytest.mark.parametrize("nodes", SIZES)
def test_three_dimensions_beside_barnes_hut(nodes: int) -> None:
    from openTSNE.affinity import PerplexityBasedNN, PrecomputedAffinities

    rows = rows_like_eigenvectors(nodes)
    iterations = sum(ITERATIONS)
    began = time.perf_counter()
    places, ours, _ = tsne(rows, 3, perplexity=30, seed=0)
    whole = time.perf_counter() - began
    began = time.perf_counter()
    found = PerplexityBasedNN(
        rows, 30, method="exact", n_jobs=torch.get_num_threads(), knn_kwargs={"algorithm": "kd_tree"}
    )
    affinity_time = time.perf_counter() - began
    affinities = PrecomputedAffinities(found.P, normalize=False)
    if nodes <= WHOLE_PEER:
        taken, theirs = barnes_hut(rows, affinities, module._start(rows, 3, 0), ITERATIONS)
        told, peer = f"KL {(their_kl := divergence(found.P, theirs)):.4f}", taken + affinity_time
    else:
        taken, _ = barnes_hut(rows, affinities, places.astype(np.float64), (0, PART))
        told, peer, their_kl = "KL not known", taken / PART * iterations + affinity_time, np.inf
    final = places.astype(np.float64)
    repulsion = REPULSIONS[choose_repulsion(nodes)](None)
    repulsion(final)
    once = seconds(lambda: repulsion(final))
    spread = seconds(lambda: nearest_rows(rows[:4096], rows), 2) / 4096
    print(
        f"\nm = {nodes}, {torch.get_num_threads()} thread(s), {iterations} iterations, extent {np.ptp(final, 0).max():.0f}"
    )
    print(f"  ours, whole            {whole:8.1f} s   KL {ours:.4f}")
    print(f"  openTSNE Barnes-Hut    {peer:8.1f} s   {told}{'' if nodes <= WHOLE_PEER else ' (extrapolated)'}")
    print(f"  ratio                  {peer / whole:8.1f}")
    print(f"  of which affinities    {affinity_time:8.1f} s")
    print(f"  one repulsion          {once * 1e3:8.0f} ms; FFTs of a grid alone {grid_seconds(final)}")
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
