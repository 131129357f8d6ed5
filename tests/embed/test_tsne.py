"""t-SNE: forces against float64 loops, the gradient against differences, the divergence against Barnes-Hut's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openTSNE import TSNE
from scipy.sparse import csr_matrix

from alignedcut_cli.core.embed import tsne as module
from alignedcut_cli.core.embed.tsne import REPULSIONS, choose_repulsion, divergence, tsne
from alignedcut_cli.core.embed.tsne_exact import exact_repulsion
from alignedcut_cli.core.embed.tsne_tree import Tree
from alignedcut_cli.core.numerics import NumericsError

# Of all forces by norm, and of Z. Exact: sums are float32; tree: worst for thousands of places in one dense ball
BOUNDS = {"exact": (5e-4, 1e-5), "tree": (0.04, 0.015)}


def repulsion_reference(places: np.ndarray) -> tuple[np.ndarray, float]:
    """F_i = sum_j (y_i - y_j) k_ij^2 and Z, place by place in float64."""
    forces, total = np.zeros_like(places), 0.0
    for number, place in enumerate(places):
        apart = place - places
        kernel = 1 / (1 + (apart**2).sum(1))
        forces[number] = (apart * kernel[:, None] ** 2).sum(0)
        total += kernel.sum() - 1
    return forces, total


def scattered(nodes: int, dims: int, scale: float, groups: int = 12) -> np.ndarray:
    """Places as t-SNE leaves them: tight groups, some of them close, in much empty space."""
    generator = np.random.default_rng(nodes + dims)
    centres = generator.normal(size=(groups, dims)) * scale
    spread = generator.uniform(0.02, 0.2, groups)[np.arange(nodes) % groups, None] * scale
    return centres[np.arange(nodes) % groups] + generator.normal(size=(nodes, dims)) * spread


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def require_close(
    found: tuple[np.ndarray, float], wanted: tuple[np.ndarray, float], bounds: tuple[float, float]
) -> None:
    assert relative(found[0], wanted[0]) < bounds[0]
    assert abs(found[1] / wanted[1] - 1) < bounds[1]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", REPULSIONS)
def test_forces_are_those_of_all_pairs(name: str, dims: int, scale: float) -> None:
    places = scattered(700, dims, scale) + 5
    require_close(REPULSIONS[name](None)(places), repulsion_reference(places), BOUNDS[name])


def test_the_bound_can_fail() -> None:
    places = scattered(700, 3, 30.0)
    coarse = Tree(theta=3.0)(places)
    with pytest.raises(AssertionError):
        require_close(coarse, repulsion_reference(places), BOUNDS["tree"])


@pytest.mark.parametrize(("leaf", "group"), [(2, 2), (4, 8), (8, 64), (50, 60)])
def test_a_tree_that_calls_nothing_far_is_exact(leaf: int, group: int) -> None:
    places = scattered(203, 3, 10.0)
    tree = Tree(theta=1e-9, flat=0, leaf=leaf, group=group)
    require_close(tree(places), repulsion_reference(places), BOUNDS["exact"])


def test_a_smaller_theta_is_closer() -> None:
    places = scattered(900, 3, 20.0)
    wanted, _ = repulsion_reference(places)
    errors = [relative(Tree(theta=theta)(places)[0], wanted) for theta in (1.0, 0.5, 0.2)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@settings(deadline=None, max_examples=40)
@given(nodes=st.integers(1, 90), copies=st.integers(1, 5), dims=st.sampled_from([2, 3]), scale=st.floats(1e-6, 50))
def test_any_number_of_places_and_of_duplicates(nodes: int, copies: int, dims: int, scale: float) -> None:
    places = np.repeat(np.random.default_rng(nodes).normal(size=(nodes, dims)) * scale, copies, 0)
    wanted, total = repulsion_reference(places)
    # Of float32 in the tree: squared distances lose what their squared extent times 1e-7 is, sums what the extent is
    extent = float(np.ptp(places, 0).max()) + 1
    for name, make in REPULSIONS.items():
        forces, found = make(None)(places)
        assert found == pytest.approx(total, rel=BOUNDS[name][1], abs=1e-6 * extent**2 * len(places) * copies)
        assert np.linalg.norm(forces - wanted) <= 0.1 * np.linalg.norm(wanted) + 1e-6 * extent * len(places) * copies


@pytest.mark.parametrize("name", REPULSIONS)
def test_neither_the_order_nor_the_origin_of_places_matters(name: str) -> None:
    places = scattered(400, 3, 10.0)
    forces, total = REPULSIONS[name](None)(places)
    order = np.random.default_rng(0).permutation(len(places))
    mixed, same = REPULSIONS[name](None)(places[order])
    assert relative(mixed, forces[order]) < 1e-4
    assert same == pytest.approx(total, rel=1e-5)
    moved, same = REPULSIONS[name](None)(places + [100, -3, 7])
    assert relative(moved, forces) < 1e-4
    assert same == pytest.approx(total, rel=1e-5)


def test_lists_that_are_kept_serve_while_places_move_little() -> None:
    places = scattered(600, 3, 20.0)
    tree, steps = Tree(kept=3), np.random.default_rng(1).normal(size=(2, 600, 3)) * 0.1
    first = tree(places)
    for step in steps:
        places = places + step
        require_close(tree(places), repulsion_reference(places), BOUNDS["tree"])
    assert first[1] != tree(places)[1]
    leap = places[::-1] * 1.5
    require_close(tree(leap), repulsion_reference(leap), BOUNDS["tree"])


def test_forces_depend_on_the_number_of_threads_by_rounding_alone() -> None:
    places = scattered(2000, 3, 20.0)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append([REPULSIONS[name](None)(places)[0] for name in REPULSIONS])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert relative(two, one) < 1e-6


def test_the_exact_repulsion_runs_on_a_device_and_the_tree_refuses_it() -> None:
    places = scattered(50, 2, 3.0)
    require_close(exact_repulsion(places, torch.device("cpu")), repulsion_reference(places), BOUNDS["exact"])
    with pytest.raises(NumericsError, match="the tree runs on the CPU"):
        REPULSIONS["tree"](torch.device("cuda"))


def test_few_nodes_or_a_gpu_take_all_pairs() -> None:
    cuda = torch.device("cuda")
    assert [choose_repulsion(m) for m in (100, 1500, 1501, 100_000)] == ["exact", "exact", "tree", "tree"]
    assert [choose_repulsion(m, cuda) for m in (100, 100_000)] == ["exact", "exact"]


# the objective


def affinities(nodes: int) -> csr_matrix:
    """A symmetric sparse P that sums to 1, no diagonal."""
    generator = np.random.default_rng(nodes)
    dense = generator.uniform(size=(nodes, nodes)) * (generator.uniform(size=(nodes, nodes)) < 0.2)
    np.fill_diagonal(dense, 0)
    dense = dense + dense.T
    return csr_matrix(dense / dense.sum())


def divergence_reference(P: np.ndarray, places: np.ndarray) -> float:
    kernel = 1 / (1 + ((places[:, None] - places[None]) ** 2).sum(2))
    np.fill_diagonal(kernel, 0)
    there = P > 0
    return float((P[there] * np.log(P[there] / (kernel / kernel.sum())[there])).sum())


@pytest.mark.parametrize("dims", [2, 3])
def test_the_divergence_is_that_of_its_definition(dims: int) -> None:
    P, places = affinities(60), scattered(60, dims, 3.0)
    assert divergence(P, places) == pytest.approx(divergence_reference(P.toarray(), places), rel=1e-6)


def test_the_divergence_of_many_places_is_that_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    P, places = affinities(800), scattered(800, 3, 15.0)
    whole = divergence(P, places)
    monkeypatch.setattr(module, "EXACT_DIVERGENCE", 1)
    coarse = divergence(P, places)
    assert coarse != whole
    assert abs(coarse - whole) < 1e-3


@pytest.mark.parametrize("name", REPULSIONS)
def test_the_gradient_is_a_quarter_of_the_divergence_s(name: str) -> None:
    P, places = affinities(40), scattered(40, 3, 2.0)
    _, found = module._Gradient(REPULSIONS[name](None), None)(places, P, n_jobs=1, should_eval_error=False)
    wanted = np.zeros_like(places)
    for at in np.ndindex(places.shape):
        step = np.zeros_like(places)
        step[at] = 1e-5
        rise = divergence_reference(P.toarray(), places + step) - divergence_reference(P.toarray(), places - step)
        wanted[at] = rise / 2e-5 / 4
    assert relative(found, wanted) < {"exact": 1e-4, "tree": 0.02}[name]


def curved(nodes: int) -> np.ndarray:
    """Rows like eigenvectors: groups on curves, with small noise in the rest of 10 columns, some rows nearly equal."""
    generator = np.random.default_rng(nodes)
    member, along = np.arange(nodes) % 6, generator.uniform(-1, 1, nodes)
    axes = generator.normal(size=(2, 6, 10))
    rows = 3 * axes[0, member] + along[:, None] * axes[1, member] + generator.normal(size=(nodes, 10)) * 0.05
    rows[: nodes // 10] = rows[0] + generator.normal(size=(nodes // 10, 10)) * 1e-6
    return rows.astype(np.float32)


@pytest.mark.parametrize(("dims", "name"), [(3, "exact"), (3, "tree"), (2, "tree")])
def test_the_divergence_is_within_two_percent_of_barnes_hut_s(dims: int, name: str) -> None:
    rows = curved(500)
    places, found, _ = tsne(rows, dims, perplexity=20, seed=0, repulsion=name)
    theirs = TSNE(
        n_components=dims,
        perplexity=20,
        initialization=module._start(rows, dims, 0),
        negative_gradient_method="bh",
        neighbors="exact",
        random_state=0,
    ).fit(rows)
    assert np.isfinite(places).all()
    assert found < 1.02 * divergence(theirs.affinities.P, np.asarray(theirs))


@pytest.mark.parametrize("name", REPULSIONS)
def test_the_same_rows_give_the_same_bytes(name: str) -> None:
    rows = curved(150)
    first, again = (tsne(rows, 3, perplexity=10, seed=3, repulsion=name)[0] for _ in range(2))
    assert first.tobytes() == again.tobytes()
