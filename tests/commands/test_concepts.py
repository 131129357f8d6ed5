"""`alignedcut concepts`: every number is that of explicit nodes and voxels; what is drawn; and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.metrics import jaccard_score, roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity

from alignedcut_cli.commands.concepts import data as concepts_data
from alignedcut_cli.commands.concepts.result import read, rows_of
from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.datasets.masks_folder import read_masks
from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.project import Project
from tests.commands.cut.test_space import AREAS, GRID, write_align, write_features
from tests.conftest import Cli, Run
from tests.helpers.stores import flip, snapshot

FIGURE, OTHER, VOID = 1, 4, 255
SLOTS = (("tiny", 4), ("tiny", 5), ("other", 4), ("other", 5))
GRIDS = {"tiny": (10, 10), "other": GRID}
ROIS = ("V1", "V4", "FFA-1", "one", "all")
MASKED = ("--masks", "masks", "--pixel", "photo-00.png:5:5", "--pixel", "1:0:2")


@pytest.fixture(scope="session")
def painted(extracted: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """study/ with a joint cut of two models in aligned space and its colours, and masks/ of the photos. Read only."""
    folder = tmp_path_factory.mktemp("painted")
    project = Project(Path(shutil.copytree(extracted, folder / "study")))
    write_features(project, project.header("features", "tiny"), "other", {4: 48, 5: 40})
    write_align(project)
    joint = ("--from", "tiny", "--from", "other", "--layers", "4,5", "--space", "aligned", "--name", "joint")
    assert main([str(word) for word in ("cut", *joint, "-C", 6, "--nodes", 300, "-p", project.root, "-q")]) == 0
    write_color(project, "joint")
    (folder / "masks").mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        mask = np.zeros((70, 90), np.uint8)
        mask[20:60, 25:60] = FIGURE if number % 3 else OTHER
        mask[:30, 70:] = VOID if number % 2 else 0
        mask[50:, :20] = 0 if number % 5 else OTHER
        if number == 7:
            mask[mask != VOID] = 0
        Image.fromarray(mask).save(folder / "masks" / path.name)
    return folder


def write_color(project: Project, cut: str, name: str | None = None, seed: int = 0) -> None:
    """Colours of a cut whose places are not those of t-SNE, but its first eigenvectors with a jitter."""
    given, parent = project.input("cut", "cut", cut)
    _, tensors = load_tensors(project.path("cut", cut))
    jitter = np.random.default_rng(seed).standard_normal((len(tensors["nodes"]), 3)) * 1e-4
    arrays = {"coordinates": (tensors["eigenvectors"][:, 1:4] + jitter).astype(np.float32), "nodes": tensors["nodes"]}
    recipe = Recipe("color", name or cut, 1, {"seed": seed}, (given,))
    axes = {letter: parent.axes[letter] for letter in "MTBS"} | {"d": {"size": 3}}
    meanings = {"coordinates": ("M d", "made up"), "nodes": ("M T", "made up")}
    path = project.path("color", recipe.name)
    header = write_artifact(path, recipe, arrays, meanings, axes=axes, numerics={}, parents=(parent,))
    Journal(project).note("done", "color", recipe.name, ["color", "made-up"], recipe=header.recipe)


@pytest.fixture
def place(painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(painted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def concepts(cli: Cli, *options: object) -> Run:
    return cli("concepts", *options, "-p", "study", "-q")


def made(cli: Cli, *options: object) -> tuple[Header, dict[str, np.ndarray]]:
    run = concepts(cli, *options, "--no-pictures")
    assert run.status == 0, run.err
    assert list(check_project(Project(Path("study")), deep=True)) == []
    return read(Path(run.out.strip()))


def refused(run: Run, status: int, code: str) -> dict[str, Any]:
    assert (run.status, run.out) == (status, ""), run.err
    error = json.loads(run.err)
    assert error["code"] == code, error
    return error


def explicit(space: str) -> list[np.ndarray]:
    """All nodes of each slot of SLOTS, (nodes, …) float64: V, V W, or V W beta with one column a voxel."""
    project = Project(Path("study"))
    header, tensors = load_tensors(project.path("align", "shared"))
    found = []
    for name, layer in SLOTS:
        features = FeatureSet(project.path("features", name))
        rows = np.concatenate(features.blocks(f"tokens.{layer:02d}")).astype(np.float64)
        rows = rows.reshape(-1, rows.shape[-1])
        keys = [(slot["weights"], slot["layer"]) for slot in header.axes["S"]["slots"]]
        number = keys.index((features.header.raw["external"]["weights"], layer))
        aligned = rows @ tensors[f"transform.{number:03d}"].astype(np.float64)
        found.append({"raw": rows, "aligned": aligned, "brain": aligned @ tensors["beta"].astype(np.float64)}[space])
    return found


def by_roi(voxels: np.ndarray) -> np.ndarray:
    """Means over the voxels of each ROI, (…, R)."""
    return np.stack([voxels[..., list(AREAS[roi])].mean(-1) for roi in ROIS[:-1]] + [voxels.mean(-1)], -1)


def labels_of(name: str) -> np.ndarray:
    """The class of each node of a model's slots: (images, nodes), -1 for the class token."""
    features = FeatureSet(Project(Path("study")).path("features", name))
    masks = read_masks(Path("masks"), features.images)
    found = np.stack([grid_labels(mask, GRIDS[name]).ravel() for mask in masks])
    token = np.full((len(found), int(features.slots[0]["class_token"])), -1)
    return np.hstack([token, found])


