"""Rows of a cut of graphs for the places of new images: against dense float64, and what they are for known images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.graph import new_images
from alignedcut_cli.core.graph.mean_of_graphs import LayerGraph, area_average, ncut_of_graphs
from alignedcut_cli.core.graph.ncut import Cut
from alignedcut_cli.core.graph.neighbours import nearest_among
from alignedcut_cli.core.graph.new_images import Edges, KnownGraph, Limits, edges_of, embedded_rows
from alignedcut_cli.core.graph.sparse_graph import cosine_graph
from alignedcut_cli.core.numerics import NumericsError
from tests.graph.test_graphs import GRID, P, places

LIMITS = Limits(within=5, across=8, threshold=0.1)
BASE, NEW, COUNT = 10, 3, 6


def planted(images: int, width: int = 16, seed: int = 0, spread: float = 0.4) -> Tensor:
    """Places around four directions that all seeds share: (images * P, width)."""
    centres = torch.randn(4, width, generator=torch.Generator().manual_seed(99))
    random = torch.Generator().manual_seed(seed)
    chosen = torch.randint(4, (images * P,), generator=random)
    return centres[chosen] + spread * torch.randn(images * P, width, generator=random)


def cut_of(pairs: list[tuple[Tensor, Tensor]], grids: list[tuple[int, int]], weights: list[float]) -> tuple[Cut, list]:
    """The cut of some graphs, and each as the embedding gets it."""
    graphs = [
        cosine_graph(q, k, rows * columns, within=5, across=8)
        for (q, k), (rows, columns) in zip(pairs, grids, strict=True)
    ]
    cut = ncut_of_graphs([LayerGraph(*one) for one in zip(graphs, grids, weights, strict=True)], COUNT)
    known = [
        KnownGraph(q, k, torch.from_numpy(one.degrees), torch.from_numpy(one.least))
        for (q, k), one in zip(pairs, graphs, strict=True)
    ]
    return cut, known


def dense_edges(
    known: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], per_image: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A of new places with the cut's (n, M), A within new images (n, n), degrees of the cut's (M,)), in plain loops."""

    def unit(rows: Tensor) -> np.ndarray:
        return (rows.double() / rows.double().norm(dim=1, keepdim=True)).numpy()

    (q, k), (new_q, new_k) = (tuple(map(unit, one)) for one in (known, new))
    total, some = len(q), len(new_q)
    kept = np.zeros((total, total))
    worst = np.full(total, 0.1)
    for i in range(total):
        row = q[i] @ k.T
        own = [j for j in range(total) if j // per_image == i // per_image and j != i]
        others = sorted((j for j in range(total) if j // per_image != i // per_image), key=lambda j: -row[j])[:8]
        worst[i] = max(0.1, row[others[-1]])
        for j in [*sorted(own, key=lambda j: -row[j])[:5], *others]:
            kept[i, j] = row[j] if row[j] > 0.1 else 0
    ahead, back, own = np.zeros((some, total)), np.zeros((some, total)), np.zeros((some, some))
    for i in range(some):
        row, column, mine = new_q[i] @ k.T, q @ new_k[i], new_q[i] @ new_k.T
        for j in sorted(range(total), key=lambda j: -row[j])[:8]:
            ahead[i, j] = row[j] if row[j] > 0.1 else 0
        back[i] = np.where(column > worst, column, 0)
        same = [j for j in range(some) if j // per_image == i // per_image and j != i]
        for j in sorted(same, key=lambda j: -mine[j])[:5]:
            own[i, j] = mine[j] if mine[j] > 0.1 else 0
    return (ahead + back) / 2, (own + own.T) / 2, (kept + kept.T).sum(1) / 2


def test_the_rows_are_those_of_the_equations_in_dense_float64() -> None:
    """Two graphs of different weights, of which one is on a coarser grid."""
    fine, coarse = (planted(BASE, seed=1), places(BASE, seed=2)), (planted(BASE, seed=3)[: BASE * 4],) * 2
    others = (planted(NEW, seed=4), places(NEW, seed=2)), (planted(NEW, seed=5)[: NEW * 4],) * 2
    grids, weights = [GRID, (2, 2)], [1.0, 3.0]
    cut, known = cut_of([fine, coarse], grids, weights)
    down = torch.kron(area_average(3, 2), area_average(4, 2)).double().numpy()
    maps = [np.eye(P), down]
    x, values = cut.eigenvectors.double().numpy(), cut.eigenvalues.double().numpy()
    parts = []
    for pair, new, one, (rows, columns) in zip((fine, coarse), others, maps, grids, strict=True):
        to_cut, own, degrees = dense_edges(pair, new, rows * columns)
        sums = to_cut / np.sqrt(degrees) @ np.kron(np.eye(BASE), one) @ x
        parts.append((sums, to_cut.sum(1), own, np.kron(np.eye(NEW), one)))
    first = (
        sum(w / 4 * m.T @ (s / np.sqrt(a)[:, None]) for w, (s, a, _, m) in zip(weights, parts, strict=True)) / values
    )
    wanted = np.zeros_like(first)
    for w, (s, a, own, m) in zip(weights, parts, strict=True):
        root = 1 / np.sqrt(a + own.sum(1))[:, None]
        wanted += w / 4 * m.T @ (root * (s + own @ (root * (m @ first)))) / values
    edges = [
        edges_of(one, *new, cut.eigenvectors, LIMITS, fine=GRID, grid=grid, weight=weight)
        for one, new, grid, weight in zip(known, others, grids, weights, strict=True)
    ]
    found, alone = embedded_rows(edges, cut.eigenvalues, GRID)
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-6)
    assert not alone.any()


def embedded(base: Tensor, new: Tensor) -> tuple[Cut, Tensor]:
    cut, known = cut_of([(base, base)], [GRID], [1.0])
    edges = edges_of(known[0], new, new, cut.eigenvectors, LIMITS, fine=GRID, grid=GRID)
    return cut, embedded_rows([edges], cut.eigenvalues, GRID)[0]


def cosines(one: Tensor, other: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(one, other, dim=1)


def test_places_of_the_same_images_come_back_to_their_own_rows() -> None:
    """Not exactly: an image that comes back is its copy's neighbour, as no image is its own."""
    rows = planted(BASE)
    cut, found = embedded(rows, rows[: 4 * P])
    alike = cosines(found, cut.eigenvectors[: 4 * P])
    assert float(alike.mean()) > 0.98 and float(alike.min()) > 0.85
    shuffled = cosines(found, cut.eigenvectors[: 4 * P].roll(5, 0))
    assert float(shuffled.mean()) < 0.7


def test_new_places_lie_where_the_cut_of_all_images_has_them() -> None:
    rows = planted(BASE + NEW, seed=7)
    cut, found = embedded(rows[: BASE * P], rows[BASE * P :])
    whole = cut_of([(rows, rows)], [GRID], [1.0])[0].eigenvectors[:, :4]
    turn = torch.linalg.lstsq(whole[: BASE * P], cut.eigenvectors[:, :4]).solution
    assert float(cosines(found[:, :4], whole[BASE * P :] @ turn).mean()) > 0.97


def test_an_image_is_embedded_alike_alone_and_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    base, new = planted(BASE), planted(NEW, seed=3)
    cut, known = cut_of([(base, base)], [GRID], [1.0])

    def rows_of(some: Tensor) -> Tensor:
        edges = edges_of(known[0], some, some, cut.eigenvectors, LIMITS, fine=GRID, grid=GRID)
        return embedded_rows([edges], cut.eigenvalues, GRID)[0]

    together = rows_of(new)
    alone = torch.cat([rows_of(part) for part in new.split(P)])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=1e-5)
    monkeypatch.setattr(new_images, "ROW_TILE", 7)
    monkeypatch.setattr(new_images, "COLUMN_TILE", 11)
    torch.testing.assert_close(rows_of(new), together, atol=1e-6, rtol=1e-5)
    order = torch.randperm(P, generator=torch.Generator().manual_seed(0))
    turned = new.clone()
    turned[:P] = new[:P][order]
    torch.testing.assert_close(rows_of(turned)[:P], together[:P][order], atol=1e-5, rtol=1e-4)


def test_a_place_without_a_neighbour_has_a_row_of_zeros() -> None:
    base, new = planted(BASE), planted(NEW, seed=3)
    base, new = (torch.nn.functional.pad(one, (0, 1)) for one in (base, new))
    new[4] = torch.nn.functional.one_hot(torch.tensor(16), 17).float()
    cut, known = cut_of([(base, base)], [GRID], [1.0])
    edges = edges_of(known[0], new, new, cut.eigenvectors, LIMITS, fine=GRID, grid=GRID)
    rows, alone = embedded_rows([edges], cut.eigenvalues, GRID)
    assert alone.nonzero().squeeze(1).tolist() == [4] and not rows[4].any() and torch.isfinite(rows).all()
    with pytest.raises(NumericsError, match=r"eigenvalue 0\.001 is less than 0\.01"):
        embedded_rows([edges], cut.eigenvalues.clamp(max=0.001), GRID)


def test_weights_are_those_of_a_mean() -> None:
    base, new = planted(BASE), planted(NEW, seed=3)
    cut, known = cut_of([(base, base)], [GRID], [1.0])
    one = edges_of(known[0], new, new, cut.eigenvectors, LIMITS, fine=GRID, grid=GRID)
    twice: list[Edges] = [replace(one, weight=0.3), replace(one, weight=2.0)]
    single, double = (embedded_rows(some, cut.eigenvalues, GRID)[0] for some in ([one], twice))
    torch.testing.assert_close(single, double, atol=1e-6, rtol=1e-5)


def test_the_nearest_among_others_are_the_largest_of_each_row() -> None:
    queries, keys = (torch.nn.functional.normalize(places(images, seed=images), dim=1) for images in (2, 9))
    found = nearest_among(queries, keys, 7, 0.1)
    products = queries @ keys.T
    for i, row in enumerate(products):
        values, ids = row.topk(7)
        wanted = sorted(ids[values > 0.1].tolist())
        assert found.ids[i, : found.counts[i]].tolist() == wanted
    least = torch.from_numpy(found.least(0.1))
    full = torch.from_numpy(found.counts == 7)
    torch.testing.assert_close(least[full], products.topk(7).values[full, -1])
    assert (least[~full] == torch.tensor(0.1)).all()
