"""t-SNE: affinities, forces and steps against slow float64 versions, the divergence against Barnes-Hut's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openTSNE import TSNE
from openTSNE.affinity import PrecomputedAffinities
from scipy.sparse import csr_matrix

from alignedcut_cli.core.embed import affinities as module
from alignedcut_cli.core.embed import descent, kernels, perplexity
from alignedcut_cli.core.embed import tsne as schedule
from alignedcut_cli.core.embed.affinities import affinities, conditionals, nearest_others
from alignedcut_cli.core.embed.descent import OnHost
from alignedcut_cli.core.embed.device import OnDevice, pull_all, push_all
from alignedcut_cli.core.embed.forces import AllPairs, Tree
from alignedcut_cli.core.embed.on_host import Affinities
from alignedcut_cli.core.embed.threads import Threads
from alignedcut_cli.core.embed.tsne import ITERATIONS, REPULSIONS, ROUND, choose_repulsion, tsne
from alignedcut_cli.core.numerics import NumericsError
from tests.helpers.forks import fresh_python

# Of all forces by norm, and of Z. Exact: sums are float32; tree: worst for thousands of places in one dense ball
BOUNDS = {"exact": (5e-4, 1e-5), "tree": (0.04, 0.015)}


def repulsion(name: str, places: np.ndarray, **options: float) -> tuple[np.ndarray, float]:
    """F and Z of float64 places (m, d), centred first, as t-SNE has them."""
    dims = places.shape[1]
    centred = np.pad(places - places.mean(0), ((0, 0), (0, 3 - dims))).astype(np.float32)
    with Threads() as threads:
        made = Tree(threads, **options) if name == "tree" else AllPairs(threads)  # pyright: ignore[reportArgumentType]
        forces, total = made(centred)
    assert not forces[:, dims:].any()
    return forces[:, :dims].astype(np.float64), total


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
    require_close(repulsion(name, places), repulsion_reference(places), BOUNDS[name])


def test_the_bound_can_fail() -> None:
    places = scattered(700, 3, 30.0)
    coarse = repulsion("tree", places, theta=3.0)
    with pytest.raises(AssertionError):
        require_close(coarse, repulsion_reference(places), BOUNDS["tree"])


@pytest.mark.parametrize(("leaf", "group"), [(2, 2), (4, 8), (8, 64), (50, 60)])
def test_a_tree_that_calls_nothing_far_is_exact(leaf: int, group: int) -> None:
    places = scattered(203, 3, 10.0)
    found = repulsion("tree", places, theta=1e-9, flat=0, leaf=leaf, group=group)
    require_close(found, repulsion_reference(places), BOUNDS["exact"])


def test_a_smaller_theta_is_closer() -> None:
    places = scattered(900, 3, 20.0)
    wanted, _ = repulsion_reference(places)
    errors = [relative(repulsion("tree", places, theta=theta)[0], wanted) for theta in (1.0, 0.5, 0.2)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@settings(deadline=None, max_examples=40)
@given(nodes=st.integers(1, 90), copies=st.integers(1, 5), dims=st.sampled_from([2, 3]), scale=st.floats(1e-6, 50))
def test_any_number_of_places_and_of_duplicates(nodes: int, copies: int, dims: int, scale: float) -> None:
    places = np.repeat(np.random.default_rng(nodes).normal(size=(nodes, dims)) * scale, copies, 0)
    wanted, total = repulsion_reference(places)
    # Of float32 in the tree: squared distances lose what their squared extent times 1e-7 is, sums what the extent is
    extent = float(np.ptp(places, 0).max()) + 1
    for name in REPULSIONS:
        forces, found = repulsion(name, places)
        assert found == pytest.approx(total, rel=BOUNDS[name][1], abs=1e-6 * extent**2 * len(places) * copies)
        assert np.linalg.norm(forces - wanted) <= 0.1 * np.linalg.norm(wanted) + 1e-6 * extent * len(places) * copies


@pytest.mark.parametrize("name", REPULSIONS)
def test_neither_the_order_nor_the_origin_of_places_matters(name: str) -> None:
    places = scattered(400, 3, 10.0)
    forces, total = repulsion(name, places)
    order = np.random.default_rng(0).permutation(len(places))
    mixed, same = repulsion(name, places[order])
    assert relative(mixed, forces[order]) < 1e-4
    assert same == pytest.approx(total, rel=1e-5)
    moved, same = repulsion(name, places + [100, -3, 7])
    assert relative(moved, forces) < 1e-4
    assert same == pytest.approx(total, rel=1e-5)


def test_lists_that_are_kept_serve_while_places_move_little() -> None:
    places, steps = scattered(600, 3, 20.0), np.random.default_rng(1).normal(size=(2, 600, 3)) * 0.1
    with Threads() as threads:
        tree = Tree(threads, kept=3)
        first = tree(places.astype(np.float32))
        for step in steps:
            places = places + step
            require_close(tree(places.astype(np.float32)), repulsion_reference(places), BOUNDS["tree"])
        assert first[1] != tree(places.astype(np.float32))[1]
        leap = places[::-1] * 1.5
        require_close(tree(np.ascontiguousarray(leap, np.float32)), repulsion_reference(leap), BOUNDS["tree"])


@pytest.mark.parametrize("name", REPULSIONS)
def test_the_bytes_do_not_depend_on_the_number_of_threads(name: str) -> None:
    rows, before = curved(1600), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(repulsion(name, rows[:, :3].astype(float))[0].tobytes())
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(schedule, "ITERATIONS", (8, 8))
                patch.setattr(descent, "_LARGE_STEP", 1)
                found.append(tsne(rows[:600], 3, perplexity=20, seed=0, repulsion=name)[0].tobytes())
    finally:
        torch.set_num_threads(before)
    assert found[:2] == found[2:]


def test_few_nodes_or_a_gpu_take_all_pairs() -> None:
    cuda = torch.device("cuda")
    assert [choose_repulsion(m) for m in (100, 1500, 1501, 100_000)] == ["exact", "exact", "tree", "tree"]
    assert [choose_repulsion(m, cuda) for m in (100, 100_000)] == ["exact", "exact"]
    with pytest.raises(NumericsError, match="the tree runs on the CPU, not on cuda"):
        tsne(curved(20), 3, perplexity=5, seed=0, repulsion="tree", device=cuda)


# affinities


@settings(deadline=None, max_examples=40)
@given(nodes=st.integers(2, 300), width=st.integers(1, 9), share=st.floats(0, 1))
def test_the_nearest_others_are_the_nearest(nodes: int, width: int, share: float) -> None:
    rows = np.random.default_rng(nodes).normal(size=(nodes, width)).astype(np.float32)
    rows[: nodes // 3] = rows[0]
    count = max(1, min(nodes - 1, round(share * nodes)))
    with Threads() as threads:
        indices, squares = nearest_others(torch.from_numpy(rows), count, threads)
    distances = ((rows[:, None].astype(np.float64) - rows) ** 2).sum(2)
    np.testing.assert_allclose(np.take_along_axis(distances, indices.long().numpy(), 1), squares, rtol=1e-4, atol=1e-6)
    np.fill_diagonal(distances, np.inf)
    assert not (indices == torch.arange(nodes)[:, None]).any()
    assert all(len(set(one)) == count for one in indices.tolist())
    np.testing.assert_allclose(squares.sort(1).values, np.sort(distances, 1)[:, :count], rtol=1e-4, atol=1e-6)
    tiles = module._squares_of(torch.from_numpy(rows).T.contiguous(), nodes // 2, nodes)
    np.testing.assert_allclose(tiles, distances[nodes // 2 :], rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 99), scale=st.floats(1e-12, 1e12), perplexity=st.floats(1.5, 29))
def test_each_row_has_the_perplexity(seed: int, scale: float, perplexity: float) -> None:
    squares = np.random.default_rng(seed).gamma(0.7, size=(50, 30)) * scale
    found = conditionals(torch.from_numpy(squares), perplexity).numpy()
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(np.exp(-(found * np.log(found.clip(1e-300))).sum(1)), perplexity, rtol=1e-5)
    order = np.argsort(squares, 1)
    assert (np.diff(np.take_along_axis(found, order, 1)) <= 0).all()


def test_neighbours_that_are_equally_near_share_alike() -> None:
    squares = torch.tensor([[1.0] * 6, [0.0] * 4 + [1.0, 9.0], [0.0, 0.0, 1e-30, 1.0, 2.0, 3.0]])
    found = conditionals(squares, 3.0)
    assert found[0].tolist() == pytest.approx([1 / 6] * 6)
    assert found[1].tolist() == pytest.approx([1 / 4] * 4 + [0, 0])
    assert found[2].isfinite().all()


def test_the_compiled_perplexity_is_the_written_one_and_torchs() -> None:
    squares = np.random.default_rng(1).gamma(0.7, size=(40, 25)).astype(np.float32)
    squares[0], squares[1, :9] = 2.0, 0.0
    found, written = np.empty((2, 40, 25))
    for loop, shares in ((perplexity.conditionals, found), (perplexity.conditionals.py_func, written)):
        loop(squares, float(np.log(6.0)), 100, 1e-7, 0, 17, shares)
        loop(squares, float(np.log(6.0)), 100, 1e-7, 17, 40, shares)
    np.testing.assert_allclose(found, written, rtol=1e-9, atol=1e-15)
    wanted = module._solve(torch.from_numpy(squares).double(), float(np.log(6.0)))
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("told", ["1", ""])
def test_without_torch_the_threads_are_as_many_as_told(told: str) -> None:
    code = """
