"""`alignedcut score`: every number against the definitions, and what may not depend on what."""

from __future__ import annotations

import csv
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from alignedcut_cli.commands.score import layer as layer_module
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.check import faults
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.project import Project
from tests.conftest import Cli, Run
from tests.helpers.maps import make_maps
from tests.helpers.scoring import IMAGES, VOXELS, make_study, maps_of, names, responses_of, write_responses

ALPHAS = 10.0 ** np.arange(-1, 6)
FEW = ("--bootstrap", 40, "--permutations", 19)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with maps of two models, and responses beside it. Artifacts of tests have names of their own."""
    folder = tmp_path_factory.mktemp("scoring")
    write_responses(folder / "brain.npz")
    return make_study(folder / "study")


def score(
    cli: Cli, study: Path, *options: object, brain: Path | None = None, sources: tuple[str, ...] = ("one", "two")
) -> Run:
    given = [word for source in sources for word in ("--from", source)]
    place = ("--brain", brain or study.parent / "brain.npz", *given, "-p", study, "--no-pictures", "--json")
    return cli("score", *place, *options)


def done(found: Run) -> Run:
    assert found.status == 0, found.err
    return found


def artifact(found: Run) -> tuple[Header, dict[str, np.ndarray]]:
    return load_tensors(Path(found.object["path"]))


def place_of(header: Header, metric: str, region: str, subject: str = "1") -> int:
    wanted = {"metric": metric, "region": region, "subject": subject}
    found = [n for n, one in enumerate(header.axes["C"]["targets"]) if wanted.items() <= one.items()]
    assert len(found) == 1
    return found[0]


def distances(rows: np.ndarray) -> np.ndarray:
    return pdist(rows.astype("f8"), "correlation")


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def by_hand(rows: np.ndarray, responses: np.ndarray, variance: float | None = None) -> dict[str, tuple[float, float]]:
    """(train, test) of crsa, ereg and ersa, even rows to fit and odd ones to test on, by scikit-learn and refits.

    Each unit is standardised, or (given a `variance`) all by the one number that gives them that in all.
    """
    train, test = slice(0, None, 2), slice(1, None, 2)
    known, new = rows[train].astype("f8"), rows[test].astype("f8")
    mean, scale = known.mean(0), known.std(0)
    if variance is not None:
        scale = np.full_like(scale, ((scale**2).sum() / variance) ** 0.5)
    known, new = (known - mean) / scale, (new - mean) / scale
    own, aim = responses[train].astype("f8"), responses[test].astype("f8")
    tried = [
        np.stack(
            [
                Ridge(alpha=alpha).fit(np.delete(known, image, 0), np.delete(own, image, 0)).predict(known[[image]])[0]
                for image in range(len(known))
            ]
        )
        for alpha in ALPHAS
    ]
    reached = [[pearson(made, seen) for made, seen in zip(one.T, own.T, strict=True)] for one in tried]
    best = np.argmax(reached, 0)
    loo = np.stack([tried[alpha][:, voxel] for voxel, alpha in enumerate(best)], 1)
    fits = [Ridge(alpha=ALPHAS[alpha]).fit(known, own[:, voxel]) for voxel, alpha in enumerate(best)]
    heldout = np.stack([fit.predict(new) for fit in fits], 1)
    return {
        "crsa": (pearson(distances(rows[train]), distances(own)), pearson(distances(rows[test]), distances(aim))),
        "ereg": tuple(
            float(np.mean([pearson(a, b) for a, b in zip(made.T, seen.T, strict=True)]))
            for made, seen in ((loo, own), (heldout, aim))
        ),
        "ersa": (pearson(distances(loo), distances(own)), pearson(distances(heldout), distances(aim))),
    }  # type: ignore[return-value]


def test_every_score_is_its_definition(cli: Cli, study: Path) -> None:
    found = done(score(cli, study, "--layers", 1, "--name", "definition", *FEW))
    header, tensors = artifact(found)
    assert [slot["name"] for slot in header.axes["S"]["slots"]] == ["second", "second"]
    responses, early = responses_of(), np.arange(VOXELS) < VOXELS // 2
    wanted = by_hand(maps_of("one")["second"], responses[:, early])
    for metric, (train, test) in wanted.items():
        c = place_of(header, metric, "early")
        assert tensors["train"][0, c, 0] == pytest.approx(train, abs=1e-4), metric
        assert tensors["test"][0, c, 0] == pytest.approx(test, abs=1e-4), metric
    whole = pearson(distances(maps_of("one")["second"]), distances(responses[:, early]))
    assert tensors["every"][0, place_of(header, "crsa", "early")] == pytest.approx(whole, abs=1e-6)
    rows = maps_of("one")["second"].astype("f8")
    variances = np.linalg.eigvalsh(np.cov(rows.T))
    assert tensors["stats"][0] == pytest.approx([variances.sum() ** 2 / (variances**2).sum(), variances.mean() ** 0.5])


@pytest.fixture(scope="module")
def scored(study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Header, dict[str, np.ndarray]]:
    """All layers of both models, with pictures."""
    from alignedcut_cli.main import main

    given = ["--brain", str(study.parent / "brain.npz"), "--from", "one", "--from", "two", "-p", str(study), "-q"]
    assert main(["score", *given, "--name", "whole", "--bootstrap", "200", "--permutations", "99"]) == 0
    return load_tensors(study / "score/whole.safetensors")


def test_regions_are_predicted_by_the_layers_that_made_them(scored: tuple[Header, dict[str, np.ndarray]]) -> None:
    header, tensors = scored
    names_of = [slot["name"] for slot in header.axes["S"]["slots"]]
    for metric in ("ereg", "ersa", "cka"):
        for model, region, layer in ((0, "early", "second"), (1, "late", "third")):
            c = place_of(header, metric, region)
            best = tensors["best"][model, c, 0]
            assert names_of[best] == layer, (metric, region)
            assert tensors["best.score"][model, c] == tensors["test"][best, c, 0]
            low, high = tensors["best.interval"][model, c]
            assert low < tensors["best.score"][model, c] < high and low > 0
            assert tensors["best.p"][model, c] <= 0.02
            other = tensors["best.score"][1 - model, c]
            assert other < tensors["best.score"][model, c] - 0.15
            difference = tensors["difference.models"][0, c]
            assert difference[0] == pytest.approx(tensors["best.score"][0, c] - tensors["best.score"][1, c])
            assert difference[1] < difference[0] < difference[2] and (difference[4] < 0.05 or metric != "ereg")


def test_what_chance_gives_is_uniform_where_nothing_is_predicted(scored: tuple[Header, dict[str, np.ndarray]]) -> None:
    header, tensors = scored
    c = place_of(header, "ereg", "late")
    assert np.abs(tensors["test"][:3, c]).max() < 0.2 and (tensors["p"][:3, c, 0] > 0.01).all()


def test_undefined_scores_are_no_fault_of_the_artifact(
    study: Path, scored: tuple[Header, dict[str, np.ndarray]]
) -> None:
    header, tensors = scored
    assert any(array.dtype.kind == "f" and np.isnan(array).any() for array in tensors.values())
    assert faults(Project(study), "score", header.name, deep=True) == []


def test_the_tables_and_pictures_are_there(study: Path, scored: tuple[Header, dict[str, np.ndarray]]) -> None:
    folder = study / "pictures/score/whole"
    for name in (
        "best.png",
        "dimension.png",
        "rdms.png",
        *(f"depth-{one}.png" for one in ("crsa", "ereg", "ersa", "cka")),
    ):
        assert (folder / name).stat().st_size > 5000, name
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    header, tensors = scored
    kinds = {(row["metric"], row["cv_split"]) for row in rows}
    assert kinds == {(m, s) for m in ("crsa", "cka") for s in ("train", "test", "all")} | {
        (m, s) for m in ("ereg", "ersa") for s in ("train", "test")
    }
    wanted = {"metric": "ereg", "model": "two", "layer": "third", "region": "late", "cv_split": "test"}
    (row,) = (one for one in rows if wanted.items() <= one.items())
    c = place_of(header, "ereg", "late")
    assert float(row["score"]) == pytest.approx(tensors["test"][5, c, 0], abs=1e-5)
    assert row["best_on_train"] == "True" and row["layer_depth"] == "1" and row["voxels"] == "12"
    for name in ("best", "differences", "dimension"):
        assert (folder / f"{name}.csv").stat().st_size > 100


def test_the_layer_is_chosen_on_train_images_alone(cli: Cli, study: Path, tmp_path: Path) -> None:
    """Nothing of the test images' responses reaches the choice."""
    changed = responses_of()
    changed[1::2] = np.random.default_rng(9).standard_normal(changed[1::2].shape)
    path = write_responses(tmp_path / "changed.npz", responses=changed)
    one = artifact(done(score(cli, study, "--name", "kept", *FEW)))[1]
    other = artifact(done(score(cli, study, "--name", "changed", *FEW, brain=path)))[1]
    assert np.array_equal(one["best"], other["best"]) and np.array_equal(one["train"], other["train"])
    assert np.abs(other["best.score"]).mean() < np.abs(one["best.score"]).mean() / 2