def close(found: Any, wanted: Any, rtol: float = 2e-4) -> None:
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=2e-5)


def test_figure_and_ground_are_means_over_explicit_voxels(cli: Cli, place: Path) -> None:
    header, found = made(cli, "--masks", "masks")
    assert header.axes["R"]["labels"] == list(ROIS)
    assert header.axes["G"]["labels"] == ["foreground", "background", "class 1", "class 4"]
    assert [(slot["model"], slot["layer"]) for slot in header.axes["S"]["slots"]][2:] == [("other", 4), ("other", 5)]
    for number, ((name, _), voxels) in enumerate(zip(SLOTS, explicit("brain"), strict=True)):
        labels, values = labels_of(name), by_roi(voxels).reshape(20, -1, len(ROIS))
        known = (labels >= 0) & (labels != VOID)
        groups = [known & (labels != 0), known & (labels == 0), labels == FIGURE, labels == OTHER]
        for group, mask in enumerate(groups):
            assert found["group.nodes"][number, group] == mask.sum()
            assert found["group.images"][number, group] == mask.any(1).sum()
            mean = values[mask].mean(0)
            close(found["group.mean"][number, group], mean)
            rest = np.stack([(values[image][mask[image]] - mean).sum(0) for image in range(20)]) / mask.sum()
            images = mask.any(1).sum()
            close(found["group.se"][number, group], np.sqrt((rest**2).sum(0) * images / (images - 1)))
        close(found["contrast"][number], values[groups[0]].mean(0) - values[groups[1]].mean(0))
        assert (found["contrast.se"][number] > 0).all()
    assert (found["group.images"][:, 0] == 19).all()  # one photo is all ground


def test_classes_have_the_names_that_the_masks_bring_along(cli: Cli, place: Path) -> None:
    unnamed, _ = made(cli, "--masks", "masks", "--layers", 4)
    (place / "masks/names.json").write_text('{"4": "dog"}')
    header, _ = made(cli, "--masks", "masks", "--layers", 4, "--name", "named")
    assert header.axes["G"]["labels"] == ["foreground", "background", "class 1", "dog"]
    assert header.recipe != unnamed.recipe
    (place / "masks/names.json").write_text('[{"id": 1, "name": "face"}, {"id": 4, "name": "dog"}]')
    header, arrays = made(cli, "--masks", "masks", "--layers", 4, "--name", "coco")
    assert {row["group"] for row in rows_of("groups", header, arrays)} == {"foreground", "background", "face", "dog"}
    (place / "masks/names.json").write_text("{")
    refused(concepts(cli, "--masks", "masks", "--layers", 4, "--name", "bad", "--json"), 65, "bad-names")