import sys
from alignedcut_cli.core.embed import threads
assert "torch" not in sys.modules
alone = threads.thread_count()
import torch
print(alone, torch.get_num_threads(), threads.thread_count())
"""
    done = fresh_python(f"import os\nos.environ.update(OMP_NUM_THREADS={told!r}, MKL_NUM_THREADS={told!r})\n{code}")
    alone, torchs, beside = done.stdout.split()
    assert torchs == beside and 1 <= int(alone) <= (os.cpu_count() or 1)
    assert not told or alone == torchs == told


def joint_reference(rows: np.ndarray, perplexity: float) -> np.ndarray:
    """P (m, m) with the perplexity found by bisection over each row's neighbours, float64."""
    distances = ((rows[:, None].astype(np.float64) - rows) ** 2).sum(2)
    np.fill_diagonal(distances, np.inf)
    found = np.zeros_like(distances)
    for number, row in enumerate(distances):
        near = np.argsort(row)[: min(len(row) - 1, int(3 * perplexity))]
        low, high = -60.0, 60.0
        for _ in range(200):
            middle = (low + high) / 2
            shares = np.exp(-np.exp(middle) * (row[near] - row[near].min()))
            shares /= shares.sum()
            entropy = -(shares * np.log(shares.clip(1e-300))).sum()
            low, high = (middle, high) if entropy > np.log(perplexity) else (low, middle)
        found[number, near] = shares
    return (found + found.T) / (2 * len(found))