def test_another_order_of_responses_changes_no_score(cli: Cli, study: Path, tmp_path: Path) -> None:
    """Rows are matched by name: the split is that of the responses' order, so an even shift keeps it."""
    turned = np.roll(np.arange(IMAGES), 2)
    path = tmp_path / "turned.npz"
    np.savez(path, responses=responses_of()[turned], images=np.array(names())[turned])
    plain = tmp_path / "plain.npz"
    np.savez(plain, responses=responses_of(), images=np.array(names()))
    one, other = (
        artifact(done(score(cli, study, "--name", place.stem, *FEW, brain=place)))[1] for place in (plain, path)
    )
    for name in ("train", "test", "every"):
        assert np.allclose(one[name], other[name], atol=1e-5, equal_nan=True)


def test_folds_test_every_image_once_and_choose_a_layer_each(cli: Cli, study: Path) -> None:
    found = done(score(cli, study, "--split", "kfold:3", "--metric", "ereg", "--name", "folds", *FEW))
    header, tensors = artifact(found)
    c = place_of(header, "ereg", "early")
    assert tensors["test"].shape[2] == 3 and tensors["best"].shape[2] == 3
    best = tensors["best"][0, c]
    assert tensors["best.score"][0, c] == pytest.approx(np.mean([tensors["test"][s, c, f] for f, s in enumerate(best)]))
    assert [header.axes["S"]["slots"][s]["name"] for s in best] == ["second"] * 3


