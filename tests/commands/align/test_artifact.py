"""What `alignedcut align` writes: the tensors and what they mean, the prediction, and the same bytes every time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from alignedcut_cli.core.align.descent import LOGGED
from alignedcut_cli.core.align.reduced_rank_ridge import ranks_up_to
from alignedcut_cli.main import main
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import Project
from tests.conftest import TINY, Cli
from tests.helpers.aligning import FIRST, IMAGES, SECOND, VOXELS, make_world, whole, write_made

BOTH = ("--from", "features/first", "--from", "features/second")
FAST = ("--epochs", "3", "--no-pictures", "-q")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return make_world(tmp_path)


@pytest.fixture(scope="module")
def brain_run(brain_study: Path, brain_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with align/seen of the simulated subject, and its pictures. Read only."""
    project = Path(shutil.copytree(brain_study, tmp_path_factory.mktemp("run") / "study"))
    argv = ["align", "--brain", brain_folder, "--from", "seen", "--epochs", "2", "-p", project, "-q"]
    assert main([str(word) for word in argv]) == 0
    return project


def align(cli: Cli, world: Path, *options: object) -> dict[str, np.ndarray]:
    """The tensors of a new alignment with the responses of `world`, by plain safetensors; check finds nothing."""
    run = cli("align", "--brain", world / "responses.csv", "-p", world / "study", *FAST, "--json", *options)
    assert run.status == 0, run.err
    assert list(check_project(Project(world / "study"), deep=True)) == []
    return load_file(run.object["path"])


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, "numpy") as opened:
        assert list(opened.metadata()) == ["alignedcut"]
        return json.loads(opened.metadata()["alignedcut"])


def r2(predicted: np.ndarray, responses: np.ndarray) -> np.ndarray:
    return 1 - ((responses - predicted) ** 2).sum(0) / ((responses - responses.mean(0)) ** 2).sum(0)


# tensors


def test_the_tensors_and_axes_of_two_sets_of_other_widths_and_grids(cli: Cli, world: Path) -> None:
    found = align(cli, world, *BOTH, "--dim", "7", "--name", "w")
    header = header_of(world / "study/align/w.safetensors")
    shapes = {name: array.shape for name, array in found.items()}
    steps, epochs = len(found["losses"]), len(found["heldout"])
    assert shapes == {
        "transform.000": (8, 7),
        "transform.001": (12, 7),
        "transform.002": (10, 7),
        "beta": (7, VOXELS),
        "eps": (VOXELS,),
        "scale": (VOXELS,),
        "r2.train": (VOXELS,),
        "r2.test": (VOXELS,),
        "pearson.train": (VOXELS,),
        "pearson.test": (VOXELS,),
        "voxels": (VOXELS,),
        "dropped": (0,),
        "rois": (0, VOXELS),
        "tested": (int((found["split"] == 2).sum()),),
        "test.influence": (1, int((found["split"] == 2).sum())),
        "losses": (steps, len(LOGGED)),
        "heldout": (epochs,),
        "split": (IMAGES,),
        "similarity.before": (3, 3),
        "similarity.after": (3, 3),
    }
    assert 2 <= epochs <= 4 and steps == epochs - 1
    assert {found[name].dtype.name for name in ("transform.000", "beta", "eps", "r2.test", "losses")} == {"float32"}
    sizes = {letter: axis["size"] for letter, axis in header["axes"].items()}
    tested = int((found["split"] == 2).sum())
    assert sizes == {
        "S": 3, "E": 7, "N": VOXELS, "R": 0, "I": IMAGES, "T": steps, "L": 7, "H": epochs, "n": 0, "Q": 1, "b": tested,
    }  # fmt: skip
    for entry in header["tensors"].values():
        letters = entry["axes"].split()
        assert entry["meaning"]
        assert [sizes.get(letter, size) for letter, size in zip(letters, entry["shape"], strict=True)] == entry["shape"]
    slots = header["axes"]["S"]["slots"]
    assert [(slot["model"], slot["layer"], slot["width"]) for slot in slots] == [
        ("first", 0, 8),
        ("first", 1, 12),
        ("second", 2, 10),
    ]
    assert [slot["weights"] for slot in slots] == [f"{seed:064x}" for seed in (1, 1, 2)]
    assert header["axes"]["L"]["labels"] == list(LOGGED)
    assert [given["name"] for given in header["inputs"]] == ["first", "second"]
    assert header["params"]["layers"] == [[0, 1], [2]]