def dense(joint: Affinities) -> np.ndarray:
    count = len(joint.bounds) - 1
    found = np.zeros((count, count))
    found[np.arange(count).repeat(joint.bounds.diff()), joint.columns] = joint.values
    return found


def joint_of(rows: np.ndarray, perplexity: float = 10.0) -> Affinities:
    with Threads() as threads:
        return affinities(torch.from_numpy(rows), perplexity, threads)


def test_affinities_are_those_of_their_definition() -> None:
    rows = curved(90)[9:]
    found, wanted = dense(joint_of(rows, 7.0)), joint_reference(rows, 7.0)
    assert found.sum() == pytest.approx(1)
    assert (found == found.T).all() and not found.diagonal().any()
    np.testing.assert_allclose(found, wanted, atol=1e-6 * wanted.max(), rtol=1e-3)


# steps


def divergence_reference(P: np.ndarray, places: np.ndarray) -> float:
    kernel = 1 / (1 + ((places[:, None] - places[None]) ** 2).sum(2))
    np.fill_diagonal(kernel, 0)
    there = P > 0
    return float((P[there] * np.log(P[there] / (kernel / kernel.sum())[there])).sum())


def start(nodes: int, scale: float = 3.0) -> np.ndarray:
    places = scattered(nodes, 3, scale)
    return (places - places.mean(0)).astype(np.float32)


def host(joint: Affinities, places: np.ndarray, repulsion: str = "exact") -> OnHost:
    with Threads() as threads:  # ended: it starts no threads for so few
        return OnHost(joint, places.copy(), repulsion, threads)


def test_the_divergence_is_that_of_its_definition() -> None:
    joint, places = joint_of(curved(60)), start(60)
    wanted = divergence_reference(dense(joint), places.astype(np.float64))
    assert host(joint, places).divergence() == pytest.approx(wanted, rel=1e-5)
    assert OnDevice(joint, places.copy()).divergence() == pytest.approx(wanted, rel=1e-5)


def test_the_divergence_of_many_places_is_that_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    joint, places = joint_of(curved(800)), start(800, 15.0)
    with Threads() as threads:
        made = OnHost(joint, places, "tree", threads)
        whole = made.divergence()
        monkeypatch.setattr(descent, "EXACT_DIVERGENCE", 1)
        coarse = made.divergence()
    assert coarse != whole
    assert abs(coarse - whole) < 1e-3


