"""`alignedcut cut --space aligned|brain`: what it cuts is V W and V W beta, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.graph.ncut import ncut_exact, ncut_nystrom
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.slots import find_slots
from alignedcut_cli.nodes.spaces import SPACES, aligned_space, comparable_slots, open_transforms
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.features import FeatureSet, FeatureWriter
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.helpers.reference import assert_same_subspace, clusters, dense_cut
from tests.helpers.stores import flip

CHANNELS, VOXELS, COUNT = 12, 30, 4
LABELS = ("V1", "V4", "FFA-1", "one", "empty")
AREAS = {"V1": range(0, 9), "V4": range(6, 14), "FFA-1": range(20, 30), "one": [17], "empty": []}
OTHER_WEIGHTS = "e" * 64
GRID = (4, 3)
JOINT = ("--from", "tiny", "--from", "other", "--layers", "4,5")
SMALL = ("--from", "other", "-C", COUNT)


def write_features(project: Project, like: Header, name: str, widths: dict[int, int], **changes: Any) -> None:
    """A feature set of the images of `like`, in clusters, with its own width for each layer and no class token."""
    images = like.axes["B"]["images"]
    external = {"manifest": like.raw["external"]["manifest"], "weights": OTHER_WEIGHTS, **changes.get("external", {})}
    recipe = Recipe("features", name, 1, {"tokens": "all"}, (), external)
    patches = GRID[0] * GRID[1]
    made = {
        layer: clusters(len(images) * patches, width, seed=layer).reshape(len(images), patches, width).numpy()
        for layer, width in widths.items()
    }
    if "blank" in changes:
        made[changes["blank"]][3, 7] = 0
    writer = FeatureWriter(project.path("features", name), recipe, [(0, 8), (8, len(images))])
    writer.open()
    for number in writer.missing():
        tensors = {f"tokens.{k:02d}": v[slice(*writer.ranges[number])].astype(np.float16) for k, v in made.items()}
        writer.write(number, tensors, dict.fromkeys(tensors, ("B P D", "tokens")), numerics={}, axes={})
    slots = [
        {"model": "other", "layer": layer, "tap": "attn", "width": width, "grid": list(GRID), "class_token": False}
        for layer, width in widths.items()
    ]
    axes = {"B": {"size": len(images), "images": images}, "S": {"size": len(slots), "slots": slots}}
    writer.commit(numerics={}, axes=axes)


def align_tensors(widths: Sequence[int], seed: int = 0, **changes: np.ndarray) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(seed)
    beta = draws.standard_normal((CHANNELS, VOXELS)).astype(np.float32)
    membership = np.zeros((len(LABELS), VOXELS), np.uint8)
    for row, label in enumerate(LABELS):
        membership[row, list(AREAS[label])] = 1
    transforms = {
        f"transform.{number:03d}": (draws.standard_normal((width, CHANNELS)) / width**0.5).astype(np.float32)
        for number, width in enumerate(widths)
    }
    return {
        **transforms,
        "beta": beta,
        "eps": draws.standard_normal(VOXELS).astype(np.float32),
        "rois": membership,
        "score": draws.random(VOXELS).astype(np.float32),
        **changes,
    }


def write_align(
    project: Project,
    name: str = "shared",
    slots: list[dict[str, Any]] | None = None,
    seed: int = 0,
    left: int = 0,
    **changes: Any,
) -> Header:
    """An align artifact of the slots 4 and 5 of tiny and other, in an order of its own."""
    slots = slots or [*_slots_of(project, "other"), *_slots_of(project, "tiny")]
    tensors = align_tensors([slot["width"] for slot in slots], seed, **changes)
    axes = {key: "D E" if key.startswith("transform") else "N" for key in tensors} | {"beta": "E N", "rois": "R N"}
    return write_artifact(
        project.path("align", name),
        Recipe("align", name, 1, {"seed": seed}),
        tensors,
        {key: (letters, "made up") for key, letters in axes.items()},
        axes={
            "S": {"size": len(slots), "slots": slots},
            "E": {"size": CHANNELS},
            "N": {"size": VOXELS, "left": left},
            "R": {"size": len(LABELS), "labels": list(LABELS)},
            "I": {"size": 7},
        },
        numerics={},
    )


def _slots_of(project: Project, name: str) -> list[dict[str, Any]]:
    header = project.header("features", name)
    slots = [slot for slot in header.axes["S"]["slots"] if slot["layer"] in (4, 5)]
    return [{**slot, "weights": header.raw["external"]["weights"]} for slot in slots]


@pytest.fixture(scope="session")
def joined(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with features/tiny, features/other (of other widths) and align/shared. Read only."""
    root = Path(shutil.copytree(extracted, tmp_path_factory.mktemp("joined") / "study"))
    project = Project(root)
    write_features(project, project.header("features", "tiny"), "other", {4: 48, 5: 40})
    write_align(project)
    return root