def test_the_scores_are_those_of_the_pooled_features(cli: Cli, world: Path) -> None:
    found = align(cli, world, *BOTH, "--name", "w")
    study = world / "study"
    pooled = [
        whole(study, "first", "pooled.00"),
        whole(study, "first", "pooled.01"),
        whole(study, "second", "pooled.02"),
    ]
    transforms = [found[f"transform.{number:03d}"].astype(np.float64) for number in range(3)]
    aligned = sum(mean @ matrix for mean, matrix in zip(pooled, transforms, strict=True)) / 3
    predicted = aligned @ found["beta"] + found["eps"]
    table = np.loadtxt(world / "responses.csv", delimiter=",", skiprows=1, usecols=range(1, VOXELS + 1))
    for part, rows in (("train", found["split"] != 2), ("test", found["split"] == 2)):
        np.testing.assert_allclose(found[f"r2.{part}"], r2(predicted[rows], table[rows]), atol=1e-4)
        expected = [np.corrcoef(predicted[rows, voxel], table[rows, voxel])[0, 1] for voxel in range(VOXELS)]
        np.testing.assert_allclose(found[f"pearson.{part}"], expected, atol=1e-4)
    best = found["heldout"].argmax()
    rows = found["split"] == 1
    assert found["heldout"][best] == pytest.approx(r2(predicted[rows], table[rows]).mean(), abs=1e-4)
    assert found["r2.test"].mean() > 0.5  # a linear map of what the features hold, and some noise


def test_channel_similarity_is_the_centred_cosine_of_equal_channels(cli: Cli, world: Path) -> None:
    found = align(cli, world, *BOTH, "--name", "w")
    study = world / "study"
    pooled = [
        whole(study, "first", "pooled.00"),
        whole(study, "first", "pooled.01"),
        whole(study, "second", "pooled.02"),
    ]
    after = [mean @ found[f"transform.{number:03d}"] for number, mean in enumerate(pooled)]
    for name, blocks in (("before", pooled), ("after", after)):
        for row in range(3):
            for column in range(3):
                width = min(blocks[row].shape[1], blocks[column].shape[1])
                left, right = (block[:, :width] - block[:, :width].mean(0) for block in (blocks[row], blocks[column]))
                cosine = (left * right).sum() / np.linalg.norm(left) / np.linalg.norm(right)
                assert found[f"similarity.{name}"][row, column] == pytest.approx(cosine, abs=1e-4)
    assert found["similarity.after"][0, 2] > 0.5 > abs(found["similarity.before"][0, 2])


def test_the_mean_of_brain_space_over_slots_and_all_tokens_is_the_prediction(
    cli: Cli, photos: Path, tiny_weights: Path, brain_table: Path, tmp_path: Path
) -> None:
    """B_i = V_i W_i beta + eps, averaged over all tokens of a model (class token too), is the prediction from the means."""
    study = tmp_path / "study"
    options = ("--image-size", 48, "--tokens", "all", "--dtype", "float32", "--name", "tiny", "-p", study, "-q")
    assert cli("extract", photos, "-m", TINY, "--weights", tiny_weights, *options).status == 0
    run = cli("align", "--brain", brain_table, "-p", study, *FAST)
    assert run.status == 0, run.err
    found = load_file(run.out.strip())
    eps, beta = found["eps"].astype(np.float64), found["beta"].astype(np.float64)
    brain, predicted = 0.0, 0.0
    for layer in range(6):
        matrix = found[f"transform.{layer:03d}"].astype(np.float64)
        tokens = whole(study, "tiny", f"tokens.{layer:02d}")
        assert tokens.shape == (20, 10, 64)
        brain = brain + (tokens @ matrix @ beta + eps) / 6  # (B, P, N)
        predicted = predicted + whole(study, "tiny", f"pooled.{layer:02d}") @ matrix @ beta / 6
    np.testing.assert_allclose(np.mean(brain, axis=1), predicted + eps, atol=1e-5)