def gradient_reference(P: np.ndarray, places: np.ndarray) -> np.ndarray:
    """sum_j (p_ij - q_ij) k_ij (y_i - y_j) in float64, for P exaggerated or not."""
    apart = places[:, None] - places[None]
    kernel = 1 / (1 + (apart**2).sum(2))
    np.fill_diagonal(kernel, 0)
    return (((P - kernel / kernel.sum()) * kernel)[:, :, None] * apart).sum(1)


def steps_reference(P: np.ndarray, places: np.ndarray, exaggeration: float, steps: int) -> np.ndarray:
    """Steps by the rule of `Descent`, in float64."""
    places, updates, gains = places.astype(np.float64), np.zeros_like(places, np.float64), np.ones_like(places)
    for _ in range(steps):
        gradient = gradient_reference(exaggeration * P, places)
        gains = np.where(np.sign(updates) != np.sign(gradient), gains + 0.2, gains * 0.8 + 0.01)
        updates = 0.8 * updates - len(places) / exaggeration * gains * gradient
        updates *= np.minimum(1, 5 / np.linalg.norm(updates, axis=1, keepdims=True))
        places = places + updates
        places = places - places.mean(0)
    return places


@pytest.mark.parametrize("exaggeration", [1.0, 12.0])
@pytest.mark.parametrize("make", [host, OnDevice])
def test_steps_are_those_of_the_rule(make: Callable[..., OnHost], exaggeration: float) -> None:
    joint, places = joint_of(curved(60)), start(60)
    made = make(joint, places.copy())
    for _ in range(5):
        made.step(exaggeration)
    wanted = steps_reference(dense(joint), places, exaggeration, 5)
    assert relative(wanted, places) > 0.01
    assert relative(made.state()["places"].astype(np.float64), wanted) < 1e-4


def test_no_step_is_longer_than_five() -> None:
    joint, places = joint_of(curved(60)), start(60, 0.01)
    made = host(joint, places)
    for _ in range(30):
        before = made.state()["places"]
        made.step(12.0)
        assert np.linalg.norm(made.state()["updates"], axis=1).max() <= 5.001
    assert not np.allclose(before, made.state()["places"])


def test_the_gradient_is_a_quarter_of_the_divergence_s() -> None:
    joint, places = joint_of(curved(40)), start(40, 2.0).astype(np.float64)
    P = dense(joint)
    pulls, _ = pull_all(joint, torch.from_numpy(places.astype(np.float32)))
    forces, sums = push_all(torch.from_numpy(places.astype(np.float32)))
    found = (pulls - forces / (sums.sum() - len(sums))).numpy().astype(np.float64)
    wanted = np.zeros_like(places)
    for at in np.ndindex(places.shape):
        step = np.zeros_like(places)
        step[at] = 1e-5
        wanted[at] = (divergence_reference(P, places + step) - divergence_reference(P, places - step)) / 2e-5 / 4
    assert relative(found, wanted) < 1e-4


# the whole