def test_an_interrupted_run_goes_on_to_the_same_bytes(cli: Cli, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(done(score(cli, study, "--name", "disturbed", *FEW)).object["path"])
    whole = path.read_bytes()
    path.unlink()
    monkeypatch.setattr("alignedcut_cli.frame.keep.EVERY", 0.0)
    layers = 0
    real: Any = layer_module.score_layer

    def stopping(*given: Any) -> Any:
        nonlocal layers
        layers += 1
        if layers == 4:
            signal.raise_signal(signal.SIGINT)
        return real(*given)

    monkeypatch.setattr(layer_module, "score_layer", stopping)
    stopped = score(cli, study, "--name", "disturbed", *FEW)
    assert stopped.status == 130 and "3 layers are kept" in stopped.err
    again = done(score(cli, study, "--name", "disturbed", *FEW))
    assert "3 layers are there; going on" in again.err and layers == 7
    assert again.object["made"] and path.read_bytes() == whole


def test_a_second_run_is_up_to_date_and_another_recipe_is_refused(cli: Cli, study: Path) -> None:
    first = done(score(cli, study, "--name", "twice", *FEW))
    second = done(score(cli, study, "--name", "twice", *FEW))
    assert first.object["made"] and not second.object["made"]
    refused = score(cli, study, "--name", "twice", "--penalty", "shared", *FEW)
    assert refused.status == 73 and "penalty" in refused.err


VOXEL_TABLE = "\n".join(
    ["subject,roi", *(f"{'ab'[v % 2]},{'early' if v < VOXELS // 2 else 'late'}" for v in range(VOXELS))]
)


def test_subjects_are_averaged_and_drawn_again(cli: Cli, study: Path, tmp_path: Path) -> None:
    path = tmp_path / "several.npz"
    both = np.concatenate([responses_of(), responses_of(seed=6)], 1)
    np.savez(path, responses=both, images=np.array(names()))
    rows = [f"{subject},{'early' if v < VOXELS // 2 else 'late'}" for subject in "ab" for v in range(VOXELS)]
    path.with_name("several.voxels.csv").write_text("\n".join(["subject,roi", *rows]) + "\n")
    found = done(score(cli, study, "--name", "several", *FEW, brain=path))
    header, tensors = artifact(found)
    for metric in ("crsa", "ereg"):
        mean, a, b = (place_of(header, metric, "early", one) for one in ("mean", "a", "b"))
        assert np.allclose(tensors["test"][:, mean], (tensors["test"][:, a] + tensors["test"][:, b]) / 2)
    mean, a = (place_of(header, "crsa", "early", one) for one in ("mean", "a"))
    lower, upper = tensors["ceiling"][mean, 0]
    assert 0 < lower < upper < 1
    assert tensors["ceiling"][mean] == pytest.approx(
        (tensors["ceiling"][a] + tensors["ceiling"][place_of(header, "crsa", "early", "b")]) / 2
    )
    only = artifact(done(score(cli, study, "--subject", "b", "--name", "alone", *FEW, brain=path)))
    assert {one["subject"] for one in only[0].axes["C"]["targets"]} == {"b"}


def test_single_trials_give_ceilings_of_voxels_and_of_rdms(cli: Cli, study: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    trials = responses_of(0.0)[:, None] + 1.5 * random.standard_normal((IMAGES, 6, VOXELS))
    trials[4, 4:] = np.nan
    path = tmp_path / "trials.npz"
    np.savez(path, repeats=trials.astype("f4"), images=np.array(names()))
    header, tensors = artifact(done(score(cli, study, "--name", "trials", *FEW, brain=path)))
    signal_share = responses_of(0.0).var(0) / (responses_of(0.0).var(0) + 1.5**2 / 6)
    ereg = tensors["ceiling"][place_of(header, "ereg", "all"), 0]
    assert ereg == pytest.approx([np.sqrt(signal_share).mean()] * 2, abs=0.05)
    truth = distances(responses_of(0.0)[1::2])
    seen = distances(np.nanmean(trials, 1)[1::2])
    crsa = tensors["ceiling"][place_of(header, "crsa", "all"), 0]
    assert crsa == pytest.approx([pearson(truth, seen)] * 2, abs=0.1)
    s = tensors["best"][0, place_of(header, "ereg", "all"), 0]
    r = tensors["test"][s, place_of(header, "ereg", "all"), 0]
    assert 0 < r < ereg[1] and 0 < tensors["explained"][s, place_of(header, "ereg", "all")] < 1


def test_rdms_are_compared_with_layers_in_order_of_their_images(cli: Cli, study: Path, tmp_path: Path) -> None:
    rows = maps_of("one")["third"]
    own = np.stack(
        [np.corrcoef(rows + one * np.random.default_rng(7).standard_normal(rows.shape)) for one in (1.0, 1.5)]
    )
    rdms = 1 - own
    for one in rdms:
        np.fill_diagonal(one, 0)
    path = tmp_path / "it.npz"
    np.savez(path, rdms=rdms, names=np.array(["x", "y"]))
    found = done(score(cli, study, "--compare", "spearman", "--name", "rdms", *FEW, brain=path))
    assert "taken in order: 000.png … 059.png" in found.err
    header, tensors = artifact(found)
    assert {one["metric"] for one in header.axes["C"]["targets"]} == {"crsa"}
    x = place_of(header, "crsa", "rdms", "x")
    wanted = spearmanr(distances(rows), rdms[0][np.triu_indices(IMAGES, 1)]).statistic
    assert tensors["every"][2, x] == pytest.approx(wanted, abs=1e-5)
    mean = place_of(header, "crsa", "rdms", "mean")
    assert header.axes["S"]["slots"][tensors["best"][0, mean, 0]]["name"] == "third"
    refused = score(cli, study, "--metric", "ereg", brain=path)
    assert refused.status == 2 and "RDMs allow crsa alone" in refused.err


def test_bands_join_the_best_layers_of_both_models(cli: Cli, study: Path) -> None:
    found = done(score(cli, study, "--metric", "ereg", "--bands", "--per-voxel", "--name", "bands", *FEW))
    header, tensors = artifact(found)
    assert header.axes["M"]["labels"] == ["one", "two", "one + two"]
    assert header.axes["S"]["slots"][-1]["name"] == "second + third"
    c = place_of(header, "ereg", "all")
    assert tensors["best.score"][2, c] > tensors["best.score"][:2, c].max() + 0.1
    early, late = (tensors["shares"][place_of(header, "ereg", one)] for one in ("early", "late"))
    assert early[0] > 0.6 and late[1] > 0.6 and early.sum() == pytest.approx(1)
    assert tensors["voxel.0"].shape == (7, VOXELS) and tensors["column.0"].tolist() == list(range(VOXELS))
    assert tensors["voxel.0"][:, : VOXELS // 2].mean(1) == pytest.approx(
        tensors["test"][:, place_of(header, "ereg", "early"), 0], abs=1e-6
    )


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--roi", "nowhere"), 2, "no area 'nowhere'.*It has: early, late"),
        (("--metric", "crsa,nothing"), 2, "Give some of: crsa, ereg, ersa, cka"),
        (("--alphas", "5:1:3"), 2, "Give LOW:HIGH:COUNT"),
        (("--alphas", "0,1"), 2, "Give LOW:HIGH:COUNT"),
        (("--split", "kfold:1"), 2, "Give kfold:2"),
        (("--split", "last:10%"), 2, "Give even-odd, kfold:5"),
        (("--split", "given"), 65, "at least 8 and 4 are needed"),
        (("--split", "missing.txt"), 66, "no such file"),
        (("--from", "one"), 2, "names one twice"),
        (("--layers", "9"), 2, "there is no layer 9"),
        (("--compare", "kendall"), 2, "--compare 'kendall'"),
        (("--units", "all"), 2, "Give one of: products, projected, raw"),
        (("--min-snr", "0.2"), 2, "has no signal-to-noise ratios"),
        (("--memory", "1MiB"), 71, "--memory allows 1.0 MiB"),
        (("--best-layer", "test"), 2, "Give one of: train, none"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    cli: Cli, study: Path, options: tuple[object, ...], status: int, told: str
) -> None:
    import re

    found = cli("score", "--brain", study.parent / "brain.npz", "--from", "one", "-p", study, *options)
    assert found.status == status, found.err
    assert re.search(told, found.err) and found.out == "" and not (study / "score/one.safetensors").exists()


def test_a_map_larger_than_its_projection_is_regressed_on_by_its_products(cli: Cli, study: Path) -> None:
    rows, dimensions = maps_of("one")["second"] * np.linspace(0.2, 3, 20, dtype="f4"), 7
    make_maps(Project(study), "large", {"whole": rows, "small": rows[:, :5]}, names(), dimensions=dimensions)
    given = {"metric": "ereg,ersa", "roi": "early"}
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    scores = {}
    for units in ("products", "projected"):
        named = ("--units", units, "--name", f"large-{units}", *FEW)
        scores[units] = artifact(done(score(cli, study, *options, *named, sources=("large",))))
    header, tensors = scores["products"]
    early = responses_of()[:, : VOXELS // 2]
    wanted = by_hand(rows, early, dimensions)
    for metric in ("ereg", "ersa"):
        c = place_of(header, metric, "early")
        assert (tensors["train"][0, c, 0], tensors["test"][0, c, 0]) == pytest.approx(wanted[metric], abs=2e-4)
    other = scores["projected"][1]
    assert np.array_equal(tensors["test"][1], other["test"][1])
    assert tensors["test"][0, 0, 0] > other["test"][0, 0, 0] + 0.05
    both = done(score(cli, study, "--bands", "--metric", "ereg", "--name", "both", *FEW, sources=("large", "one")))
    assert np.isfinite(artifact(both)[1]["test"]).all()


def test_raw_maps_are_regressed_on_where_they_were_kept(cli: Cli, study: Path) -> None:
    """Maps that are no larger than their projection are kept as they are."""
    projected = artifact(done(score(cli, study, "--metric", "ereg", "--name", "projected", *FEW)))[1]
    raw = artifact(done(score(cli, study, "--metric", "ereg", "--units", "raw", "--name", "raw", *FEW)))[1]
    assert np.array_equal(projected["test"], raw["test"])


def test_the_long_table_is_written_as_parquet_too(cli: Cli, study: Path) -> None:
    """Where pyarrow is installed: the same rows and columns as the csv."""
    parquet = pytest.importorskip("pyarrow.parquet")
    options = ("--metric", "ereg", "--layers", 0, "--roi", "early", "--name", "tabled", *FEW)
    folder = Path(done(score(cli, study, *options, "--pictures", sources=("one",))).object["pictures"])
    made = parquet.read_table(folder / "table.parquet").to_pylist()
    with (folder / "table.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert len(made) == len(told) == 2 and list(made[0]) == list(told[0])
    for row, text in zip(made, told, strict=True):
        for name, value in row.items():
            assert text[name] == ("" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value))


def test_a_small_region_is_left_out_of_rdms_and_said(cli: Cli, study: Path, tmp_path: Path) -> None:
    tiny = np.arange(VOXELS) < 3
    path = write_responses(tmp_path / "small.npz", **{"rois/tiny": tiny})
    found = done(score(cli, study, "--name", "small", "--roi", "tiny,early", *FEW, brain=path))
    assert "tiny of subject 1" in found.err
    targets = [(one["metric"], one["region"]) for one in artifact(found)[0].axes["C"]["targets"]]
    assert ("ereg", "tiny") in targets and ("crsa", "tiny") not in targets and ("crsa", "early") in targets


def test_one_column_is_one_target(cli: Cli, study: Path, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    rows = [f"{name},{value}" for name, value in zip(names(), responses_of(0.2)[:, 0], strict=True)]
    path.write_text("\n".join(["image,rating", *rows]) + "\n")
    header, tensors = artifact(done(score(cli, study, "--metric", "ereg", "--name", "rating", *FEW, brain=path)))
    assert len(header.axes["C"]["targets"]) == 1 and tensors["test"][1, 0, 0] > 0.3


def test_a_dry_run_writes_nothing(cli: Cli, study: Path) -> None:
    found = done(score(cli, study, "--dry-run", "--name", "dry"))
    assert found.object["schema"] == "alignedcut.dry-run/1" and not (study / "score/dry.safetensors").exists()


def test_without_a_choice_of_layers_none_is_named(cli: Cli, study: Path) -> None:
    found = done(score(cli, study, "--best-layer", "none", "--name", "none", *FEW))
    assert found.object["best"] == [] and "best" not in artifact(found)[1]


def test_ordinary_feature_sets_are_scored_by_their_mean_over_tokens(
    cli: Cli, brain_study: Path, brain_folder: Path
) -> None:
    found = done(
        cli("score", "--brain", brain_folder, "--from", "seen", "-p", brain_study, "--no-pictures", "--json", *FEW)
    )
    header, _ = artifact(found)
    assert all(slot["kind"] == "mean over tokens" for slot in header.axes["S"]["slots"])
    assert {"V1", "FFA", "all"} <= {one["region"] for one in header.axes["C"]["targets"]}