# the simulated subject


def test_the_table_of_rois_is_what_the_tensors_say(brain_run: Path) -> None:
    path = brain_run / "align/seen.safetensors"
    found, header = load_file(path), header_of(path)
    labels = header["axes"]["R"]["labels"]
    assert len(found["ceiling"]) == found["rois"].shape[1] == len(found["voxels"])
    assert {"V1v", "V1", "hV4", "V4", "EBA", "FFA", "PPA"} <= set(labels)
    assert [row["roi"] for row in header["rois"]] == [*labels, "all"]
    masks = [*(mask.astype(bool) for mask in found["rois"]), np.ones(len(found["voxels"]), bool)]
    for row, mask in zip(header["rois"], masks, strict=True):
        assert row["voxels"] == mask.sum() > 0
        for key in ("r2.train", "r2.test", "pearson.test"):
            assert row[key] == pytest.approx(found[key][mask].mean(dtype=np.float64), abs=1e-9)
        known = mask & (found["ceiling"] >= 0)
        ceiling = found["ceiling"][known].mean(dtype=np.float64)
        assert row["ceiling"] == pytest.approx(ceiling, abs=1e-9)
        assert row["share"] == pytest.approx(found["r2.test"][known].mean(dtype=np.float64) / ceiling, rel=1e-9)
        assert 1 / 1001 <= row["p"] <= 1
        assert row["p"] * 1001 == pytest.approx(round(row["p"] * 1001), abs=1e-6)


def test_the_split_of_a_subject_is_the_given_one(brain_run: Path) -> None:
    path = brain_run / "align/seen.safetensors"
    found, header = load_file(path), header_of(path)
    assert header["params"]["test_split"] == "given"
    assert found["split"].dtype == np.int8
    assert np.flatnonzero(found["split"] == 2).tolist() == list(range(24, 32))
    assert np.bincount(found["split"]).tolist() == [20, 4, 8]
    images = header["axes"]["I"]
    assert (images["size"], images["fit"], images["heldout"], images["test"]) == (32, 20, 4, 8)
    assert images["images"][0]["path"] == "train-0001_nsd-01000.png"
    assert images["images"][-1]["path"] == "test-0008_nsd-01031.png"


def test_show_status_and_check_know_an_alignment(cli: Cli, brain_run: Path) -> None:
    shown = cli("show", "align/seen", "-p", brain_run)
    assert shown.status == 0, shown.err
    assert "train-0001_nsd-01000.png" in shown.out
    assert cli("show", "align/seen", "--history", "-p", brain_run).status == 0
    assert cli("check", "--deep", "--exit-code", "-p", brain_run).status == 0
    assert "align/seen" in cli("status", "-p", brain_run).out


def test_unknown_ceilings_are_minus_one_and_do_not_count(
    cli: Cli, brain_study: Path, brain_folder: Path, tmp_path: Path
) -> None:
    """One hemisphere without a noise ceiling: nothing in the artifact is NaN, its voxels are in no mean ceiling."""
    subject = Path(shutil.copytree(brain_folder, tmp_path / "subj01"))
    (subject / "noise_ceiling/rh_noise_ceiling.npy").unlink()
    study = Path(shutil.copytree(brain_study, tmp_path / "study"))
    run = cli("align", "--brain", subject, "--from", "seen", "--layers", 5, "-p", study, *FAST, "--json")
    assert run.status == 0, run.err
    found = load_file(run.object["path"])
    assert all(np.isfinite(array).all() for array in found.values() if array.dtype.kind == "f")
    unknown = found["ceiling"] == -1
    assert 0 < unknown.sum() < len(unknown)
    assert (found["ceiling"][~unknown] >= 0).all()
    everything = run.object["rois"][-1]
    assert everything["ceiling"] == pytest.approx(found["ceiling"][~unknown].mean(dtype=np.float64), abs=1e-9)
    assert list(check_project(Project(study), deep=True)) == []