def curved(nodes: int) -> np.ndarray:
    """Rows like eigenvectors: groups on curves, with small noise in the rest of 10 columns, some rows nearly equal."""
    generator = np.random.default_rng(nodes)
    member, along = np.arange(nodes) % 6, generator.uniform(-1, 1, nodes)
    axes = generator.normal(size=(2, 6, 10))
    rows = 3 * axes[0, member] + along[:, None] * axes[1, member] + generator.normal(size=(nodes, 10)) * 0.05
    rows[: nodes // 10] = rows[0] + generator.normal(size=(nodes // 10, 10)) * 1e-6
    return rows.astype(np.float32)


def opentsne(rows: np.ndarray, dims: int, perplexity: float, **options: object) -> np.ndarray:
    """The places of openTSNE's Barnes-Hut, with our affinities and start."""
    joint = joint_of(rows, perplexity)
    size = (len(rows), len(rows))
    sparse = csr_matrix((joint.values.double(), joint.columns, joint.bounds), shape=size)
    method = TSNE(
        n_components=dims,
        initialization=schedule._start(rows, dims, 0)[:, :dims].astype(np.float64),
        random_state=0,
        **{"negative_gradient_method": "bh", **options},  # pyright: ignore[reportArgumentType]
    )
    return np.asarray(method.fit(affinities=PrecomputedAffinities(sparse, normalize=False)))


@pytest.mark.parametrize(("dims", "name"), [(3, "exact"), (3, "tree"), (2, "tree")])
def test_the_divergence_is_within_two_percent_of_barnes_hut_s(dims: int, name: str) -> None:
    rows = curved(500)
    places, found, _ = tsne(rows, dims, perplexity=20, seed=0, repulsion=name)
    theirs = opentsne(rows, dims, 20)
    assert np.isfinite(places).all()
    assert found < 1.02 * divergence_reference(dense(joint_of(rows, 20)), theirs)


def test_the_schedule_is_that_of_opentsne(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = curved(60)[6:]  # without rows that are nearly equal
    monkeypatch.setattr(schedule, "ITERATIONS", (20, 20))
    places, _, _ = tsne(rows, 2, perplexity=10, seed=0, repulsion="exact")

    def gradient(embedding: np.ndarray, P: csr_matrix, **_rest: object) -> tuple[float, np.ndarray]:
        return 0.0, gradient_reference(P.toarray(), np.asarray(embedding))

    theirs = opentsne(rows, 2, 10, early_exaggeration_iter=20, n_iter=20, negative_gradient_method=gradient)
    assert relative(places, theirs) < 1e-3


@pytest.mark.parametrize("name", REPULSIONS)
def test_the_same_rows_give_the_same_bytes(name: str) -> None:
    rows = curved(150)
    first, again = (tsne(rows, 3, perplexity=10, seed=3, repulsion=name)[0] for _ in range(2))
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("rounds", [1, 5, 9])
def test_a_run_goes_on_from_a_state_to_the_same_bytes(rounds: int) -> None:
    rows = curved(120)
    states: list[dict[str, np.ndarray]] = []
    whole = tsne(rows, 3, perplexity=10, seed=3, keep=lambda state: states.append(dict(state())))
    assert [int(state["done"][0]) for state in states] == list(range(ROUND, sum(ITERATIONS) + 1, ROUND))
    ticks: list[int] = []
    rest = tsne(rows, 3, perplexity=10, seed=3, state=states[rounds - 1], tick=ticks.append)
    assert rest[0].tobytes() == whole[0].tobytes()
    assert rest[1] == whole[1]
    assert sum(ticks) == sum(ITERATIONS) and ticks[0] == rounds * ROUND


def test_compiled_loops_are_those_that_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops in Python, where an index out of bounds is an error: from affinities to the divergence, and the nearest."""
    from alignedcut_cli.core.embed import blocks, forces, nearest
    from alignedcut_cli.core.embed.on_host import nearest_marks

    def run() -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
        joint, places = joint_of(curved(80), 4.0), start(80)
        with Threads() as threads:
            trees = Tree(threads, leaf=4, group=8)(places)[0]
            near = nearest_marks(places[:5], np.concatenate([places[5:]] * 4), threads)
        made = host(joint, places)
        for _ in range(2):
            made.step(12.0)
        return made.state()["places"], made.divergence(), trees, near

    compiled = run()
    for name in set(kernels.__all__) - {"LANES"}:
        written = getattr(kernels, name).py_func
        monkeypatch.setattr(kernels, name, written)
        if hasattr(forces, name):
            monkeypatch.setattr(forces, name, written)
    monkeypatch.setattr(kernels, "_push", kernels._push.py_func)
    for name in ("_least_of_chunks", "_squares", "nearest_mark", "nearest_others"):
        monkeypatch.setattr(nearest, name, getattr(nearest, name).py_func)
    monkeypatch.setattr(blocks, "_fill", blocks._fill.py_func)
    for found, wanted in zip(run(), compiled, strict=True):
        assert relative(np.asarray(found), np.asarray(wanted)) < 5e-4


IN_THE_INTERPRETER = """
import torch
from alignedcut_cli.core.embed import affinities as a, device, triton_kernels as triton
from alignedcut_cli.core.embed.threads import Threads
rows = torch.randn(150, 5, generator=torch.Generator().manual_seed(0))
places = rows[:, :3].contiguous() * 4
columns = rows.T.contiguous()
joint = a.affinities(rows, 9.0, Threads())
sparse = (joint.values, joint.columns, joint.bounds)
pairs = [
    (triton.push_all(places), device.push_all(places)),
    (triton.pull_all(*sparse, places), device.pull_all(joint, places)),
    ([triton.squares_of(columns, *few) for few in ((0, 64), (64, 150))],
     [a._squares_of(columns, *few) for few in ((0, 64), (64, 150))]),
]
for found, wanted in pairs:
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
"""


def test_kernels_of_a_gpu_give_the_same_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_THE_INTERPRETER], env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