@pytest.fixture
def study(joined: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(joined, tmp_path / "study"))


def explicit(root: Path, space: str, names: Sequence[str], layers: Sequence[int], rois: Sequence[str] = ()) -> Tensor:
    """The nodes V W or V W beta[:, ROI] of all slots, one after another, in float64, with nothing of the package."""
    project = Project(root)
    header, tensors = load_tensors(project.path("align", "shared"))
    voxels = sorted({voxel for roi in rois for voxel in AREAS[roi]}) or list(range(VOXELS))
    nodes = []
    for name in names:
        features = FeatureSet(project.path("features", name))
        for layer in layers:
            values = np.concatenate(features.blocks(f"tokens.{layer:02d}")).astype(np.float64)
            values = values.reshape(-1, values.shape[-1])
            weights = features.header.raw["external"]["weights"]
            number = next(
                number
                for number, slot in enumerate(header.axes["S"]["slots"])
                if (slot["weights"], slot["layer"]) == (weights, layer)
            )
            rows = values @ tensors[f"transform.{number:03d}"]
            nodes.append(rows @ tensors["beta"][:, voxels] if space == "brain" else rows)
    return torch.from_numpy(np.concatenate(nodes))


def eigenvectors(study: Path, run: Run) -> Tensor:
    assert run.status == 0, run.err
    _, tensors = load_tensors(Path(run.out.strip()))
    assert list(check_project(Project(study), deep=True)) == []
    return torch.from_numpy(tensors["eigenvectors"])


def refused(run: Run, status: int, code: str) -> dict[str, Any]:
    """The error of a command with --json."""
    assert (run.status, run.out) == (status, ""), run.err
    error = json.loads(run.err)
    assert error["code"] == code
    return error


CASES = [
    ("aligned", ()),
    ("brain", ()),
    ("brain", ("V1",)),
    ("brain", ("FFA-1", "V4", "V1")),
]


@pytest.mark.parametrize(("space", "rois"), CASES)
def test_a_joint_cut_of_two_widths_is_the_cut_of_the_explicit_nodes(
    cli: Cli, study: Path, space: str, rois: tuple[str, ...]
) -> None:
    roi = ("--roi", ",".join(rois)) if rois else ()
    run = cli("cut", *JOINT, "--space", space, *roi, "-C", COUNT, "-p", study, "-q")
    found = eigenvectors(study, run)
    nodes = explicit(study, space, ("tiny", "other"), (4, 5), rois)
    assert found.shape == (len(nodes), COUNT)
    assert_same_subspace(found, ncut_exact(nodes.float(), COUNT).eigenvectors, 1e-3)
    header, tensors = load_tensors(Path(run.out.strip()))
    assert header.params["space"] == space
    assert header.params.get("roi") == (sorted(rois) if space == "brain" else None)
    assert [(given.role, given.name) for given in header.inputs] == [
        ("features.0", "tiny"),
        ("features.1", "other"),
        ("align", "shared"),
    ]
    assert [slot["width"] for slot in header.axes["S"]["slots"]] == [64, 64, 48, 40]
    assert [node["kind"] for node in header.history] == ["features", "features", "align", "cut"]
    assert np.bincount(tensors["nodes"][:, 1]).tolist() == [2020, 2020, 240, 240]