@pytest.mark.parametrize(("space", "options"), [("aligned", ()), ("brain", ("--roi", "V1")), ("brain", ())])
def test_cut_takes_what_align_made(
    cli: Cli, brain_run: Path, tmp_path: Path, space: str, options: tuple[str, ...]
) -> None:
    study = Path(shutil.copytree(brain_run, tmp_path / "study"))
    cut = ("cut", "--from", "scenes", "--space", space, *options, "-C", 4, "-p", study)
    planned = cli(*cut, "--dry-run", "--json")
    assert planned.object["inputs"] == ["features/scenes", "align/seen"]
    assert not (study / "cut").exists()
    run = cli(*cut, "-q")
    assert run.status == 0, run.err
    assert load_file(run.out.strip())["eigenvectors"].shape == (3 * 17 * 6, 4)
    assert list(check_project(Project(study), deep=True)) == []


# options


def test_samples_and_full_sets_are_the_same_slot_for_the_prediction(cli: Cli, world: Path) -> None:
    """Without gradient epochs and agreement only the means count: what is kept of the tokens does not matter."""
    assert "sampled.02" in Project(world / "study").header("features", "second").raw["tensors"]
    project = Project(world / "study")
    write_made(project, "sampled", type(FIRST)(**{**vars(FIRST), "tokens": "sample:2"}))
    options = ("--epochs", "0", "--dim", "4", "--eigen", "0", "--agree", "0")
    full = align(cli, world, "--from", "first", *options)
    sampled = align(cli, world, "--from", "sampled", *options)
    for made in (full, sampled):
        made["product"] = made["transform.000"] @ made["beta"]
    np.testing.assert_allclose(full["product"], sampled["product"], atol=1e-4)
    np.testing.assert_allclose(full["r2.test"], sampled["r2.test"], atol=1e-4)


def test_sets_that_keep_fewer_tokens_than_a_step_asks_for(cli: Cli, world: Path) -> None:
    """29 tokens of one set, 100 of the other: both give 29."""
    write_made(Project(world / "study"), "one", type(SECOND)(**{**vars(SECOND), "tokens": "sample:1"}))
    found = align(cli, world, "--from", "first", "--from", "one", "--name", "w")
    assert len(found["losses"]) > 0


@pytest.mark.parametrize(
    ("options", "steps"),
    [((), 3), (("--batch-size", "16"), 6), (("--batch-size", "6"), 15), (("--epochs", "0"), 0)],
)
def test_epochs_and_batches_are_steps(cli: Cli, world: Path, options: tuple[str, ...], steps: int) -> None:
    found = align(cli, world, *BOTH, *options, "--name", "w")
    assert len(found["losses"]) == steps  # 29 images are fitted
    assert len(found["heldout"]) == (4 if steps else 1)


@pytest.mark.parametrize("dim", [1, 5, 100])
def test_dim_is_the_number_of_channels(cli: Cli, world: Path, dim: int) -> None:
    found = align(cli, world, *BOTH, "--dim", dim, "--name", "w")
    assert found["beta"].shape == (dim, VOXELS)
    assert found["transform.001"].shape == (12, dim)


def test_without_dim_the_start_chooses_one_of_its_ranks(cli: Cli, world: Path) -> None:
    assert len(align(cli, world, *BOTH, "--name", "w")["beta"]) in ranks_up_to(12)
    assert len(align(cli, world, *BOTH, "--init", "random", "--name", "r")["beta"]) == 12
    header = header_of(world / "study/align/w.safetensors")
    assert header["params"]["dim"] == "auto"


def test_layers_choose_slots(cli: Cli, world: Path) -> None:
    found = align(cli, world, "--from", "first", "--layers", "1", "--name", "w")
    assert [name for name in found if name.startswith("transform")] == ["transform.000"]
    assert found["transform.000"].shape[0] == 12
    header = header_of(world / "study/align/w.safetensors")
    assert [slot["layer"] for slot in header["axes"]["S"]["slots"]] == [1]