def test_concepts_are_balls_of_the_colour_space_and_their_moments_explicit(cli: Cli, place: Path) -> None:
    header, found = made(cli, "--concepts", 4, "--examples", 6)
    _, colours = load_tensors(Project(Path("study")).path("color", "joint"))
    assert not {"group.mean", "contrast", "similarity", "separation"} & set(found)
    np.testing.assert_array_equal(found["nodes"], colours["nodes"])
    for number, voxels in enumerate(explicit("brain")):
        mine = np.flatnonzero(found["nodes"][:, 1] == number)
        places, patch = colours["coordinates"][mine].astype(np.float64), found["nodes"][mine, 2] >= 0
        centres = found["centres"][number] - mine[0]
        apart = cdist(places, places[centres])
        for step in range(1, 4):
            assert apart[centres[step], :step].min() == pytest.approx(apart[patch][:, :step].min(1).max())
        between = apart[centres][np.triu_indices(4, 1)]
        assert found["radius"][number] == pytest.approx(between.min() / 2)
        wanted = np.where(patch & (apart.min(1) <= between.min() / 2), apart.argmin(1), -1)
        np.testing.assert_array_equal(found["concept"][mine], wanted)
        np.testing.assert_array_equal(found["members"][number], np.bincount(wanted[wanted >= 0], minlength=4))
        close(found["total"][number], [voxels[patch].mean(0), voxels[patch].std(0, ddof=1)])
        for concept in range(4):
            inside = voxels[wanted == concept]
            close(found["voxel.mean"][number, concept], inside.mean(0))
            close(found["concept.mean"][number, concept], by_roi(inside).mean(0))
            if len(inside) < 2:
                assert np.isnan(found["voxel.sd"][number, concept]).all()
                continue
            deviation, unit = inside.std(0, ddof=1), voxels[patch].std(0, ddof=1)
            close(found["voxel.sd"][number, concept], deviation)
            close(found["concept.sd"][number, concept], by_roi(inside).std(0, ddof=1))
            size = np.abs(inside.mean(0))
            z = np.abs(inside.mean(0) - voxels[patch].mean(0)) / unit
            pairs = ((size, deviation), (size / unit, deviation / unit), (z, deviation / unit))
            r = [np.corrcoef(*pair)[0, 1] for pair in pairs]
            close(found["correlation"][number, concept], r, 1e-3)
    require_examples(found, header)


def require_examples(found: dict[str, np.ndarray], header: Header) -> None:
    """Examples are members, begin with the centre, and come from as many images as there are."""
    for slot, concept in np.ndindex(found["centres"].shape):
        shown = found["examples"][slot, concept]
        shown = shown[shown >= 0]
        assert shown[0] == found["centres"][slot, concept]
        assert len(set(shown.tolist())) == len(shown) == min(6, found["members"][slot, concept])
        assert (found["concept"][shown] == concept).all()
        assert (found["nodes"][shown, 1] == slot).all()
        members = np.flatnonzero((found["concept"] == concept) & (found["nodes"][:, 1] == slot))
        assert len(set(found["nodes"][shown, 0])) == min(len(shown), len(set(found["nodes"][members, 0])))


def test_a_radius_of_ones_own(cli: Cli, place: Path) -> None:
    _, small = made(cli, "--radius", "0.001", "--name", "small")
    _, large = made(cli, "--radius", 1e6, "--name", "large")
    assert (small["members"] < large["members"].sum(1, keepdims=True)).all()
    assert (large["members"].sum(1) == [2000, 2000, 240, 240]).all()
    np.testing.assert_array_equal(small["centres"], large["centres"])


