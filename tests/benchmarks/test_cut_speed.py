"""The exact cut beside a full eigendecomposition and the floor of its products; lowrank beside its peers at any size.

    pytest -m benchmark -s tests/benchmarks/test_cut_speed.py

ALIGNEDCUT_BENCH_SIZES (default 10000,100000,1000000) sets the sizes of the second, at D = 768; 20000 is the small
version. The solvers take turns, and the table has their medians.

Floor: a product with the affinity of M nodes, of which each tile serves twice, is M^2 D + 2 M^2 b floating-point
operations (b = C + 4 columns) and M^2 / 2 exponentials; the solver makes about ten of them.
"""

from __future__ import annotations

import os
import statistics
import time

import pytest
import torch

from alignedcut_cli.core.graph.affinity import affinity_product, unit_rows
from alignedcut_cli.core.graph.lowrank import landmark_count, ncut_lowrank, pilot_nodes, spare_columns
from alignedcut_cli.core.graph.ncut import EXTRA_BLOCK, ncut_exact
from alignedcut_cli.core.graph.quantised_cosines import product_speed, quick_precisions
from tests.benchmarks.cutting import PEERS, Peak, importable, print_row, skewed, threads, watched
from tests.helpers.reference import clusters, dense_cut, projector_distance

pytestmark = pytest.mark.benchmark

WIDTH, COUNT, ROUNDS = 192, 20, 3
SIZES = [int(text) for text in os.environ.get("ALIGNEDCUT_BENCH_SIZES", "10000,100000,1000000").split(",")]
WIDE, LEAST_RATIO, LEAST_NODES = 768, 4, 100_000


def test_exact_cut_is_far_faster_than_a_full_eigendecomposition() -> None:
    features = clusters(3000, WIDTH, groups=COUNT, spread=0.8)
    began = time.perf_counter()
    _, vectors = dense_cut(features, COUNT)
    dense = time.perf_counter() - began
    ours = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        cut = ncut_exact(features, COUNT)
        ours.append(time.perf_counter() - began)
    ratio = dense / statistics.median(ours)
    error = projector_distance(cut.eigenvectors, vectors)
    print(
        f"\n3000 nodes: dense float64 {dense:.2f} s, exact {statistics.median(ours):.2f} s: {ratio:.0f} x, error {error:.1e}"
    )
    assert ratio > 3
    assert error < 1e-4


@pytest.mark.parametrize("nodes", [4000, 12_000])
def test_a_product_against_the_floor_of_its_arithmetic(nodes: int) -> None:
    units = unit_rows(clusters(nodes, WIDTH))
    block = torch.randn(nodes, COUNT + EXTRA_BLOCK)
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    speeds, shares = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        left @ right
        speeds.append(2 * 2048**3 / (time.perf_counter() - began))
        began = time.perf_counter()
        affinity_product(units, block, 1.0, 1024)
        work = nodes**2 * (WIDTH + 2 * block.shape[1])
        shares.append(work / speeds[-1] / (time.perf_counter() - began))
    share = statistics.median(shares)
    print(
        f"\n{nodes} nodes: {statistics.median(speeds) / 1e9:.0f} GFLOP/s, the product runs at {share:.0%} of its arithmetic"
    )
    assert share > 0.3


def lowrank_floor(nodes: int, precision: str) -> float:
    """Seconds that lowrank's products alone take: the pilot's in float32, the pass's in its precision."""
    cpu, size = torch.device("cpu"), landmark_count(nodes)
    pilot, exact_rows = pilot_nodes(nodes, size), 256
    first = 2 * 8 * size**2 * WIDE + 2 * pilot * size * (WIDE + size) + pilot * size**2 * 2
    later = 2 * nodes * ((size + exact_rows) * WIDE) if pilot < nodes else 2 * nodes * exact_rows * WIDE
    project = 2 * nodes * size * spare_columns(COUNT) if pilot < nodes else 0
    quick = product_speed(cpu, precision if pilot < nodes else "float32")
    return (first + project) / product_speed(cpu) + later / quick


def take_turns(nodes: int, precision: str) -> dict[str, list[Peak]]:
    """Seconds and peak memory of lowrank (float16 features, as they are stored) and of each peer (float32), in turns."""
    features = skewed(nodes, WIDE)
    half = features.half()
    units = unit_rows(features)
    del features

    def ours(precision: str) -> None:
        ncut_lowrank(
            lambda a, b: half[a:b].float(), nodes, COUNT, precision=precision, take=lambda ids: half[ids].float()
        )

    solvers = {"lowrank": lambda: ours(precision), "lowrank float32": lambda: ours("float32")}
    if importable("ncut_pytorch"):
        solvers["ncut_pytorch"] = lambda: PEERS["ncut_pytorch"](units, COUNT, 1.0)
    found: dict[str, list[Peak]] = {name: [] for name in solvers}
    for _ in range(ROUNDS):
        for name, solve in solvers.items():
            with watched() as peak:
                solve()
            found[name].append(peak)
    return found


def test_lowrank_beside_its_peers_at_every_size() -> None:
    torch.set_num_threads(threads())
    precision = quick_precisions(torch.device("cpu"))[-1]
    widths, slow = [9, 17, 9, 11, 11, 9], []
    print(f"\n{threads()} threads, {precision}")
    print_row(["M", "solver", "median s", "us a node", "MB beyond X", "of floor"], widths)
    for nodes in SIZES:
        medians = {}
        for name, peaks in take_turns(nodes, precision).items():
            medians[name] = statistics.median(peak.seconds for peak in peaks)
            beyond = max(peak.bytes for peak in peaks) - 4 * nodes * COUNT
            kind = {"lowrank": precision, "lowrank float32": "float32"}.get(name)
            share = f"{lowrank_floor(nodes, kind) / medians[name]:.0%}" if kind else ""
            each = 1e6 * medians[name] / nodes
            print_row([str(nodes), name, f"{medians[name]:.2f}", f"{each:.2f}", f"{beyond / 1e6:.0f}", share], widths)
        if "ncut_pytorch" in medians:
            ratio = medians["ncut_pytorch"] / medians["lowrank"]
            print(f"{nodes}: lowrank is {ratio:.1f} times as fast as ncut-pytorch")
            if nodes >= LEAST_NODES and ratio < LEAST_RATIO:
                slow.append(f"{nodes}: {ratio:.1f} times")
    assert not slow, f"below {LEAST_RATIO} times as fast: {'; '.join(slow)}"