@pytest.mark.parametrize(
    ("option", "column"), [("--eigen", "eigen"), ("--zero", "zero"), ("--cov", "cov"), ("--agree", "agree")]
)
def test_a_term_of_weight_zero_is_not_in_the_losses(cli: Cli, world: Path, option: str, column: str) -> None:
    number = LOGGED.index(column)
    assert (align(cli, world, *BOTH, "--name", "with")["losses"][:, number] > 0).all()
    assert (align(cli, world, *BOTH, option, "0", "--name", "without")["losses"][:, number] == 0).all()


def test_the_total_is_the_weighted_sum_of_its_terms(cli: Cli, world: Path) -> None:
    weights = {"eigen": 0.5, "zero": 0.2, "cov": 0.03, "agree": 0.7}
    options = [word for name, weight in weights.items() for word in (f"--{name}", weight)]
    losses = align(cli, world, *BOTH, *options, "--name", "w")["losses"]
    terms = dict(zip(LOGGED, losses.T, strict=True))
    expected = terms["brain"] + sum(weight * terms[name] for name, weight in weights.items())
    np.testing.assert_allclose(terms["total"], expected, rtol=1e-5)


def test_a_random_start_learns(cli: Cli, world: Path) -> None:
    found = align(cli, world, *BOTH, "--init", "random", "--epochs", "20", "--name", "w")
    assert found["heldout"].max() > found["heldout"][0]


def test_the_default_options_are_those_of_the_functions() -> None:
    import inspect

    from alignedcut_cli.commands.align.command import INITS, command
    from alignedcut_cli.core.align.train import STARTS, Settings

    given = {name: one.default for name, one in inspect.signature(command).parameters.items()}
    wanted = Settings()
    assert set(INITS) == set(STARTS)
    assert (given["init"], given["epochs"], given["batch_size"]) == (wanted.init, wanted.epochs, wanted.batch)
    assert (given["rate"], given["dim"], given["seed"]) == (wanted.rate, wanted.dim, wanted.seed)
    weights = wanted.weights
    assert (given["eigen"], given["zero"], given["cov"]) == (weights.eigen, weights.zero, weights.cov)


# the same again


def test_two_fresh_projects_have_the_same_bytes_pictures_too(
    cli: Cli, brain_run: Path, brain_study: Path, brain_folder: Path, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(brain_study, tmp_path / "study"))
    run = cli("align", "--brain", brain_folder, "--from", "seen", "--epochs", 2, "-p", study, "-q")
    assert run.out == f"{study}/align/seen.safetensors\n{study}/pictures/align/seen\n"
    for name in (
        "align/seen.safetensors",
        *(f"pictures/align/seen/{one}.png" for one in ("losses", "rois", "channels")),
    ):
        assert (study / name).read_bytes() == (brain_run / name).read_bytes()


def test_the_same_command_again_does_nothing(cli: Cli, world: Path) -> None:
    command = (
        "align",
        "--brain",
        world / "responses.csv",
        *BOTH,
        "--epochs",
        2,
        "-p",
        world / "study",
        "--no-pictures",
    )
    first = cli(*command, "--json")
    path = Path(first.object["path"])
    assert path.name == "first+second.safetensors"
    content, time = path.read_bytes(), path.stat().st_mtime_ns
    again = cli(*command, "--json")
    assert "align/first+second is up to date" in again.err
    assert again.object == {**first.object, "made": False}
    assert cli(*command, "--overwrite", "--json").object["made"] is False
    assert path.stat().st_mtime_ns == time
    path.unlink()
    assert cli(*command, "--overwrite", "--json").object["made"] is True
    assert path.read_bytes() == content