def own_side(labels: np.ndarray, node: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which nodes have a class, and which of all are on the side of a node."""
    return (labels >= 0) & (labels != VOID), (labels == 0) == (labels[node] == 0)


@pytest.mark.parametrize("space", [None, "raw", "brain"])
def test_pixels_are_compared_in_the_space_asked_for(cli: Cli, place: Path, space: str | None) -> None:
    header, found = made(cli, *MASKED, *(("--space", space) if space else ()))
    assert header.params["space"] == (space or "aligned")
    assert header.axes["Q"]["pixels"] == [["photo-00.png", 5, 5], [header.axes["B"]["images"][1]["path"], 0, 2]]
    scores = header.axes["F"]["labels"]
    for number, ((name, _), rows) in enumerate(zip(SLOTS, explicit(space or "aligned"), strict=True)):
        labels = labels_of(name)
        lines, columns = GRIDS[name]
        for pixel, (path, row, column) in enumerate(header.axes["Q"]["pixels"]):
            image = [one["path"] for one in header.axes["B"]["images"]].index(path)
            patch = (row * lines // 10) * columns + column * columns // 10 if name == "other" else row * 10 + column
            node = (image, patch + labels.shape[1] - lines * columns)
            reference = rows.reshape(*labels.shape, -1)[node]
            wanted = cosine_similarity(rows, reference[None])[:, 0]
            mine = found["nodes"][:, 1] == number
            np.testing.assert_allclose(found["similarity"][pixel, mine], wanted, atol=1e-3)
            given = dict(zip(scores, found["separation"][pixel, number].tolist(), strict=True))
            known, side = own_side(labels, node)
            values, inside = wanted.reshape(labels.shape)[known], side[known]
            best = max(jaccard_score(inside, values >= level) for level in np.unique(values.round(5))[::40])
            assert given["iou"] >= best - 1e-3
            taken = values >= given["threshold"] - 1e-6
            assert given["iou"] == pytest.approx(jaccard_score(inside, taken), abs=0.01)
            assert given["everything"] == pytest.approx(inside.mean())
            assert given["false"] == pytest.approx(taken[~inside].mean(), abs=0.01)
            assert given["hit.class"] == pytest.approx(taken[labels[known] == labels[node]].mean(), abs=0.01)
            others = inside & (labels[known] != labels[node])
            if others.any():
                assert given["hit.other"] == pytest.approx(taken[others].mean(), abs=0.01)
            else:
                assert np.isnan(given["hit.other"])
            assert given["auc"] == pytest.approx(roc_auc_score(inside, values), abs=1e-3)


def test_without_masks_a_pixel_has_similarities_and_no_scores(cli: Cli, place: Path) -> None:
    _, found = made(cli, "--pixel", "0:5:5")
    assert "separation" not in found
    assert np.isfinite(found["similarity"].astype(np.float32)).all()


def test_tiles_and_layers_change_nothing(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = made(cli, *MASKED, "--name", "whole")
    monkeypatch.setattr(concepts_data, "LONGEST_TILE", 97)
    _, tiled = made(cli, *MASKED, "--name", "tiled")
    assert whole.keys() == tiled.keys()
    for name, array in whole.items():
        np.testing.assert_allclose(tiled[name], array, rtol=1e-4, atol=2e-4, err_msg=name)
    header, alone = made(cli, *MASKED, "--layers", 5, "--name", "alone")
    assert header.params["layers"] == [[5], [5]]
    for name in ("group.mean", "contrast.se", "total"):
        np.testing.assert_allclose(alone[name], whole[name][[1, 3]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone["separation"], whole["separation"][:, [1, 3]], atol=1e-4)


def test_from_a_cut_is_from_its_colours(cli: Cli, place: Path) -> None:
    first = concepts(cli, "--from", "cut/joint", "--no-pictures", "--json").object
    again = concepts(cli, "--from", "joint", "--no-pictures", "--json").object
    assert (first["schema"], first["made"], again["made"]) == ("alignedcut.concepts/1", True, False)
    assert first["content"] == again["content"]
    assert first["name"] == "joint"
    write_color(Project(place / "study"), "joint", "two", seed=1)
    refused(concepts(cli, "--from", "cut/joint", "--json"), 2, "ambiguous-input")
    (place / "study/color/joint.safetensors").unlink()
    (place / "study/color/two.safetensors").unlink()
    told = refused(concepts(cli, "--from", "cut/joint", "--json"), 66, "artifact-missing")
    assert "alignedcut color --from cut/joint" in told["remedy"]


def test_a_raw_cut_takes_the_only_alignment(cli: Cli, place: Path) -> None:
    assert cli("cut", "--from", "tiny", "--layers", "4,5", "-C", 4, "--nodes", 300, "-p", "study", "-q").status == 0
    write_color(Project(place / "study"), "tiny")
    header, found = made(cli, "--from", "color/tiny", "--pixel", "0:5:5")
    assert header.params["space"] == "raw"
    wanted = explicit("raw")[0]
    node = 56  # image 0: the class token, then row 5, column 5
    close(found["similarity"][0, :2020], cosine_similarity(wanted, wanted[node : node + 1])[:, 0], 2e-3)


def test_pictures_and_tables(cli: Cli, place: Path) -> None:
    run = concepts(cli, *MASKED, "--shown", 3, "--json")
    assert run.status == 0, run.err
    folder = place / "study/pictures/concepts/joint"
    names = {path.name for path in folder.iterdir()}
    models = ("other-attn", "test_vit-attn")
    assert names == {
        "contrast.png", "figure-ground.png", "concepts.csv", "correlations.csv", "groups.csv", "contrasts.csv",
        "pixels.csv", "drawn.json",
        *(f"classes-{model}.png" for model in models),
        *(f"pixel-{number}-{model}.png" for number in (0, 1) for model in models),
        *(f"concepts-{model}-L0{layer}.png" for model in models for layer in (4, 5)),
    }  # fmt: skip
    header, found = read(place / "study/concepts/joint.safetensors")
    rows = table(folder / "groups.csv")
    assert len(rows) == found["group.mean"].size
    assert [row["roi"] for row in rows[:5]] == list(ROIS)
    close([float(row["mean"]) for row in rows], found["group.mean"].ravel())
    close([float(row["contrast"]) for row in table(folder / "contrasts.csv")], found["contrast"].ravel())
    assert [row["contrast"] for row in run.object["contrasts"]] == pytest.approx(found["contrast"].ravel().tolist())
    assert [float(row["iou"]) for row in table(folder / "pixels.csv")] == pytest.approx(
        found["separation"][..., header.axes["F"]["labels"].index("iou")].ravel().tolist(), rel=1e-5
    )
    assert len(table(folder / "correlations.csv")) == (found["centres"] >= 0).sum()
    assert len(table(folder / "concepts.csv")) == (found["centres"] >= 0).sum() * len(ROIS)
    with Image.open(folder / "pixel-0-other-attn.png") as sheet:
        rows_of_images = (sheet.height - 28 - 3 * 15) / 76
        assert rows_of_images == 3
        assert (0, 220, 80) in {colour for _, colour in sheet.getcolors(1 << 20) or ()}  # the frame of the pixel


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_pictures_are_drawn_again_if_they_are_gone_or_others(
    cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place / "study/pictures/concepts/joint"
    draw = ("--masks", "masks", "--layers", 4)
    assert concepts(cli, *draw).status == 0
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert concepts(cli, *draw).status == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    (folder / "contrast.png").unlink()
    assert concepts(cli, *draw).status == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    (folder / "drawn.json").write_text("{")
    assert concepts(cli, *draw).status == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    monkeypatch.setattr(
        "alignedcut_cli.frame.drawing.thread_count", lambda: 1
    )  # what another process says is not caught
    run = cli("concepts", *draw, "--images", "nowhere", "-p", "study")
    assert run.err.count("is gone or has changed: pictures go without") == 1
    page = "concepts-other-attn-L04.png"
    assert (folder / page).read_bytes() != first[page]


def test_a_dry_run_writes_nothing(cli: Cli, place: Path) -> None:
    before = snapshot(place)
    run = concepts(cli, *MASKED, "--dry-run", "--json")
    assert snapshot(place) == before
    assert run.object["inputs"] == ["color/joint", "cut/joint", "features/tiny", "features/other", "align/shared"]
    planned = run.object["outputs"][0]["bytes"]
    assert concepts(cli, *MASKED, "--no-pictures").status == 0
    assert 0.5 < planned / (place / "study/concepts/joint.safetensors").stat().st_size < 1.5


def test_masks_by_their_suffix(cli: Cli, place: Path) -> None:
    (place / "masks/names.json").write_text('{"4": "dog"}')
    plain, _ = made(cli, "--masks", "masks", "--layers", 4)
    for mask in (place / "masks").glob("*.png"):
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    refused(concepts(cli, "--masks", "masks", "--layers", 4, "--json"), 66, "masks-missing")
    assert made(cli, "--masks", "masks", "--mask-suffix", "_mask", "--layers", 4)[0] == plain


def test_other_masks_are_another_recipe(cli: Cli, place: Path) -> None:
    assert concepts(cli, "--masks", "masks", "--no-pictures").status == 0
    with Image.open("masks/photo-00.png") as mask:
        mask.putpixel((30, 30), 9)
        mask.save("masks/photo-00.png")
    refused(concepts(cli, "--masks", "masks", "--json"), 73, "output-exists")
    assert concepts(cli, "--masks", "masks", "--no-pictures", "--overwrite").status == 0


WRONG: list[tuple[Sequence[object], int, str]] = [
    (("--from", "features/tiny"), 2, "wrong-kind"),
    (("--from", "color/none"), 66, "artifact-missing"),
    (("--from", "cut/none"), 66, "artifact-missing"),
    (("--align", "none"), 66, "artifact-missing"),
    (("--layers", "3"), 2, "bad-layers"),
    (("--layers", "6"), 2, "bad-layers"),
    (("--background", "1"), 2, "option-unused"),
    (("--ignore", "1"), 2, "option-unused"),
    (("--mask-suffix", "_mask"), 2, "option-unused"),
    (("--space", "raw"), 2, "option-unused"),
    (("--space", "odd", "--pixel", "0:0:0"), 2, "bad-choice"),
    (("--masks", "masks", "--background", "255"), 2, "bad-background"),
    (("--masks", "masks", "--background", "9"), 65, "one-sided"),
    (("--masks", "nowhere"), 66, "masks-missing"),
    (("--masks", "study"), 66, "masks-missing"),
    (("--pixel", "0"), 2, "bad-pixel"),
    (("--pixel", "0:1:-1"), 2, "bad-pixel"),
    (("--pixel", "0:10:0"), 2, "bad-pixel"),
    (("--pixel", "20:0:0"), 2, "bad-pixel"),
    (("--pixel", "photo-77.png:0:0"), 2, "bad-pixel"),
    (("--pixel", "photo-01.png:0:2", "--masks", "masks"), 2, "bad-pixel"),
    (("--radius", "0"), 2, "bad-radius"),
    (("--radius", "nan"), 2, "bad-radius"),
    (("--radius", "wide"), 2, "bad-radius"),
    (("--memory", "1KiB"), 71, "memory-budget"),
    (("--device", "cuda:99"), 69, "device-missing"),
    (("--name", "a/b"), 2, "bad-name"),
    (("--concepts", "0"), 2, "usage"),
]


@pytest.mark.parametrize(("options", "status", "code"), WRONG, ids=lambda value: str(value))
def test_what_is_refused(cli: Cli, place: Path, options: Sequence[object], status: int, code: str) -> None:
    if code == "bad-pixel" and "--masks" in options:
        Image.new("L", (90, 70), VOID).save("masks/photo-01.png")
    refused(concepts(cli, *options, "--json"), status, code)
    assert not (place / "study/concepts").exists()


def test_masks_of_0_and_255_say_that_255_is_void(cli: Cli, place: Path) -> None:
    for path in (place / "masks").iterdir():
        Image.fromarray(np.where(np.asarray(Image.open(path)) == 0, 0, 255).astype(np.uint8)).save(path)
    error = refused(concepts(cli, "--masks", "masks", "--json"), 65, "one-sided")
    assert error["remedy"].startswith("Their only other id, 255, is void by --ignore")
    assert concepts(cli, "--masks", "masks", "--ignore", 1, "--dry-run").status == 0


def test_inputs_that_changed_since(cli: Cli, place: Path) -> None:
    project = Project(place / "study")
    write_align(project, seed=1)
    told = refused(concepts(cli, "--json"), 65, "input-changed")
    assert "align/shared is no longer what cut/joint was made of" in told["message"]
    assert concepts(cli, "--align", "shared", "--no-pictures").status == 0
    assert (
        cli("cut", "--from", "tiny", "--layers", 4, "-C", 4, "--name", "joint", "--overwrite", "-p", "study").status
        == 0
    )
    told = refused(concepts(cli, "--json"), 65, "input-changed")
    assert "cut/joint is no longer what color/joint was made of" in told["message"]


@pytest.mark.parametrize(
    "command",
    [
        ("cut", "--from", "tiny", "--layers", 4, "-C", 4, "--name", "new"),
        ("cut", "--from", "tiny", "--from", "other", "--onto", "cut/joint"),
        ("align", "--from", "tiny", "--brain", "responses.csv", "--no-pictures", "--epochs", 0, "--name", "new"),
        ("concepts", "--no-pictures", "--name", "new"),
    ],
    ids=lambda words: words[0] + "-".join(word for word in words if word == "--onto"),
)
def test_one_flipped_bit_in_a_shard_is_found_by_every_command_that_reads_features(
    cli: Cli, place: Path, brain_table: Path, command: tuple[object, ...]
) -> None:
    """The dry run, which reads headers only, passes; with the bit turned back the command runs, as with --verify."""
    shutil.copy(brain_table, "responses.csv")
    shard = max((place / "study" / "features" / "tiny").glob("*.safetensors"))
    flip(shard)
    assert cli(*command, "-p", "study", "-q", "--dry-run").status == 0
    error = refused(cli(*command, "-p", "study", "-q", "--json"), 65, "artifact-corrupt")
    assert f"{shard.name}: the tensors do not match the content id" in error["message"]
    flip(shard)
    done = cli(*command, "-p", "study", "-q", "--verify")
    assert done.status == 0, done.err
