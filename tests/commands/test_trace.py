"""`alignedcut trace`: a planted parting is found where it is and nowhere else; what is stored, drawn and refused."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from alignedcut_cli.commands.trace import run as trace_run
from alignedcut_cli.core.embed.colours import Embedding
from alignedcut_cli.core.groups.centres import farthest_centres
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.helpers.aligning import refused
from tests.helpers.forks import fresh_python
from tests.helpers.stores import IMAGES, snapshot
from tests.helpers.tracing import BLIND, COARSE, LAYERS, PARTED, PARTING, Model, make_study, objects, write_masks

FAST = ("--nodes", 250, "--perplexity", 20, "--concepts", 3, "--permutations", 499, "--measure", "map", "--maps", 2)


def trace(cli: Cli, root: Path, *options: object, masks: bool = True) -> Run:
    words = ("--masks", root / "masks") if masks else ()
    return cli("trace", "--from", "joint", *FAST, *words, *options, "-p", root / "study")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with study/ (cut/joint of PARTED and BLIND) and masks/. Read only."""
    root = tmp_path_factory.mktemp("trace")
    make_study(root / "study")
    write_masks(root / "masks")
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "world"))


@pytest.fixture(scope="module")
def traced(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same world after a trace with masks. Read only."""
    from alignedcut_cli.main import main

    root = Path(shutil.copytree(made, tmp_path_factory.mktemp("traced") / "world"))
    words = ("trace", "--from", "joint", *FAST, "--masks", root / "masks", "-p", root / "study", "-q")
    assert main([str(word) for word in words]) == 0
    return root


@pytest.fixture(autouse=True)
def quick_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """A projection in place of t-SNE, which only `traced` runs: the other tests do not ask how good the map is."""

    def project(rows: np.ndarray, dims: int, *, nodes: int, perplexity: float, seed: int, **_: Any) -> Embedding:
        draws = np.random.default_rng(seed)
        sampled = np.sort(draws.permutation(len(rows))[:nodes]).astype(np.int64)
        places = (rows * 100) @ draws.standard_normal((rows.shape[1], dims))
        return Embedding(places.astype(np.float32), sampled, 1.0, perplexity)

    monkeypatch.setattr(trace_run, "spectral_tsne", project)


def tensors_of(root: Path, name: str = "joint") -> dict[str, np.ndarray]:
    return load_file(root / f"study/trace/{name}.safetensors")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


# the truth


def test_a_planted_parting_is_found_at_its_layer_and_none_where_there_is_none(cli: Cli, traced: Path) -> None:
    run = trace(cli, traced, "--json")
    assert run.status == 0, run.err
    found = run.object
    assert found["schema"] == "alignedcut.trace/1"
    assert (found["parts"]["parted"]["from"], found["parts"]["parted"]["to"]) == (PARTING - 1, PARTING)
    assert found["parts"]["blind"] is None
    assert "parted: foreground and background part most from layer 1 to 2" in run.err
    assert "blind: foreground and background part between no two layers" in run.err
    rows = {(row["model"], row["from"]): row for row in found["bifurcation"]}
    assert len(rows) == 2 * (LAYERS - 1)
    planted = rows.pop(("parted", PARTING - 1))
    assert planted["p"] == 1 / 500
    assert planted["matched"] > 0.8
    assert planted["variation"] > 0.8
    assert all(row["p.holm"] > 0.05 and row["p"] > 0.02 for row in rows.values()), rows
    wandering = [row for (model, start), row in rows.items() if model == "blind" or start < PARTING - 1]
    assert all(row["matched.expected"] > 0.02 and row["matched.images"] > 10 for row in wandering), rows


def test_labels_that_have_nothing_to_do_with_the_features_part_nowhere(cli: Cli, world: Path) -> None:
    """The planted world with each image's mask on another image."""
    write_masks(world / "masks", np.roll(objects(), 7, axis=0))
    found = trace(cli, world, "--json", "-q", "--no-pictures").object
    assert found["parts"] == {"parted": None, "blind": None}


# the artifact


def test_the_project_is_whole_and_says_what_was_asked(traced: Path) -> None:
    project = Project(traced / "study")
    assert list(check_project(project, deep=True)) == []
    header = project.header("trace", "joint")
    assert header.params["layers"] == {"parted": [0, 1, 2, 3], "blind": [0, 1, 2, 3]}
    assert header.params["measure"] == "map"
    assert header.params["radius"] == "auto"
    assert header.params["maps"] == 2
    assert (header.params["background"], header.params["ignore"], header.params["permutations"]) == (0, 255, 499)
    assert len(header.params["pixels"]) == 10
    assert [node["kind"] for node in header.history] == ["features", "cut", "trace"]


def test_the_map_is_that_of_color_in_two_dimensions(cli: Cli, traced: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(traced / "study", tmp_path / "study"))
    options = ("--dims", 2, "--nodes", 250, "--perplexity", 20, "--no-pictures", "-q", "-p", study)
    assert cli("color", "--from", "joint", *options).status == 0
    coloured = load_file(study / "color/joint.safetensors")
    np.testing.assert_array_equal(coloured["coordinates"], tensors_of(traced)["coordinates"])


def node_ids(tensors: dict[str, np.ndarray]) -> dict[tuple[int, ...], int]:
    return {tuple(row): number for number, row in enumerate(tensors["nodes"].tolist())}


def test_labels_are_those_of_the_masks(traced: Path) -> None:
    tensors, masks = tensors_of(traced), objects()
    for label, (image, _, row, column) in zip(tensors["labels"], tensors["nodes"].tolist(), strict=True):
        value = 255 if row < 0 else masks[image, 2 * row, 2 * column]
        assert label == (-1 if value == 255 else value > 0)


def test_concepts_are_farthest_centres_and_their_balls_do_not_overlap(traced: Path) -> None:
    tensors = tensors_of(traced)
    places = tensors["coordinates"].astype(np.float64)
    for slot in range(2 * LAYERS):
        mine = (tensors["nodes"][:, 1] == slot) & (tensors["nodes"][:, 2] >= 0)
        centres, radius = tensors["centres"][slot], tensors["radii"][slot]
        assert mine[centres].all()
        between = np.linalg.norm(places[centres][:, None] - places[centres][None], axis=-1)
        assert radius == pytest.approx(between[np.triu_indices(3, 1)].min() / 2)
        apart = np.linalg.norm(places[mine][:, None] - places[centres][None], axis=-1)  # (M, 3)
        third = int(np.flatnonzero(mine).searchsorted(centres[2]))
        assert apart[third, :2].min() == apart[:, :2].min(1).max()
        expected = np.where(apart.min(1) <= radius, apart.argmin(1), -1)
        np.testing.assert_array_equal(tensors["concepts"][mine], expected)
        assert (expected >= 0).mean() > 0.3
    assert (tensors["concepts"][tensors["nodes"][:, 2] < 0] == -1).all()


def test_transitions_are_those_of_a_loop_over_nodes(traced: Path) -> None:
    tensors = tensors_of(traced)
    ids = node_ids(tensors)
    for pair, (a, b) in enumerate(tensors["pairs"].tolist()):
        seen: Counter[tuple[int, int, int]] = Counter()
        lengths: dict[int, list[float]] = {0: [], 1: [], 2: []}
        for (image, slot, row, column), node in ids.items():
            if slot != a or row < 0:
                continue
            after = ids[image, b, row, column]
            moved = float(np.linalg.norm(tensors["coordinates"][after] - tensors["coordinates"][node]))
            for group in (0, {1: 1, 0: 2}.get(int(tensors["labels"][node]))):
                if group is not None:
                    seen[group, int(tensors["concepts"][node]), int(tensors["concepts"][after])] += 1
                    lengths[group].append(moved)
        for group in range(3):
            for i, j in np.ndindex(4, 4):
                assert tensors["counts"][pair, group, i, j] == seen[group, (0, 1, 2, -1)[i], (0, 1, 2, -1)[j]]
            assert tensors["steps"][pair, group] == pytest.approx(np.mean(lengths[group]), rel=1e-5)
            assert tensors["steps.nodes"][pair, group] == len(lengths[group])
        rows = tensors["counts"][pair, :, :3].sum(-1, keepdims=True)
        shares = tensors["counts"][pair, :, :3] / np.maximum(rows, 1)
        np.testing.assert_allclose(tensors["transitions"][pair], shares, rtol=1e-6)


def test_paths_follow_one_place_through_the_layers_and_alternate_between_the_groups(traced: Path) -> None:
    tensors = tensors_of(traced)
    nodes = tensors["nodes"][tensors["paths"]]  # (Q, L, 4)
    assert nodes.shape == (10, 2 * LAYERS, 4)
    assert (nodes[:, :, 1] == np.arange(2 * LAYERS)).all()
    assert (nodes[:, :, [0, 2, 3]] == tensors["pixels"][:, None]).all()
    assert tensors["labels"][tensors["paths"]][:, 0].tolist() == [1, 0] * 5
    assert len(np.unique(tensors["pixels"], axis=0)) == 10


# pictures and tables


def test_tables_say_what_the_tensors_hold(traced: Path) -> None:
    folder, tensors = traced / "study/pictures/trace/joint", tensors_of(traced)
    entries = rows_of(folder / "transitions.csv")
    assert len(entries) == 6 * 3 * 4 * 4
    assert [int(row["nodes"]) for row in entries] == tensors["counts"].reshape(-1).tolist()
    shares = [float(row["probability"]) for row in entries if row["concept"] != "none"]
    np.testing.assert_allclose(shares, tensors["transitions"].reshape(-1), atol=1e-6)
    assert {row["probability"] for row in entries if row["concept"] == "none"} == {""}
    parted = rows_of(folder / "bifurcation.csv")
    assert [float(row["p"]) for row in parted] == tensors["p"].tolist()
    steps = rows_of(folder / "steps.csv")
    assert sum(float(row["share"]) for row in steps if row["model"] == "blind" and row["group"] == "all") == (
        pytest.approx(1, abs=1e-4)
    )
    concepts = rows_of(folder / "concepts.csv")
    assert sum(int(row["nodes"]) for row in concepts) == 2 * LAYERS * IMAGES * 36
    assert all(int(r["foreground"]) + int(r["background"]) <= int(r["nodes"]) for r in concepts)
    paths = rows_of(folder / "paths.csv")
    assert len(paths) == 10 * 2 * LAYERS
    assert float(paths[5]["x"]) == pytest.approx(tensors["coordinates"][tensors["paths"][0, 5], 0], rel=1e-5)


def test_the_same_again_is_up_to_date_and_pictures_come_back_as_they_were(
    cli: Cli, traced: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(traced, tmp_path / "world"))
    folder = root / "study/pictures/trace/joint"
    names = {"paths.png", "pace.png", "transitions-parted.png", "transitions-blind.png"}
    assert {path.name for path in folder.glob("*.png")} == names
    before = snapshot(root / "study/trace")
    drawn = {name: one[1] for name, one in snapshot(folder).items()}
    assert "trace/joint is up to date" in trace(cli, root).err
    (folder / "pace.png").unlink()
    assert trace(cli, root, "-q").status == 0
    assert snapshot(root / "study/trace") == before
    assert {name: one[1] for name, one in snapshot(folder).items()} == drawn
    for name in names:
        with Image.open(folder / name) as picture:
            assert picture.width > 500
            assert len(picture.convert("RGB").getcolors(picture.width * picture.height) or ()) > 50


def test_the_same_command_gives_the_same_bytes_and_another_seed_does_not(cli: Cli, world: Path) -> None:
    assert trace(cli, world, "--no-pictures", "-q", "--name", "a").status == 0
    assert trace(cli, world, "--no-pictures", "-q", "--name", "b").status == 0
    first, again = (tensors_of(world, name) for name in "ab")
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not (world / "study/pictures").exists()
    refused(trace(cli, world, "--no-pictures", "--json", "--seed", 1, "--name", "a"), 73, "output-exists")
    assert trace(cli, world, "--no-pictures", "-q", "--seed", 1, "--name", "a", "--overwrite").status == 0
    assert not np.array_equal(tensors_of(world, "a")["coordinates"], first["coordinates"])


def test_without_masks_there_is_one_group_and_no_parting(cli: Cli, world: Path) -> None:
    run = trace(cli, world, "--json", "--pixels", 3, masks=False)
    assert run.status == 0, run.err
    assert (run.object["bifurcation"], run.object["parts"]) == ([], {})
    tensors = tensors_of(world)
    assert tensors["counts"].shape[1] == 1
    assert not {"labels", "p", "matched", "variation"} & tensors.keys()
    assert sorted(Path(path).name for path in run.object["tables"]) == [
        "concepts.csv", "paths.csv", "steps.csv", "transitions.csv",
    ]  # fmt: skip
    assert all(Path(path).is_file() for path in [*run.object["tables"], *run.object["pictures"]])


# options


def parted_in(cli: Cli, root: Path, *options: object) -> dict[str, Any]:
    """What the default says: concepts in the eigenvectors, five partitions."""
    words = ("--nodes", 250, "--concepts", 3, "--permutations", 499, "--masks", root / "masks", *options)
    return cli("trace", "--from", "joint", *words, "--no-pictures", "--json", "-q", "-p", root / "study").object


def test_concepts_are_cells_of_the_eigenvectors_unless_the_map_is_asked_for(cli: Cli, world: Path) -> None:
    """Scaled by sqrt(M), as for t-SNE; the t-SNE then serves the pictures alone."""
    found = parted_in(cli, world, "--dims", 3)
    assert found["parts"]["parted"]["from"] == PARTING - 1
    assert found["parts"]["blind"] is None
    tensors = tensors_of(world)
    assert tensors["coordinates"].shape[1] == 3
    assert "radii" not in tensors and tensors["maps.concepts"].tolist() == [3, 4, 2, 5, 6]
    rows = load_file(world / "study/cut/joint.safetensors")["eigenvectors"].astype(np.float64)
    rows *= np.sqrt(len(rows))
    for slot in range(2 * LAYERS):
        mine = (tensors["nodes"][:, 1] == slot) & (tensors["nodes"][:, 2] >= 0)
        concepts = tensors["concepts"][mine]
        assert set(concepts.tolist()) == {0, 1, 2}
        means = np.stack([rows[mine][concepts == k].mean(0) for k in range(3)])
        apart = np.linalg.norm(rows[mine][:, None] - means[None], axis=-1)
        assert (apart.argmin(1) == concepts).all()  # k-means has come to rest
        assert np.array_equal(np.flatnonzero(mine)[apart.argmin(0)], tensors["centres"][slot])


def test_one_p_value_stands_for_all_maps_and_their_spread_is_told(cli: Cli, world: Path) -> None:
    """The seed moves p-values by no more than the number of permutations does."""
    tables = [parted_in(cli, world, "--seed", seed, "--name", f"s{seed}")["bifurcation"] for seed in range(3)]
    tensors = tensors_of(world, "s0")
    assert tensors["maps.p"].shape == tensors["maps.matched"].shape == (6, 5)
    for number, rows in enumerate(zip(*tables, strict=True)):
        p = np.array([row["p"] for row in rows])
        assert np.ptp(p) <= 5 * np.sqrt(p.mean() * (1 - p.mean()) / 499) + 2e-3
        row = rows[0]
        assert row["maps"] == 5
        assert row["matched.least"] <= row["matched"] <= row["matched.most"]
        assert (row["p.least"], row["p.most"]) == (tensors["maps.p"][number].min(), tensors["maps.p"][number].max())
        assert row["matched"] == pytest.approx(tensors["maps.matched"][number].mean())


def test_a_radius_and_layers_are_taken_as_given(cli: Cli, world: Path) -> None:
    options = ("--radius", 1e6, "--layers", "1,3", "--no-pictures", "--json", "-q")
    found = trace(cli, world, *options).object
    tensors = tensors_of(world)
    assert (tensors["radii"] == 1e6).all()
    assert tensors["pairs"].tolist() == [[1, 3], [5, 7]]
    assert tensors["counts"][:, 0, 3].sum() == tensors["counts"][:, 0, :, 3].sum() == 0
    assert [(row["from"], row["to"]) for row in found["bifurcation"]] == [(1, 3), (1, 3)]
    traced = np.isin(tensors["nodes"][:, 1], (1, 3, 5, 7)) & (tensors["nodes"][:, 2] >= 0)
    assert ((tensors["concepts"] >= 0) == traced).all()


def test_pixels_by_name_number_and_file(cli: Cli, world: Path) -> None:
    (world / "pixels.txt").write_text("\ufeff2.png:0:5\n\n  3:1:1  \n", encoding="utf-8")
    options = ("--pixels", "1.png:2:3", "--pixels", world / "pixels.txt", "--pixels", "19:5:0", "--pixels", "1:2:3")
    assert trace(cli, world, *options, "--no-pictures", "-q").status == 0
    assert tensors_of(world)["pixels"].tolist() == [[1, 2, 3], [2, 0, 5], [3, 1, 1], [19, 5, 0]]


def test_a_model_of_another_grid_is_followed_at_the_same_place(cli: Cli, world: Path) -> None:
    make_study(world / "study", (PARTED, COARSE))
    run = trace(cli, world, "--pixels", "0:5:0", "--pixels", "1:2:3", "-q", "--no-pictures")
    assert run.status == 0, run.err
    tensors = tensors_of(world)
    there = tensors["nodes"][tensors["paths"]][:, :, 2:].tolist()
    assert there == [[[5, 0]] * LAYERS + [[2, 0]] * LAYERS, [[2, 3]] * LAYERS + [[1, 1]] * LAYERS]


def test_no_pixels_at_all(cli: Cli, world: Path) -> None:
    run = trace(cli, world, "--pixels", 0, "--json", "-q")
    assert run.status == 0, run.err
    assert "paths.csv" not in {Path(path).name for path in run.object["tables"]}


def test_a_dry_run_reads_masks_and_writes_nothing(cli: Cli, world: Path) -> None:
    before = snapshot(world)
    run = trace(cli, world, "--dry-run", "--json")
    assert run.object["inputs"] == ["cut/joint"]
    assert [Path(one["path"]).name for one in run.object["outputs"]] == ["joint.safetensors", "joint"]
    assert run.object["memory"] > 0
    assert snapshot(world) == before


def test_masks_by_their_suffix(cli: Cli, world: Path) -> None:
    plain = trace(cli, world, "--dry-run", "--json").object
    for mask in (world / "masks").iterdir():
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    refused(trace(cli, world, "--dry-run", "--json"), 66, "masks-missing")
    assert trace(cli, world, "--dry-run", "--json", "--mask-suffix", "_mask").object == plain
    unused = trace(cli, world, "--json", "--mask-suffix", "_mask", masks=False)
    assert "--mask-suffix serves --masks alone" in refused(unused, 2, "option-unused")["message"]


# refusals, before anything is placed

WRONG: list[tuple[tuple[Any, ...], int, str, str]] = [
    (("--measure", "pixels"), 2, "bad-choice", "--measure 'pixels'"),
    (("--radius", "0"), 2, "bad-radius", "--radius '0'"),
    (("--radius", "nan"), 2, "bad-radius", "--radius 'nan'"),
    (("--radius", "wide"), 2, "bad-radius", "--radius 'wide'"),
    (("--measure", "eigenvectors", "--radius", "3"), 2, "option-unused", "--measure map alone"),
    (("--background", 255), 2, "bad-masks", "both 255"),
    (("--background", 9), 65, "one-group", "no cell is background"),
    (("--layers", "3"), 2, "one-layer", "two of the layers"),
    (("--layers", "2-4"), 2, "bad-layers", "no layer 4"),
    (("--layers", "x"), 2, "bad-layers", "no list of layers"),
    (("--pixels", 5000), 2, "bad-pixels", "--pixels 5000 is too many"),
    (("--pixels", "1.png:6:0"), 2, "bad-pixels", "6 x 6"),
    (("--pixels", "20:0:0"), 2, "bad-pixels", "no image is '20'"),
    (("--pixels", "nobody.png:0:0"), 2, "bad-pixels", "no image is 'nobody.png'"),
    (("--pixels", "absent.txt"), 66, "pixels-missing", "absent.txt"),
    (("--name", "a/b"), 2, "bad-name", "'a/b'"),
]


@pytest.mark.parametrize(("options", "status", "code", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_options(cli: Cli, made: Path, options: tuple[Any, ...], status: int, code: str, told: str) -> None:
    assert told in refused(trace(cli, made, *options, "--json", "-q"), status, code)["message"]
    assert not (made / "study/trace").exists()


def test_inputs_that_cannot_be_traced(cli: Cli, world: Path) -> None:
    project, _ = make_study(world / "study", name="joint", per_slot=True)
    assert "do not compare" in refused(trace(cli, world, "--json"), 2, "per-slot-cut")["message"]
    make_study(world / "study", (PARTED, PARTED))
    assert "layer 0 of parted (attn) twice" in refused(trace(cli, world, "--json"), 2, "slot-twice")["message"]
    make_study(world / "study", (Model("one", (6, 6), False, False, (2,)),))
    refused(trace(cli, world, "--json"), 2, "one-layer")
    make_study(world / "study", (BLIND,))
    said = refused(trace(cli, world, "--json", "--concepts", 1000), 65, "too-few-places")["message"]
    assert "layer 0 of blind has" in said and "--concepts is 1000" in said
    (world / "masks/7.png").unlink()
    assert "7.png" in refused(trace(cli, world, "--json"), 66, "masks-missing")["message"]
    refused(cli("trace", "--from", "nothing", "-p", world / "study", "--json"), 66, "artifact-missing")
    assert project.names("trace") == []


def test_a_list_of_pixels_that_is_none(cli: Cli, world: Path) -> None:
    path = world / "pixels.txt"
    path.write_text("1:2:3\n1,2,3\n")
    said = refused(trace(cli, world, "--pixels", path, "--json"), 65, "bad-pixels")["message"]
    assert "line 2: '1,2,3' is no image:row:col" in said
    path.write_text("\n")
    refused(trace(cli, world, "--pixels", path, "--json"), 65, "bad-pixels")
    path.write_bytes(b"\xff\xfe\x00")
    refused(trace(cli, world, "--pixels", path, "--json"), 65, "bad-pixels")


def test_centres_of_the_command_are_those_of_the_function(traced: Path) -> None:
    """With the first centre given, the others follow: the same as the function started there."""
    tensors = tensors_of(traced)
    mine = np.flatnonzero((tensors["nodes"][:, 1] == 4) & (tensors["nodes"][:, 2] >= 0))
    places, start = tensors["coordinates"][mine], int(np.searchsorted(mine, tensors["centres"][4, 0]))
    seeds = (seed for seed in range(100_000) if np.random.default_rng(seed).integers(len(mine)) == start)
    np.testing.assert_array_equal(mine[farthest_centres(places, 3, next(seeds))], tensors["centres"][4])


def test_a_trace_imports_neither_torch_nor_what_else_it_can_do_without(world: Path) -> None:
    words = ["trace", "--from", "joint", *FAST, "--masks", world / "masks", "-p", world / "study", "-q"]
    code = f"""
import sys
from alignedcut_cli.main import main
assert main({[str(word) for word in words]!r}) == 0
heavy = {{"torch", "sklearn", "scipy.stats", "matplotlib.pyplot", "timm", "sympy"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = fresh_python(code)
    assert done.returncode == 0, done.stderr