def test_another_question_under_the_same_name_is_refused(cli: Cli, world: Path) -> None:
    command = (
        "align",
        "--brain",
        world / "responses.csv",
        *BOTH,
        *FAST,
        "--name",
        "w",
        "-p",
        world / "study",
        "--json",
    )
    first = cli(*command).object
    for change in (
        ("--seed", 1),
        ("--eigen", 0.5),
        ("--dim", 3),
        ("--rate", 0.5),
        ("--init", "random"),
        ("--agree", 0),
    ):
        run = cli(*command, *change)
        assert run.status == 73
        assert next(iter(json.loads(run.err)["details"]["diff"])) == change[0][2:]
    other = cli(*command, "--seed", 1, "--overwrite").object
    assert other["content"] != first["content"]


def test_the_seed_changes_what_is_held_out_and_the_losses(cli: Cli, world: Path) -> None:
    one, other = (align(cli, world, *BOTH, "--seed", seed, "--name", f"s{seed}") for seed in (0, 1))
    assert not np.array_equal(one["losses"], other["losses"])
    assert not np.array_equal(one["split"], other["split"])
    assert np.array_equal(one["split"] == 2, other["split"] == 2)


def test_the_result_as_json(cli: Cli, world: Path) -> None:
    run = cli("align", "--brain", world / "responses.csv", *BOTH, "--epochs", 1, "-p", world / "study", "--json", "-v")
    assert run.out.count("\n") == 1
    found = run.object
    assert found["schema"] == "alignedcut.align/1"
    assert found["path"] == str(world / "study/align/first+second.safetensors")
    assert found["pictures"] == str(world / "study/pictures/align/first+second")
    assert found["rois"] == header_of(Path(found["path"]))["rois"]
    assert (
        found["rois"][-1]["roi"] == "all"
        and found["rois"][-1]["ceiling"] is None
        and found["rois"][-1]["share"] is None
    )


def test_a_dry_run_writes_nothing_and_tells_the_size(cli: Cli, world: Path) -> None:
    command = ("align", "--brain", world / "responses.csv", *BOTH, "--name", "w", "-p", world / "study", "--dim", 9)
    before = sorted(world.rglob("*"))
    planned = cli(*command, "--dry-run", "--json").object
    assert planned["schema"] == "alignedcut.dry-run/1"
    assert planned["inputs"] == ["features/first", "features/second", f"{VOXELS} voxels, {IMAGES} images"]
    assert planned["memory"] > 0
    text = cli(*command, "--dry-run")
    assert "writes" in text.out and text.status == 0
    assert sorted(world.rglob("*")) == before
    assert cli(*command, *FAST).status == 0
    made = sum(
        array.nbytes for name, array in load_file(planned["outputs"][0]["path"]).items() if name[:4] in ("tran", "beta")
    )
    assert made <= planned["outputs"][0]["bytes"] <= 3 * made


def test_pictures_are_drawn_and_drawn_again(cli: Cli, world: Path) -> None:
    command = (
        "align",
        "--brain",
        world / "responses.csv",
        *BOTH,
        "--epochs",
        2,
        "--name",
        "w",
        "-p",
        world / "study",
        "-q",
    )
    folder = world / "study/pictures/align/w"
    assert cli(*command, "--no-pictures").out == f"{world}/study/align/w.safetensors\n"
    assert not folder.exists()
    assert cli(*command).out == f"{world}/study/align/w.safetensors\n{folder}\n"
    pictures = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    assert set(pictures) == {"losses.png", "rois.png", "channels.png"}
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") for content in pictures.values())
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert cli(*command).status == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    (folder / "rois.png").unlink()
    assert cli(*command).status == 0
    assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == pictures
    assert cli(*command, "--seed", 3, "--overwrite").status == 0
    assert (folder / "losses.png").read_bytes() != pictures["losses.png"]


def test_pictures_of_a_single_slot_without_epochs(cli: Cli, world: Path) -> None:
    command = ("align", "--brain", world / "responses.csv", "--from", "first", "--layers", 0, "--epochs", 0)
    run = cli(*command, "-p", world / "study", "-q")
    assert run.status == 0, run.err
    assert len(list((world / "study/pictures/align/first").glob("*.png"))) == 3