@pytest.mark.parametrize(("space", "rois"), CASES)
def test_a_small_cut_is_the_dense_eigendecomposition(cli: Cli, study: Path, space: str, rois: tuple[str, ...]) -> None:
    roi = ("--roi", ",".join(rois)) if rois else ()
    found = eigenvectors(study, cli("cut", *SMALL, "--space", space, *roi, "--gamma", 0.3, "-p", study, "-q"))
    _, vectors = dense_cut(explicit(study, space, ("other",), (4, 5), rois), COUNT, 0.3)
    assert_same_subspace(found, vectors, 1e-3)


def test_one_voxel_cuts_the_nodes_by_their_sign(cli: Cli, study: Path) -> None:
    """All cosines are +-1, so that the graph has two kinds of node, and two eigenvectors tell all of it."""
    cut = ("cut", "--from", "other", "-C", 2, "--space", "brain", "--roi", "one", "-p", study, "-q")
    found = eigenvectors(study, cli(*cut))
    nodes = explicit(study, "brain", ("other",), (4, 5), ("one",))
    assert_same_subspace(found, dense_cut(nodes, 2)[1], 1e-4)
    positive = nodes.squeeze(1) > 0
    assert float(found[positive].std(0).max()) < 1e-5
    assert float(found[~positive].std(0).max()) < 1e-5


def test_the_areas_matter(cli: Cli, study: Path) -> None:
    cut = ("cut", *SMALL, "--space", "brain", "-p", study, "-q")
    found = [eigenvectors(study, cli(*cut, "--roi", roi)) for roi in ("V1", "FFA-1")]
    with pytest.raises(AssertionError, match="subspaces differ"):
        assert_same_subspace(*found, 0.05)


@pytest.mark.parametrize("space", SPACES[1:])
def test_per_slot_cuts_are_those_of_each_slot(cli: Cli, study: Path, space: str) -> None:
    found = eigenvectors(study, cli("cut", *SMALL, "--per-slot", "--space", space, "-p", study, "-q"))
    for number, layer in enumerate((4, 5)):
        nodes = explicit(study, space, ("other",), (layer,))
        wanted = ncut_exact(nodes.float(), COUNT).eigenvectors
        assert_same_subspace(found[240 * number : 240 * (number + 1)], wanted, 1e-3)


@pytest.mark.parametrize("sampling", ["uniform", "fps"])
def test_nystrom_in_aligned_space(cli: Cli, study: Path, sampling: str) -> None:
    options = ("--solver", "nystrom", "--nodes", 150, "--neighbors", 10, "--sampling", sampling)
    found = eigenvectors(study, cli("cut", *SMALL, "--space", "aligned", *options, "-p", study, "-q"))
    nodes = explicit(study, "aligned", ("other",), (4, 5)).float()
    wanted = ncut_nystrom(
        lambda a, b: nodes[a:b], 480, COUNT, nodes=150, neighbors=10, sampling=sampling, seed=stream(0, "cut", 0)
    )
    torch.testing.assert_close(found, wanted.eigenvectors, atol=1e-3, rtol=0)


@pytest.mark.parametrize("solver", [(), ("--solver", "nystrom", "--nodes", 300)])
def test_the_memory_does_not_matter(cli: Cli, study: Path, solver: tuple[object, ...]) -> None:
    cut = ("cut", *JOINT, "--space", "brain", "--roi", "V1", "-C", COUNT, *solver, "-p", study, "-q")
    need = cli(*cut, "--dry-run", "--json").object["memory"]
    tight, wide = (
        eigenvectors(study, cli(*cut, "--memory", memory, "--name", name))
        for memory, name in ((need + 1, "tight"), ("8GiB", "wide"))
    )
    torch.testing.assert_close(tight, wide, atol=1e-4, rtol=0)


