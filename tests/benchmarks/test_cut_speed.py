"""The exact cut beside a full eigendecomposition, and beside the floor of its matrix products.

Floor: a product with the affinity of M nodes, of which each tile serves twice, is M^2 D + 2 M^2 b floating-point
operations (b = C + 4 columns) and M^2 / 2 exponentials; the solver makes about ten of them.
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch

from alignedcut_cli.core.affinity import affinity_product, unit_rows
from alignedcut_cli.core.ncut import EXTRA_BLOCK, ncut_exact
from tests.reference import clusters, dense_cut, projector_distance

pytestmark = pytest.mark.benchmark

WIDTH, COUNT, ROUNDS = 192, 20, 3


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
