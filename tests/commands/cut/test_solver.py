"""`alignedcut cut --solver lowrank|auto`, `--refine`, `--balance` and `--onto`: what they store, and what they refuse."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alignedcut_cli.commands.cut import run as cut_run
from alignedcut_cli.commands.cut import solver as cut_solver
from alignedcut_cli.core.graph import lowrank
from alignedcut_cli.core.graph.certificate import weighted_gram
from alignedcut_cli.core.graph.choose_solver import sample_errors
from alignedcut_cli.core.graph.ncut import ncut_exact, ncut_nystrom
from alignedcut_cli.core.graph.quantised_cosines import PRECISIONS
from alignedcut_cli.core.graph.subspaces import subspace_error
from alignedcut_cli.core.numerics import torch_threads
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.slots import find_slots
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.features import FeatureSet, NodeRows
from alignedcut_cli.store.project import Project
from tests.commands.cut.test_space import COUNT, JOINT, explicit, joined, refused, study, write_align, write_features
from tests.conftest import Cli, Run
from tests.helpers.reference import assert_same_subspace, clusters, dense_cut, projector_distance

__all__ = ["joined", "study"]  # fixtures

CUT = ("cut", "--from", "other", "-C", COUNT)


def made(run: Run) -> tuple[Any, dict[str, torch.Tensor]]:
    assert run.status == 0, run.err
    header, tensors = load_tensors(Path(run.out.strip()))
    return header, {name: torch.from_numpy(value) for name, value in tensors.items()}


@pytest.mark.parametrize("space", ["raw", "aligned", "brain"])
@pytest.mark.parametrize("pilot", [lowrank.PILOT, 200])
def test_lowrank_is_the_cut_of_the_explicit_nodes(
    cli: Cli, study: Path, space: str, pilot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece and in one pass, in either precision."""
    monkeypatch.setattr(lowrank, "pilot_nodes", lambda total, nodes: min(total, pilot))
    source = ("--layers", 5) if space == "raw" else ("--space", space)
    header, tensors = made(cli(*CUT, *source, "--solver", "lowrank", "--nodes", 120, "-p", study, "-q"))
    if space == "raw":
        blocks = FeatureSet(study / "features" / "other").blocks("tokens.05")
        nodes = torch.from_numpy(np.concatenate(blocks).reshape(-1, 40)).double()
    else:
        nodes = explicit(study, space, ("other",), (4, 5))
    assert projector_distance(tensors["eigenvectors"], dense_cut(nodes, COUNT)[1]) < 0.05
    assert header.params["precision"] == "auto"
    computed = header.raw["numerics"]["computed"]
    assert computed.split(", ")[0] in (("float32",) if pilot > len(nodes) else PRECISIONS)
    assert ("transforms" in computed) == (space != "raw")
    assert header.raw["certificates"][0]["rank"] == float(tensors["certificate"][0, 2])
    assert header.raw["certificates"][0]["residual"] == pytest.approx(float(tensors["certificate"][0, 0]), rel=1e-5)
    assert float(tensors["certificate"][0, 1]) < 1e-5
    assert sorted(tensors["sampled"].tolist()) == tensors["sampled"].tolist()


def test_more_eigenvectors_than_the_nodes_have_is_an_error_of_the_data(cli: Cli, study: Path) -> None:
    """Nodes of two channels lie on a circle, whose affinity has some 15 eigenvalues above rounding."""
    project = Project(study)
    write_features(project, project.header("features", "other"), "circle", {4: 2})
    command = ("cut", "--from", "circle", "--solver", "lowrank", "--nodes", 120, "-p", study, "-q")
    error = refused(cli(*command, "-C", 30, "--json"), 65, "cannot-cut")
    assert "no 30 eigenvectors" in error["message"]
    assert "--eigenvectors" in error["remedy"]
    assert not (study / "cut" / "circle.safetensors").exists()
    assert cli(*command, "-C", 4).status == 0