@pytest.mark.parametrize("space", SPACES[1:])
@pytest.mark.parametrize("tile", [1, 7, 500, 5000])
def test_rows_do_not_depend_on_how_they_are_read(joined: Path, space: str, tile: int) -> None:
    """Tiles lie across slots of different widths and across shards."""
    project = Project(joined)
    place = aligned_space(project, space, None, None)
    sets = [FeatureSet(project.path("features", name)) for name in ("tiny", "other")]
    slots = comparable_slots(place, [slot for one in sets for slot in find_slots(one, "4,5")])
    transform = open_transforms(place)
    rows = GraphRows(slots, [transform(slot) for slot in slots], space, torch.device("cpu"))
    assert len(rows) == 4520
    start = 0 if tile > 100 else 4000
    tiles = torch.cat([rows.read(first, min(first + tile, 4520)) for first in range(start, 4520, tile)])
    torch.testing.assert_close(tiles, rows.read(start, 4520), atol=1e-5, rtol=1e-5)
    whole = explicit(joined, space, ("tiny", "other"), (4, 5))[start:]
    wanted = whole / whole.norm(dim=1, keepdim=True)
    units = (tiles / tiles.norm(dim=1, keepdim=True)).double()
    torch.testing.assert_close(units[::50] @ units.T, wanted[::50] @ wanted.T, atol=1e-4, rtol=0)
    assert rows.read(10, 10).shape == (0, tiles.shape[1])


def test_names(cli: Cli, study: Path) -> None:
    """By default a cut says what it is, and many areas do not make a name that no file system takes."""
    plan = ("cut", *JOINT, "-C", COUNT, "-p", study, "--dry-run")
    cases = {
        ("--space", "aligned"): "tiny+other-aligned",
        ("--space", "brain"): "tiny+other-brain",
        ("--space", "brain", "--per-slot"): "tiny+other-brain-per-slot",
        ("--space", "brain", "--roi", "V4,V1"): "tiny+other-brain-V1+V4",
        ("--space", "brain", "--roi", "V4,V1", "--name", "mine"): "mine",
    }
    for options, name in cases.items():
        run = cli(*plan, *options, "--json")
        assert run.status == 0, run.err
        assert Path(run.object["outputs"][0]["path"]).stem == name
        assert run.object["inputs"] == ["features/tiny", "features/other", "align/shared"]
        assert run.err == ""  # raw channels do not correspond; these do
    assert not (study / "cut").exists()


def test_many_areas_get_a_short_name(cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.commands.cut.test_space.LABELS", tuple(f"area {number}/x" for number in range(60)))
    monkeypatch.setattr("tests.commands.cut.test_space.AREAS", {label: [0, 3] for label in LABELS})
    write_align(Project(study))
    cut = ("cut", *SMALL, "--space", "brain", "-p", study, "-q", "--roi")
    made = [cli(*cut, roi) for roi in (",".join(LABELS), ",".join(LABELS[1:]), LABELS[4])]
    assert [run.status for run in made] == [0, 0, 0]
    names = [Path(run.out.strip()).stem for run in made]
    assert len(set(names)) == 3
    assert names[0].startswith("other-brain-60-areas-")
    assert names[2] == "other-brain-area-4-x"


def test_the_memory_counts_transforms_and_their_width_but_no_voxels(cli: Cli, study: Path) -> None:
    def memory(*options: object) -> int:
        return cli("cut", *JOINT, "-p", study, "--dry-run", "--json", *options).object["memory"]

    narrow, wide = memory("--space", "brain", "--roi", "one"), memory("--space", "brain")
    widths = 64 + 64 + 48 + 40
    assert wide - narrow == (CHANNELS - 1) * 4 * (2 * 4520 + widths)
    assert memory("--space", "aligned") == wide
    assert (
        memory("--space", "aligned")
        < cli("cut", "--from", "tiny", "--layers", "4,5", "-p", study, "--dry-run", "--json").object["memory"]
    )
    refused(cli("cut", *JOINT, "--space", "aligned", "--memory", wide - 1, "-p", study, "--json"), 71, "memory-budget")


def test_up_to_date_whatever_the_order_of_the_areas(cli: Cli, study: Path) -> None:
    cut = ("cut", *SMALL, "--space", "brain", "--name", "c", "-p", study, "--json")
    first = cli(*cut, "--roi", "V4,V1").object
    again = cli(*cut, "--roi", " V1, V4,V1", "--align", "align/shared")
    assert (first["made"], again.object["made"]) == (True, False)
    assert first["schema"] == "alignedcut.cut/1"
    assert "cut/c is up to date" in again.err
    other = refused(cli(*cut, "--roi", "V1"), 73, "output-exists")
    assert other["details"]["diff"] == {"roi": [["V1", "V4"], ["V1"]]}


def test_the_name_of_the_alignment_does_not_count_and_its_content_does(cli: Cli, study: Path) -> None:
    cut = ("cut", *SMALL, "--space", "aligned", "--name", "c", "-p", study, "--json")
    assert cli(*cut).status == 0
    shutil.copy(study / "align" / "shared.safetensors", study / "align" / "copy.safetensors")
    assert cli(*cut, "--align", "copy").object["made"] is False
    (study / "align" / "copy.safetensors").unlink()
    write_align(Project(study), seed=1)
    error = refused(cli(*cut), 73, "output-exists")
    assert list(error["details"]["diff"]) == ["inputs"]
    before, after = error["details"]["diff"]["inputs"]
    assert before[0] == after[0]
    assert before[1].startswith("align/shared@") and before[1] != after[1]
    assert cli(*cut, "--overwrite").object["made"] is True


def test_a_raw_cut_says_nothing_of_spaces(cli: Cli, study: Path) -> None:
    """What was made before there was any other space stays up to date: the recipe has the same keys."""
    run = cli("cut", "--from", "tiny", "--layers", "5", "-C", COUNT, "-p", study, "-q")
    header, _ = load_tensors(Path(run.out.strip()))
    keys = {"space", "per_slot", "eigenvectors", "solver", "gamma", "seed", "layers"}
    assert header.params.keys() == keys
    assert header.params["space"] == "raw"
    assert [given.role for given in header.inputs] == ["features.0"]
    assert header.name == "tiny"


def test_options_of_other_spaces_in_alignedcut_toml_do_no_harm(cli: Cli, study: Path) -> None:
    (study / "alignedcut.toml").write_text("[cut]\nalign = 'shared'\nroi = 'V1'\n")
    raw = cli("cut", *SMALL, "--layers", "5", "-p", study, "-q")
    assert raw.status == 0, raw.err
    brain = cli("cut", *SMALL, "--space", "brain", "-p", study, "-q")
    assert Path(brain.out.strip()).stem == "other-brain-V1"


# errors


def test_unknown_and_empty_areas(cli: Cli, study: Path) -> None:
    cut = ("cut", *SMALL, "--space", "brain", "-p", study, "--json", "--roi")
    error = refused(cli(*cut, "V1,v4"), 2, "unknown-roi")
    assert error["message"] == "align/shared has no area 'v4'"
    assert error["remedy"] == "It has: V1, V4, FFA-1, one, empty"
    refused(cli(*cut, ""), 2, "unknown-roi")
    error = refused(cli(*cut, "empty"), 65, "roi-empty")
    assert error["message"] == "empty of align/shared have no voxel"
    assert cli(*cut, "empty,V1").status == 0


def test_which_alignment(cli: Cli, study: Path) -> None:
    write_align(Project(study), "second", seed=1)
    cut = ("cut", *SMALL, "--space", "aligned", "-p", study, "--json")
    error = refused(cli(*cut), 2, "ambiguous-input")
    assert error["remedy"] == "Choose with --align NAME"
    assert cli(*cut, "--align", "second").status == 0
    refused(cli(*cut, "--align", "third"), 66, "artifact-missing")
    shutil.rmtree(study / "align")
    refused(cli(*cut), 66, "artifact-missing")


def test_slots_that_were_not_aligned(cli: Cli, study: Path) -> None:
    error = refused(cli("cut", "--from", "tiny", "--space", "aligned", "-p", study, "--json"), 2, "not-aligned")
    assert error["message"] == "align/shared has no transform for features/tiny (attn) layers 0, 1, 2, 3"
    assert error["remedy"] == "Align again with --from features/tiny, or choose --layers 4,5"
    assert error["details"]["missing"] == {"features/tiny (attn)": [0, 1, 2, 3]}
    project = Project(study)
    like = project.header("features", "tiny")
    write_features(project, like, "third", {4: 48, 5: 40}, external={"weights": "f" * 64})
    both = ("--from", "other", "--from", "third", "--space", "aligned", "-p", study, "--json")
    error = refused(cli("cut", *both), 2, "not-aligned")
    assert error["message"] == "align/shared has no transform for features/third (attn) layers 4, 5"
    assert error["remedy"] == "Align again with --from features/other --from features/third"


def test_slots_that_do_not_fit(cli: Cli, study: Path) -> None:
    project = Project(study)
    write_features(project, project.header("features", "tiny"), "third", {4: 32, 5: 40})
    cut = ("cut", "--from", "third", "--space", "aligned", "-p", study, "--json")
    error = refused(cli(*cut), 65, "shape-mismatch")
    assert "features/third, layer 4 has 32 channels, align/shared was made of 48" in error["message"]
    assert cli(*cut, "--layers", "5").status == 0
    slots = _slots_of(project, "other")
    write_align(project, "twice", [*slots, slots[0]])
    twice = ("cut", *SMALL, "--align", "twice", "--space", "aligned", "-p", study, "--json")
    assert "2 transforms" in refused(cli(*twice), 65, "slot-twice")["message"]


def test_feature_sets_of_other_images(cli: Cli, study: Path) -> None:
    project = Project(study)
    like = project.header("features", "tiny")
    write_features(project, like, "third", {4: 48, 5: 40}, external={"manifest": "9" * 64})
    argv = ("--from", "other", "--from", "third", "--space", "aligned", "-p", study, "--json")
    refused(cli("cut", *argv), 65, "other-images")


@pytest.mark.parametrize(("space", "remedy"), [("raw", "extract again"), ("brain", "another --space")])
@pytest.mark.parametrize("solver", ["exact", "nystrom"])
def test_a_node_without_a_direction_is_named(cli: Cli, study: Path, space: str, remedy: str, solver: str) -> None:
    project = Project(study)
    write_features(project, project.header("features", "tiny"), "other", {4: 48, 5: 48}, blank=5)
    write_align(project)
    cut = ("cut", *SMALL, "--space", space, "--solver", solver, "-p", study, "--json", "-q")
    error = refused(cli(*cut), 65, "no-direction")
    image = project.header("features", "tiny").axes["B"]["images"][3]["path"]
    assert error["message"] == (
        f"features/other, layer 5: the patch at row 2, column 1 of image 3 ({image}) is zero in {space} space, "
        "so that its cosine with other nodes is undefined"
    )
    assert remedy in error["remedy"]
    assert project.names("cut") == []


@pytest.mark.parametrize(
    ("beta", "told"),
    [(0.0, "align/shared: beta is zero at all of 9 voxels"), (float("inf"), "align/shared: beta is not finite")],
)
def test_a_beta_that_gives_no_space(cli: Cli, study: Path, beta: float, told: str) -> None:
    write_align(Project(study), beta=np.full((CHANNELS, VOXELS), beta, np.float32))
    run = cli("cut", *SMALL, "--space", "brain", "--roi", "V1", "-p", study, "--json", "-q")
    assert told in refused(run, 65, "no-direction")["message"]


def test_a_transform_that_gives_no_space(cli: Cli, study: Path) -> None:
    write_align(Project(study), **{"transform.001": np.full((40, CHANNELS), np.nan, np.float32)})
    run = cli("cut", *SMALL, "--space", "aligned", "-p", study, "--json", "-q")
    message = refused(run, 65, "no-direction")["message"]
    assert message.startswith("features/other, layer 5: the patch at row 0, column 0 of image 0")
    assert "is not finite in aligned space" in message


def test_a_damaged_alignment_is_refused_before_anything_is_cut(cli: Cli, study: Path) -> None:
    flip(study / "align" / "shared.safetensors")
    run = cli("cut", *SMALL, "--space", "aligned", "-p", study, "--json", "-q")
    refused(run, 65, "artifact-corrupt")
    assert Project(study).names("cut") == []