@pytest.mark.parametrize(("memory", "together"), [(1.5, 1), (2.5, 2), (99.0, 3)])
def test_small_graphs_are_cut_side_by_side_as_far_as_the_memory_goes(
    cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch, memory: float, together: int
) -> None:
    """The same bytes with memory for one graph at a time, for two, and for as many as there are threads."""
    small = ("--per-slot", "--layers", "2-5", "-C", COUNT, "--solver", "lowrank", "--nodes", 40)
    command = ("cut", "--from", "tiny", *small, "-p", study, "-q")
    _, alone = made(cli(*command, "--name", "alone"))
    need = cli(*command, "--name", "other", "--dry-run", "--json").object["memory"]
    busy, most, lock, solve = 0, 0, threading.Lock(), cut_run.solve

    def counted(*given: Any) -> Any:
        nonlocal busy, most
        with lock:
            busy, most = busy + 1, max(most, busy + 1)
        time.sleep(0.05)
        found = solve(*given)
        with lock:
            busy -= 1
        return found

    monkeypatch.setattr(cut_run, "solve", counted)
    with torch_threads(3):
        _, tensors = made(cli(*command, "--name", "other", "--memory", f"{memory * need / 2**20:.6f}MiB"))
    assert most == together
    assert all(torch.equal(tensor, alone[name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_tile_and_its_rows_agree(joined: Path, precision: str) -> None:
    """`take` reads the same rows as `read`, whatever shard they are in; bfloat16 transforms move them a little."""
    slots = find_slots(FeatureSet(Project(joined).path("features", "other")), "4")
    weights = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
    rows = GraphRows(slots, [weights], "aligned", torch.device("cpu"), precision)
    ids = torch.tensor([0, 3, 95, 96, 97, 239])
    gap = (rows.take(ids) - rows.read(0, 240)[ids]).norm() / rows.take(ids).norm()
    assert float(gap) < (1e-6 if precision == "float32" else 1e-2)
    assert rows.take(ids[:0]).shape == (0, 6)


def test_rows_are_taken_across_blocks() -> None:
    blocks = [np.arange(12.0).reshape(2, 2, 3), np.arange(12.0, 18).reshape(1, 2, 3)]
    rows = NodeRows(blocks)
    whole = rows.rows(0, 6)
    for ids in ([0], [5], [1, 3, 4], [0, 1, 2, 3, 4, 5], []):
        np.testing.assert_array_equal(rows.take(np.array(ids, int)), whole[ids].reshape(len(ids), 3))


def test_refine_comes_nearer_and_counts_its_products(cli: Cli, study: Path) -> None:
    nodes = explicit(study, "aligned", ("tiny", "other"), (4, 5)).float()
    exact = ncut_exact(nodes, COUNT).eigenvectors
    errors = []
    for number in (0, 1):
        options = ("--space", "aligned", "--nodes", 20, "--refine", number, "--name", f"r{number}")
        header, tensors = made(cli("cut", *JOINT, "-C", COUNT, *options, "-p", study, "-q"))
        assert (header.params["solver"], header.params["refine"]) == ("lowrank", number)
        errors.append(projector_distance(tensors["eigenvectors"], exact))
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize("solver", ["exact", "lowrank"])
def test_balance_stores_its_weights(cli: Cli, study: Path, solver: str) -> None:
    options = ("--solver", solver, "--balance", "voronoi", "--nodes", 60, "--layers", 4)
    header, tensors = made(cli(*CUT, *options, "-p", study, "-q"))
    weights, vectors = tensors["weights"], tensors["eigenvectors"]
    assert header.params["sampling"] == "fps"
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(
        weighted_gram(vectors, weights), torch.eye(COUNT, dtype=torch.float64), atol=1e-4, rtol=0
    )
    blocks = FeatureSet(study / "features" / "other").blocks("tokens.04")
    nodes = torch.from_numpy(np.concatenate(blocks).reshape(-1, 48)).float()
    root = weights.sqrt()[:, None]
    wanted = ncut_exact(nodes, COUNT, weights=weights).eigenvectors
    assert_same_subspace(vectors * root, wanted * root, 1e-3 if solver == "exact" else 0.1)


def test_auto_measures_where_size_does_not_decide(cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = ("cut", "--from", "tiny", "--layers", "4,5", "-C", COUNT, "-p", study, "-v", "--dry-run")
    assert "4040 nodes are at most 5000" in cli(*cut).err
    monkeypatch.setitem(cut_solver.EXACT_NODES, "cpu", 4000)
    monkeypatch.setattr(cut_solver, "SAMPLE", 600)
    told = cli(*cut).err
    assert "error against the exact cut of 600 nodes at gamma 1: lowrank 0.0" in told
    assert "solver lowrank" in told
    assert "solver nystrom: --neighbors is given" in cli(*cut, "--neighbors", 5).err
    assert "solver lowrank: --nodes given" in cli(*cut, "--nodes", 50).err


@pytest.mark.parametrize("solver", ["lowrank", "nystrom"])
def test_a_cut_that_auto_made_is_up_to_date_whichever_solver_it_would_choose_now(
    cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    """Two solvers that are about as good may change places on another machine; the recipe is that of the solver."""
    monkeypatch.setitem(cut_solver.EXACT_NODES, "cpu", 200)
    first = {"lowrank": 0.1, "nystrom": 0.1} | {solver: 0.099}
    measured: list[int] = []

    def errors(*_: object, **__: object) -> dict[str, float]:
        measured.append(1)
        return first if len(measured) == 1 else dict(zip(first, reversed(first.values()), strict=True))

    monkeypatch.setattr("alignedcut_cli.core.graph.choose_solver.sample_errors", errors)
    header, _ = made(cli(*CUT, "--layers", 5, "-p", study, "-q"))
    assert header.params["solver"] == solver
    again = cli(*CUT, "--layers", 5, "-p", study)
    assert (again.status, "is up to date" in again.err) == (0, True)
    assert len(measured) == 1
    told = cli(*CUT, "--layers", 5, "-p", study, "--gamma", 0.5, "--json")
    assert "gamma" in refused(told, 73, "output-exists")["details"]["diff"]
    typed, _ = made(cli(*CUT, "--layers", 5, "-p", study, "-q", "--solver", solver, "--name", "typed"))
    assert typed.recipe == header.recipe
    assert cli(*CUT, "--layers", 5, "-p", study, "-q", "--gamma", 0.5, "--overwrite").status == 0
    assert Project(study).header("cut", "other").params["solver"] != solver


@pytest.mark.parametrize("gamma", [1.0, 0.3, 0.1, 0.03])
def test_the_measured_choice_is_the_better_solver(gamma: float) -> None:
    """On 2400 nodes, with the landmarks and neighbours of the sample of 1200 scaled up."""
    features = clusters(2400, width=32, groups=12, spread=1.0)
    errors = sample_errors(lambda ids: features[ids], 2400, 1200, count=6, gamma=gamma, neighbors=10)

    def read(start: int, stop: int) -> torch.Tensor:
        return features[start:stop]

    exact = ncut_exact(features, 6, gamma=gamma).eigenvectors
    truth = {
        "lowrank": subspace_error(lowrank.ncut_lowrank(read, 2400, 6, nodes=400, gamma=gamma).eigenvectors, exact),
        "nystrom": subspace_error(
            ncut_nystrom(read, 2400, 6, nodes=1200, neighbors=10, gamma=gamma).eigenvectors, exact
        ),
    }
    assert truth[min(errors, key=errors.__getitem__)] <= 1.2 * min(truth.values())


def test_the_subspace_error_is_the_distance_of_projectors() -> None:
    left, right = (torch.linalg.qr(torch.randn(50, 4, dtype=torch.float64))[0] for _ in range(2))
    assert subspace_error(left @ torch.randn(4, 4).double(), right) == pytest.approx(projector_distance(left, right))


def test_days_of_exact_products_are_refused_with_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    from alignedcut_cli.errors import UsageError

    cpu = torch.device("cpu")
    monkeypatch.setattr("alignedcut_cli.core.graph.quantised_cosines.product_speed", lambda device: 1e11)
    exact = {"solver": "exact", "eigenvectors": 20}
    assert cut_solver.require_affordable(exact, 5000, 768, cpu) is None
    told = cut_solver.require_affordable(exact, 100_000, 760, cpu)
    assert told == "12 exact products over 100000 nodes, 9.6e+13 operations: about 16 min 0 s"
    with pytest.raises(UsageError, match=r"7090000 nodes, 4.*e.17 operations"):
        cut_solver.require_affordable(exact, 7_090_000, 768, cpu)
    refined = {"solver": "lowrank", "eigenvectors": 20, "refine": 1}
    assert "2 exact products" in (cut_solver.require_affordable(refined, 100_000, 768, cpu) or "")
    assert cut_solver.require_affordable({**exact, "solver": "lowrank", "refine": 0}, 10**7, 768, cpu) is None


# --onto


@pytest.mark.parametrize("space", ["aligned", "brain"])
def test_the_same_nodes_onto_their_cut_are_the_cut(cli: Cli, study: Path, space: str) -> None:
    base = (*JOINT, "-C", COUNT, "--space", space, "--solver", "lowrank", "--nodes", 200, "--name", "base")
    before, wanted = made(cli("cut", *base, "-p", study, "-q"))
    onto = ("cut", "--from", "tiny", "--from", "other", "--onto", "cut/base", "-p", study)
    header, found = made(cli(*onto, "-q"))
    torch.testing.assert_close(found["eigenvectors"], wanted["eigenvectors"], atol=1e-3, rtol=0)
    for name in ("eigenvalues", "nodes", "graphs"):
        assert torch.equal(found[name], wanted[name])
    assert header.name == "tiny+other-onto-base"
    assert [node["kind"] for node in header.history][-2:] == ["cut", "cut"]
    assert header.inputs[-1].content == before.content
    assert list(check_project(Project(study), deep=True)) == []
    assert cli(*onto, "--json").object["made"] is False


def test_new_images_onto_a_cut_per_slot(cli: Cli, study: Path) -> None:
    options = ("--per-slot", "--solver", "lowrank", "--nodes", 60, "--name", "base")
    _, wanted = made(cli(*CUT, *options, "-p", study, "-q"))
    project = Project(study)
    write_features(project, project.header("features", "tiny"), "fresh", {4: 48, 5: 40})
    dry = cli("cut", "--from", "fresh", "--onto", "base", "-p", study, "--dry-run", "--json").object
    header, found = made(cli("cut", "--from", "fresh", "--onto", "base", "--name", "n", "-p", study, "-q"))
    assert dry["outputs"][0]["bytes"] == found["eigenvectors"].nbytes + found["nodes"].nbytes
    assert found["graphs"].tolist() == [[0, 240], [240, 480]]
    torch.testing.assert_close(found["eigenvectors"], wanted["eigenvectors"], atol=1e-3, rtol=0)
    assert header.params["onto"] is True


def test_what_cannot_be_placed_is_refused(cli: Cli, study: Path) -> None:
    project = Project(study)
    assert cli(*CUT, "--name", "exact", "-p", study, "--layers", 4, "-q").status == 0
    error = refused(cli("cut", "--from", "other", "--onto", "exact", "-p", study, "--json"), 2, "not-extensible")
    assert "made by the solver exact" in error["message"]
    base = ("--space", "aligned", "--solver", "lowrank", "--nodes", 60, "--name", "base", "-p", study, "-q")
    assert cli(*CUT, *base).status == 0
    like = project.header("features", "tiny")
    write_features(project, like, "strange", {4: 48, 5: 40}, external={"weights": "a" * 64})
    write_features(project, like, "narrow", {4: 32, 5: 40})
    for source in ("strange", "narrow"):
        refused(cli("cut", "--from", source, "--onto", "base", "-p", study, "--json"), 65, "other-slots")
    two = ("cut", "--from", "tiny", "--from", "other", "--onto", "base", "-p", study, "--json")
    assert "joined 1 feature sets, 2 were given" in refused(cli(*two), 2, "other-slots")["message"]
    write_align(project, seed=3)
    refused(cli("cut", "--from", "other", "--onto", "base", "-p", study, "--json"), 65, "other-alignment")
    shutil.rmtree(study / "align")
    refused(cli("cut", "--from", "other", "--onto", "base", "-p", study, "--json"), 66, "artifact-missing")
